"""Making room: the blobs that were wanted least recently go, and never one that somebody needs.

The ledger asks when a reservation does not fit, so that the quota holds before bytes arrive and not some
time after. What is damaged goes first, then blobs in the order of their last use (a counter: a clock that
jumps must not empty a store), then downloads that broke and that nobody went on with. Blobs whose file
has other names go last and only for the quota, since removing one name gives the disk nothing back.

A plan comes before the first deletion: where all that may go is less than what is wanted, nothing goes.
"""

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from mirror.digest import Digest
from mirror.errors import StoreError
from mirror.events import Alarm, Evicted, Observer
from mirror.index.protocol import Index, StoredBlob
from mirror.store.blobs import DiskStore
from mirror.store.ledger import Missing
from mirror.store.partials import Leftover, Partials

# The low-water mark: a round goes on until a twentieth of what is stored is free beyond what was asked.
# A round reads the pins and walks the index from its start, which takes some 10 ms; with this a store is
# turned over in 20 rounds and not in one per small blob, and is never less than 95 % full because of it.
SLACK: Final = 20

_PAGE: Final = 1000
_BATCH: Final = 256  # deletions per transaction of the index


@dataclass(slots=True)
class _Plan:
    """What may go, in order, and how many bytes of quota and of disk that would give."""

    quarantine: bool = False
    alone: list[StoredBlob] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)
    linked: list[StoredBlob] = field(default_factory=list)
    gone: list[Digest] = field(
        default_factory=list
    )  # the index believes in them, the store does not
    quota: int = 0
    disk: int = 0

    def take(self, size: int, *, disk: bool) -> None:
        self.quota += size
        self.disk += size if disk else 0

    def covers(self, missing: Missing) -> bool:
        return self.quota >= missing.quota and self.disk >= missing.disk

    def leaves_space_for(self, size: int, wanted: Missing) -> bool:
        """Whether *size* more is within what is *wanted*: a large blob does not go for the slack alone."""
        return self.quota + size <= wanted.quota or self.disk + size <= wanted.disk


class Evictor:
    """Makes room in *store*; made for `Ledger`, which calls `make_room` from one thread at a time.

    *index* knows the order of last use and is told what went; *pinned* names the blobs that must stay;
    *observe* hears of each round.
    """

    def __init__(
        self,
        store: DiskStore,
        partials: Partials,
        index: Index,
        pinned: Callable[[], Collection[Digest]],
        observe: Observer,
    ) -> None:
        self._store = store
        self._partials = partials
        self._index = index
        self._pinned = pinned
        self._observe = observe
        self._round = threading.Lock()

    def make_room(self, missing: Missing) -> bool:
        """Give back what is *missing* and somewhat more; returns whether anything that helps was gained.

        Nothing goes when not all of it can be had, unless *missing* says that less is welcome. Blocks on
        the disk; raises nothing: what fails is an alarm, and no gain.
        """
        with self._round:
            try:
                return self._make_room(missing)
            except (StoreError, OSError) as error:
                self._observe(Alarm("evict-failed", f"Room could not be made: {error}"))
                return False

    def _make_room(self, missing: Missing) -> bool:
        slack = self._index.totals().size // SLACK
        plan = self._plan(missing, slack)
        if plan.gone:
            self._index.dropped(plan.gone).result()
        if not missing.partly and not plan.covers(missing):
            return False
        alone = blobs = 0
        if plan.quarantine:
            alone += self._store.empty_quarantine()
        for batch in _batches(plan.alone):
            count, size = self._evict(batch)
            blobs, alone = blobs + count, alone + size
        for leftover in plan.leftovers:
            alone += self._partials.discard(leftover.expected)
        linked = 0
        for batch in _batches(plan.linked):
            count, size = self._evict(batch)
            blobs, linked = blobs + count, linked + size
        if alone or linked:
            self._observe(Evicted(blobs, alone + linked))
        return bool(alone or (linked and missing.quota))

    def _plan(self, missing: Missing, slack: int) -> _Plan:
        """Choose what goes: as little as covers *missing* and *slack*, as far as that can be had."""
        plan, pinned, linked = _Plan(), self._pinned(), list[StoredBlob]()
        wanted = Missing(
            missing.quota + slack if missing.quota else 0,
            missing.disk + slack if missing.disk else 0,
        )
        damaged = self._store.quarantined()
        if damaged:
            plan.quarantine = True
            plan.take(damaged, disk=True)
        for blob in self._least_recent():
            if plan.covers(missing) and not plan.leaves_space_for(blob.size, wanted):
                return plan
            names = self._store.names(blob.digest)
            if not names:
                plan.gone.append(blob.digest)
            elif blob.digest in pinned or self._store.in_use(blob.digest):
                continue
            elif names > 1:
                linked.append(blob)
            else:
                plan.alone.append(blob)
                plan.take(blob.size, disk=True)
        for leftover in sorted(self._partials.leftovers(), key=lambda left: left.modified):
            if plan.covers(missing):
                return plan
            plan.leftovers.append(leftover)
            plan.take(leftover.held, disk=True)
        for blob in linked:
            if plan.quota >= missing.quota:
                return plan
            plan.linked.append(blob)
            plan.take(blob.size, disk=False)
        return plan

    def _least_recent(self) -> Iterator[StoredBlob]:
        page = self._index.least_recent(after=0, limit=_PAGE)
        while page:
            yield from page
            page = self._index.least_recent(after=page[-1].used, limit=_PAGE)

    def _evict(self, blobs: list[StoredBlob]) -> tuple[int, int]:
        """Remove *blobs* but for those being read by now; returns how many went, and their bytes.

        The index forgets them first: the other way round, a blob that is fetched again in between would
        be forgotten while it is here.
        """
        self._index.dropped([blob.digest for blob in blobs]).result()
        kept = dict.fromkeys(blobs)
        try:
            for blob in blobs:
                if self._store.evict(blob.digest) is not None:
                    del kept[blob]
        finally:
            if kept:
                self._index.stored([(blob.digest, blob.size) for blob in kept]).result()
        went = [blob for blob in blobs if blob not in kept]
        return len(went), sum(blob.size for blob in went)


def _batches(blobs: list[StoredBlob]) -> Iterator[list[StoredBlob]]:
    for start in range(0, len(blobs), _BATCH):
        yield blobs[start : start + _BATCH]
