"""Which jobs the house of a serving mirror has."""

import logging
from typing import Final

from mirror.clock import LOOK_EVERY, Clock
from mirror.events import Observer
from mirror.index.arrears import Arrears
from mirror.store.blobs import DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partials
from mirror.upkeep.house import House, every
from mirror.upkeep.scrub import Scrub
from mirror.upkeep.sweep import Sweep
from mirror.upkeep.watch import Watch

# How soon a lowered quota is noticed, in seconds; a look costs two numbers compared.
ROOM_EVERY: Final = 10.0

# How soon what the disk refused is tried again, in seconds; a look costs nothing while nothing is owed.
BOOKS_EVERY: Final = 2.0

_LOG: Final = logging.getLogger("modelmirror")


def housekeeping(  # noqa: PLR0913 -- each job's parts once
    layout: Layout,
    ledger: Ledger,
    store: DiskStore,
    partials: Partials,
    arrears: Arrears,
    clock: Clock,
    observe: Observer,
    *,
    ages: tuple[float, float],
    scrub_period: float | None,
) -> House:
    """The thread that keeps room and books, sweeps, and reads what is stored again.

    *ages* are how old, in seconds, a partial and what was set aside may grow; *scrub_period* is within how
    many seconds everything is read, `None` for never.
    """
    partials_age, quarantine_age = ages
    sweep = Sweep(
        store,
        partials,
        layout,
        clock,
        partials_age=partials_age,
        quarantine_age=quarantine_age,
        say=_LOG.info,
    )
    jobs = [
        every(ROOM_EVERY, ledger.converge),
        every(LOOK_EVERY, clock.wall),  # often, to tell a clock that was set from one that jumps
        every(BOOKS_EVERY, arrears.settle),
        Watch(store, clock).step,
        sweep.step,
    ]
    if scrub_period is None:
        return House(jobs, clock, observe)
    scrub = Scrub(store, layout, ledger, scrub_period, clock, observe)
    return House([*jobs, scrub.step], clock, observe, ending=scrub.save)
