"""The watch: frequent, and never long at a time."""

from mirror.clock import FixedClock
from mirror.upkeep.watch import DUTY, STEP, WATCH_EVERY, Watch
from tests.unit.store.kit import Kit


class _Slow(FixedClock):
    """A clock by which two looks are as long as a step."""

    def monotonic(self) -> float:
        self.advance(STEP / 2)
        return super().monotonic()


def test_watch_pauses_in_a_round_and_between_rounds(kit: Kit) -> None:
    """All blobs are looked at, some per step, and the next round begins after a while."""
    for number in range(5):
        kit.fill(b"%d" % number)
    watch = Watch(kit.store, _Slow(0.0))

    pauses = [watch.step() for _ in range(6)]

    assert pauses == [WATCH_EVERY, *[STEP / DUTY] * 2, WATCH_EVERY, *[STEP / DUTY] * 2]
