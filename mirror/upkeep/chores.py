"""What the house does beside serving, and how often."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mirror.clock import LOOK_EVERY
from mirror.events import Observer
from mirror.upkeep.desk import Desk
from mirror.upkeep.history import SAVE_EVERY
from mirror.upkeep.house import House, every
from mirror.upkeep.scrub import Scrub
from mirror.upkeep.sweep import Sweep
from mirror.upkeep.watch import Watch

# How soon a lowered quota is noticed, in seconds; a look costs two numbers compared.
ROOM_EVERY: Final = 10.0

# How soon what the disk refused is tried again, in seconds; a look costs nothing while nothing is owed.
BOOKS_EVERY: Final = 2.0


@dataclass(frozen=True, slots=True)
class Ages:
    """How old, in seconds, what is swept must be; *scrub* is how often everything is read again."""

    partials: float
    quarantine: float
    scrub: float | None


def sweep_of(desk: Desk, ages: Ages, say: Callable[[str], None]) -> Sweep:
    """The sweep of the folder at *desk*; *say* is told when something went."""
    return Sweep(
        desk.store,
        desk.partials,
        desk.layout,
        desk.clock,
        partials_age=ages.partials,
        quarantine_age=ages.quarantine,
        say=say,
    )


def house(desk: Desk, ages: Ages, observe: Observer, say: Callable[[str], None]) -> House:
    """The thread that keeps room and books, sweeps, and reads what is stored again."""
    clock, index = desk.clock, desk.index
    jobs = [
        every(ROOM_EVERY, desk.ledger.converge),
        every(LOOK_EVERY, clock.wall),  # often, to tell a clock that was set from one that jumps
        every(BOOKS_EVERY, index.arrears.settle),
        Watch(desk.store, clock).step,
        sweep_of(desk, ages, say).step,
        every(SAVE_EVERY, desk.history.save),
        every(SAVE_EVERY, lambda: desk.lastuse.note(index.catalog.last_use, clock.wall())),
    ]
    if ages.scrub is None:
        return House(jobs, clock, observe, ending=desk.history.save)
    scrub = Scrub(desk.store, desk.layout, desk.ledger, ages.scrub, clock, observe)

    def end() -> None:
        desk.history.save()
        scrub.save()

    return House([*jobs, scrub.step], clock, observe, ending=end)
