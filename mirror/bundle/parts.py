"""What adoptions and bundles work with: the store and index of one data folder, its hubs, the way upstream.

The server imports this to start; what works with it is imported by the first order for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mirror.cache.facts import Lifetimes, View
from mirror.clock import Clock
from mirror.digest import SHA256, Digest
from mirror.events import Observer
from mirror.hubs.base import Hub
from mirror.hubs.caches import Adopts
from mirror.index.arrears import Arrears
from mirror.index.grants import Grants
from mirror.index.memo import Memo
from mirror.index.protocol import Index
from mirror.names import Entries, Fact, Question, Ref, Repo, Snapshot
from mirror.store.blobs import Blob, DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partials


class Asked(StrEnum):
    """What came of asking upstream."""

    TOLD = "told"
    """It answered."""
    REFUSED = "refused"
    """It answers that to nobody in particular, or has no such thing."""
    SILENT = "silent"
    """It cannot be asked now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts, each of which may be called from any thread.

    *ask* asks upstream all that a question still lacks, as nobody in particular, and records what it says.
    """

    layout: Layout
    ledger: Ledger
    store: DiskStore
    partials: Partials
    catalog: Index
    memo: Memo
    arrears: Arrears
    grants: Grants
    hubs: Sequence[Hub]
    clock: Clock
    observe: Observer
    ask: Callable[[Hub, Question], Asked]

    @property
    def adopts(self) -> tuple[Hub, Adopts]:
        """The hub whose clients keep commits, twice: as either of the two that it is."""
        for hub in self.hubs:
            if isinstance(hub, Adopts):
                return hub, hub
        raise LookupError("no hub adopts caches")

    def view(self) -> View:
        """What is known, as nobody in particular may use it while upstream cannot be asked."""
        now = self.clock.wall()
        lifetimes = Lifetimes({}, 0.0, 0.0)
        return View(self.catalog, self.memo, lifetimes, "", now, now, offline=True)

    def here(self, name: Digest | None) -> Blob | None:
        """The blob that is known as *name*, if it is stored."""
        if name is None:
            return None
        sha256 = name if name.algorithm == SHA256 else self.catalog.sha256_of(name)
        return None if sha256 is None else self.store.find(sha256)

    def canonical(self, repo: Repo) -> Repo:
        """The repo that *repo* was seen to be another name of, or *repo* itself."""
        alias = self.catalog.alias(repo)
        return repo if alias is None else alias.repo


def moved(facts: Sequence[Fact], to: Repo) -> list[Fact]:
    """*facts* about a repo as facts about the one that it really is."""
    return [
        replace(fact, repo=to) if isinstance(fact, (Ref, Snapshot, Entries)) else fact
        for fact in facts
    ]


def earlier(seen_at: float, now: float) -> float:
    """A time that a file tells, no later than *now*: clocks of other machines may be ahead."""
    return min(seen_at, now)
