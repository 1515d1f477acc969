"""The sweep: what crashes and broken downloads left behind goes when nobody came for it in time.

None of it is ever served, but all of it takes room. Ages are by wall time; a file of the future is not old.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mirror.clock import Clock
from mirror.store import durable
from mirror.store.blobs import DiskStore
from mirror.store.layout import Layout
from mirror.store.partials import Partials
from mirror.upkeep import inspection

# How often, in seconds: nothing here is urgent, and what is swept was old by days.
SWEEP_EVERY: Final = 86_400.0

# Sums are written before their blob gets its name, by some seconds; a day is beyond any doubt.
_ORPHAN_AGE: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Swept:
    """What went: numbers of *partials* and *sums*, and bytes in all (those of sums not counted)."""

    partials: int
    sums: int
    size: int


class Sweep:
    """Removes leftovers; a job of `mirror.upkeep.house.House`.

    *partials_age* and *quarantine_age* are the seconds after which a half download that nobody goes on
    with, and a blob that was set aside, go; *say* is told, in a sentence, when something went.
    """

    def __init__(
        self,
        store: DiskStore,
        partials: Partials,
        layout: Layout,
        clock: Clock,
        *,
        partials_age: float,
        quarantine_age: float,
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._partials = partials
        self._layout = layout
        self._clock = clock
        self._partials_age = partials_age
        self._quarantine_age = quarantine_age
        self._say = say

    def step(self) -> float:
        """Sweep once; returns after how many seconds to do it again. Blocks on the disk."""
        swept = self.sweep()
        if swept.partials or swept.sums or swept.size:
            self._say(
                f"Swept {swept.size} bytes: {swept.partials} half downloads, {swept.sums} sums without"
                " a blob, and what was set aside long ago."
            )
        return SWEEP_EVERY

    def sweep(self) -> Swept:
        """Remove what is old enough. Raises `OSError` when the disk refuses."""
        now = self._clock.wall()
        partials = sums = 0
        size = self._store.empty_quarantine(now - self._quarantine_age)
        for leftover in list(self._partials.leftovers()):
            if leftover.modified < now - self._partials_age:
                size += self._partials.discard(leftover.expected)
                partials += 1
        for path in inspection.orphans(self._layout):
            if _modified(path) < now - _ORPHAN_AGE:
                durable.remove(path)
                sums += 1
        return Swept(partials, sums, size)


def _modified(path: Path) -> float:
    """When a file was written; one that is gone was written never."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")
