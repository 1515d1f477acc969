"""The watch: what left memory is noticed soon, and not when its next reader comes.

A piece is sent without a look while it has stayed in memory since it was checked. One that left and was
brought back, unchecked, by somebody else between two looks seems to have stayed. So the looks are frequent:
to be taken in, a page would have to leave memory and be read by another program within seconds.
"""

from collections.abc import Iterator
from typing import Final

from mirror.clock import Clock
from mirror.store.blobs import DiskStore

# From the end of one round to the next, in seconds.
WATCH_EVERY: Final = 10.0

# How long a step takes at most, in seconds, and how much of the time steps may take: 16 000 blobs of which
# something is marked, the most that are remembered, take 0.3 s of a core and so a round of 6 s.
STEP: Final = 0.02
DUTY: Final = 0.05


class Watch:
    """Looks at what of *store* is in memory; a job of `mirror.upkeep.house.House`."""

    def __init__(self, store: DiskStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._round: Iterator[None] = iter(())

    def step(self) -> float:
        """Look at some of it; returns after how many seconds to go on."""
        began = self._clock.monotonic()
        for _ in self._round:
            if self._clock.monotonic() - began >= STEP:
                return STEP / DUTY
        self._round = self._store.watch()
        return WATCH_EVERY
