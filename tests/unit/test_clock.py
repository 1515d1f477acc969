"""The wall clock jumps, is set once, or the machine sleeps: what the mirror takes for the time."""

from dataclasses import dataclass

import pytest

from mirror.clock import LOOK_EVERY, STEADY_LOOKS, SystemClock, running_time

DAY = 86_400.0
START = 1_750_000_000.0


@dataclass
class Machine:
    """A machine whose clocks move when told to."""

    told: float = START
    runs: float = 5_000.0

    def clock(self) -> SystemClock:
        """What the mirror makes of them."""
        return SystemClock(lambda: self.told, lambda: self.runs)

    def go_on(self, seconds: float) -> None:
        """Let time pass, asleep or awake."""
        self.told += seconds
        self.runs += seconds


@pytest.mark.parametrize("days", [400, -400])
def test_a_wall_clock_that_jumps_is_not_followed(days: int) -> None:
    """Set to and fro for an hour, many times a second or every few seconds, it moves nothing."""
    for pause in (0.05, 3.0, LOOK_EVERY, 29.0):
        machine = Machine()
        clock, passed, shift = machine.clock(), 0.0, days * DAY
        while passed < 3600:
            machine.told += shift
            shift = -shift
            machine.go_on(pause)
            passed += pause
            assert abs(clock.wall() - START - passed) < 1


@pytest.mark.parametrize("days", [400, -400])
def test_a_wall_clock_that_was_set_once_is_followed_after_a_minute(days: int) -> None:
    """The first answer of NTP counts once it has stood for a while, and not before."""
    machine = Machine()
    clock = machine.clock()
    machine.go_on(100)
    assert clock.wall() == pytest.approx(START + 100)
    machine.told += days * DAY
    for _ in range(STEADY_LOOKS - 1):
        assert clock.wall() == pytest.approx(machine.told - days * DAY)
        machine.go_on(LOOK_EVERY)
    assert clock.wall() == pytest.approx(machine.told)


def test_a_wall_clock_that_nobody_looked_at_is_not_taken_for_steady() -> None:
    """Two looks that agree an hour apart say nothing of the time between."""
    machine = Machine()
    clock = machine.clock()
    machine.told += DAY
    clock.wall()
    machine.go_on(3600)
    assert clock.wall() == pytest.approx(machine.told - DAY)


def test_a_sleep_is_time_that_passed() -> None:
    """A machine that slept for a day wakes up a day later, at once."""
    machine = Machine()
    clock = machine.clock()
    machine.go_on(DAY)
    assert clock.wall() == pytest.approx(START + DAY)


def test_a_wall_clock_that_is_slewed_is_followed() -> None:
    """Half a second per thousand, for a day, never leaves the two further apart than a look."""
    machine = Machine()
    clock = machine.clock()
    for _ in range(8640):
        machine.go_on(10)
        machine.told += 0.005
        assert clock.wall() == pytest.approx(machine.told, abs=0.1)


def test_what_runs_is_never_set_back() -> None:
    """The clock of this machine that nobody can set only grows."""
    runs = running_time()
    first = runs()
    assert runs() >= first
