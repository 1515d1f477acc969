"""The scrub: everything once a period, nothing in a hurry, and memory left as it was."""

import os
import threading
from pathlib import Path

import pytest

from mirror.clock import FixedClock
from mirror.events import Alarm, Event, Scrubbed
from mirror.store import residency, stored
from mirror.upkeep.house import RETRY, House
from mirror.upkeep.scrub import DUTY, PAUSE, STEP, Scrub
from tests.unit.store.kit import Kit, ScriptedResidency, flip, read
from tests.unit.upkeep.kit import noise

MIB = 1 << 20
WEEK = 7 * 86_400.0


class Busy(FixedClock):
    """A clock that moves on by *took* seconds whenever it is looked at."""

    took = 0.0

    def monotonic(self) -> float:
        """Move on."""
        self.advance(self.took)
        return super().monotonic()


def _scrub(kit: Kit, clock: FixedClock, period: float = WEEK) -> Scrub:
    return Scrub(kit.store, kit.layout, kit.ledger, period, clock, kit.events.append)


def _read(kit: Kit) -> int:
    return sum(event.size for event in kit.events if isinstance(event, Scrubbed))


def test_scrub_reads_everything_once_a_period(kit: Kit) -> None:
    """Within a period every byte is read once, in equal shares of the time."""
    for number in range(10):
        kit.fill(noise(number, 4 * MIB))
    clock = FixedClock()
    scrub, ends = _scrub(kit, clock), clock.monotonic() + WEEK
    while clock.monotonic() < ends:
        pause = scrub.step()
        assert 0 < pause <= PAUSE
        clock.advance(pause)
        share = 1 - (ends - clock.monotonic()) / WEEK
        assert _read(kit) <= share * 40 * MIB + 2 * STEP

    assert 40 * MIB <= _read(kit) <= 40 * MIB + STEP
    assert kit.alarms == []


def test_scrub_takes_a_tenth_of_the_time(kit: Kit) -> None:
    """However short the period, reading pauses for nine times as long as it took."""
    kit.fill(noise(1, 4 * MIB))
    clock = Busy()
    scrub = _scrub(kit, clock, period=0.001)
    clock.took = 1.0

    pause = scrub.step()

    assert pause >= 1.0 * (1 / DUTY - 1)


def test_scrub_finds_rot_and_sets_it_aside(kit: Kit) -> None:
    """A flipped bit in a piece that is not in memory is found, told of, and the rest is read on."""
    digests = [kit.fill(noise(number, size)) for number, size in enumerate((50_000, 3 * MIB))]
    for digest in digests:
        flip(kit.file(digest), 40_000)
    good = kit.fill(noise(9, MIB))

    _scrub(kit, FixedClock()).step()

    assert [kit.store.find(digest) for digest in digests] == [None, None]
    assert kit.store.find(good) is not None
    assert sorted(alarm.kind for alarm in kit.alarms) == ["corrupt", "corrupt"]
    assert [event.damaged for event in kit.events if isinstance(event, Scrubbed)] == [2]


def test_scrub_goes_on_where_it_was_after_a_restart(kit: Kit) -> None:
    """The position survives, also in the middle of a blob; one that cannot be read is the beginning."""
    kit.fill(noise(1, STEP + 4 * MIB))
    clock = FixedClock()
    first = _scrub(kit, clock)
    first.step()
    first.save()
    assert _read(kit) < STEP + MIB
    _scrub(kit, clock).step()
    assert _read(kit) == STEP + 4 * MIB

    for text in (b"", b"[]", b'{"name": "zz", "offset": 0}', b'{"name": "ab", "offset": -1}'):
        kit.layout.scrub.write_bytes(text)
        kit.events.clear()
        _scrub(kit, clock).step()
        assert _read(kit) >= STEP - MIB


def test_scrub_leaves_memory_as_it_was(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that were not in memory are let go, hot ones stay and are still known to be checked."""
    assert isinstance(kit.residency, ScriptedResidency)
    content = noise(1, 4 * MIB)
    digest = kit.fill(content)
    dropped: list[tuple[int, int]] = []
    monkeypatch.setattr(stored, "drop", lambda _fd, start, end: dropped.append((start, end)))
    kit.residency.absent = {1, 3}

    _scrub(kit, FixedClock()).step()

    assert dropped == [(MIB, 2 * MIB), (3 * MIB, 4 * MIB)]
    kit.residency.absent = set()
    reader = kit.store.open(digest)
    assert reader is not None
    assert reader.ready(0, 4 * MIB) == MIB  # piece 1 is loaded before it is sent
    assert read(reader) == content
    reader.close()


def test_drop_lets_pages_go(tmp_path: Path) -> None:
    """On a disk whose residency can be known, dropped bytes are no longer in memory."""
    seeing = residency.choose(tmp_path)
    if not seeing.exact:
        pytest.skip("residency cannot be known here")
    path = tmp_path / "file"
    path.write_bytes(noise(1, 2 * MIB))
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        assert seeing.resident(file.fileno(), 0, 2 * MIB)
        residency.drop(file.fileno(), 0, 0)
        assert not seeing.resident(file.fileno(), 0, 2 * MIB)
        residency.random_access(file.fileno())
        os.pread(file.fileno(), 2 * MIB, 0)
        residency.drop(file.fileno(), 0, MIB)
        assert not seeing.resident(file.fileno(), 0, MIB)
        assert seeing.resident(file.fileno(), MIB, 2 * MIB)


def test_house_runs_every_job_until_it_is_left() -> None:
    """Each job is called at once and again when it asked for; one that fails is an alarm and tried again."""
    events: list[Event] = []
    done, times = threading.Event(), iter(range(3))

    def often() -> float:
        if next(times, None) is None:
            done.set()
            return RETRY
        return 0.0

    def failing() -> float:
        raise OSError(5, "Input/output error")

    with House([failing, often], FixedClock(), events.append):
        assert done.wait(10)

    assert [event.kind for event in events if isinstance(event, Alarm)] == ["upkeep-failed"]
