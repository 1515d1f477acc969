"""The sweep: what nobody came for goes, what somebody may still want stays."""

from mirror.clock import FixedClock
from mirror.digest import sha256_of
from mirror.upkeep.sweep import SWEEP_EVERY, Sweep, Swept
from tests.unit.store.kit import Kit
from tests.unit.upkeep.kit import noise

MIB = 1 << 20
DAY = 86_400.0


def _sweep(kit: Kit, clock: FixedClock, said: list[str] | None = None) -> Sweep:
    return Sweep(
        kit.store,
        kit.partials,
        kit.layout,
        clock,
        partials_age=7 * DAY,
        quarantine_age=30 * DAY,
        say=(said if said is not None else []).append,
    )


def _now(kit: Kit) -> float:
    """The disk's own idea of the time."""
    path = kit.layout.temporary()
    path.touch()
    return path.stat().st_mtime


def test_sweep_removes_half_downloads_that_nobody_resumed(kit: Kit) -> None:
    """A leftover goes after its time with its room, one that is being written never does."""
    left, busy = noise(1, 1000), noise(2, 1000)
    partial = kit.partials.begin(sha256_of(left), 1000)
    partial.append(left[:600])
    partial.close()
    writing = kit.partials.begin(sha256_of(busy), 1000)
    writing.append(busy[:300])
    clock = FixedClock(_now(kit))

    clock.advance(6 * DAY)
    assert _sweep(kit, clock).sweep() == Swept(0, 0, 0)
    clock.advance(2 * DAY)
    assert _sweep(kit, clock).sweep() == Swept(1, 0, 600)

    assert (kit.ledger.used, kit.ledger.reserved) == (0, 1000)
    writing.append(busy[300:])
    writing.finish()
    kit.store.put([writing])
    writing.close()


def test_sweep_empties_the_quarantine_in_time(kit: Kit) -> None:
    """What was set aside is kept for a month and then gives its room back."""
    digest = kit.fill(noise(1, 5000))
    kit.store.quarantine(digest)
    clock = FixedClock(_now(kit))

    clock.advance(29 * DAY)
    assert _sweep(kit, clock).sweep().size == 0
    clock.advance(2 * DAY)
    said: list[str] = []
    assert _sweep(kit, clock, said).step() == SWEEP_EVERY

    assert kit.ledger.used == 0
    assert len(said) == 1
    assert "5000 bytes" in said[0]


def test_sweep_removes_sums_without_a_blob(kit: Kit) -> None:
    """Orphaned sums go after a day; fresh ones may be a blob's that is just being published."""
    kept, gone = kit.fill(noise(1, 2 * MIB)), kit.fill(noise(2, 2 * MIB))
    kit.file(gone).unlink()
    clock = FixedClock(_now(kit))

    assert _sweep(kit, clock).sweep().sums == 0
    clock.advance(2 * DAY)
    assert _sweep(kit, clock).sweep().sums == 1

    assert kit.layout.sums_of(kept).exists()
    assert not kit.layout.sums_of(gone).exists()


def test_sweep_takes_the_future_for_young(kit: Kit) -> None:
    """With a clock set back by years nothing is old."""
    kit.store.quarantine(kit.fill(noise(1, 100)))
    kit.partials.begin(sha256_of(b"x"), 1).close()

    assert _sweep(kit, FixedClock(_now(kit) - 400 * DAY)).sweep() == Swept(0, 0, 0)
