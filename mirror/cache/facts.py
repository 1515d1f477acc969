"""What is known, as one caller may use it for one question: freshness and audience over the catalog.

The catalog remembers; this view judges. A fact seen since the question began is always good enough, so
a lifetime of zero still settles. A fact from the future counts as expired: the clock was set back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mirror.index.codec import decode_reply
from mirror.index.memo import Memo
from mirror.index.protocol import Index
from mirror.names import (
    Access,
    Entry,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)

# A repo that was public is asked about again after a day even if nothing else needs asking, so that
# content that went private upstream is not shown for ever (design: renewed at least every 24 h).
VISIBILITY_LIFETIME: Final = 86_400.0


# How far a fact may be ahead of a view's *now*: another question may have learned it since. Beyond that the
# clock was set back, and what it says it learned then would be believed until it is that late again.
AHEAD: Final = 60.0


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long facts are believed, in seconds.

    *refs* by hub name; *audience* for a credential that upstream accepted, *grace* for the same while
    upstream cannot be asked.
    """

    refs: Mapping[str, float]
    audience: float
    grace: float


@dataclass(slots=True)
class View:
    """The `mirror.hubs.base.Facts` of one caller and one question.

    *started* is the wall time the question came in; with *offline* stale facts are shown. *waited* holds
    the commits whose file list was waited for in vain, *replies* the answers that live only as long as
    the question.
    """

    catalog: Index
    memo: Memo
    lifetimes: Lifetimes
    caller: str
    started: float
    now: float
    offline: bool = False
    waited: set[tuple[Repo, str]] = field(default_factory=set)
    replies: dict[str, Reply] = field(default_factory=dict)

    def stale(self) -> "View":
        """The same view while upstream cannot be asked."""
        return View(
            self.catalog,
            self.memo,
            self.lifetimes,
            self.caller,
            self.started,
            self.now,
            offline=True,
            waited=self.waited,
            replies=self.replies,
        )

    def canonical(self, repo: Repo) -> Repo:
        """The repo that *repo* is an alias of, or *repo* itself."""
        alias = self.catalog.alias(repo)
        if alias is None or not self._good(alias.seen_at, self.lifetimes.refs.get(repo.hub, 0.0)):
            return repo
        return alias.repo

    def visibility(self, repo: Repo) -> Visibility | None:
        """Who may see *repo*, as last seen within a day."""
        seen = self.catalog.visibility(repo)
        return seen if seen is not None and self._good(seen.seen_at, VISIBILITY_LIFETIME) else None

    def admitted(self, repo: Repo, access: Access) -> bool:
        """Whether this caller may be answered about *repo* at *access* without asking upstream."""
        if access is Access.NONE:
            return True
        seen = self.visibility(repo)
        if seen is None:
            return False
        if not seen.private and (access is Access.LIST or not seen.gated):
            return True
        if access is Access.READ and seen.gated:
            return self._accepted(repo, Access.READ)
        return self._accepted(repo, Access.READ) or self._accepted(repo, Access.LIST)

    def ref(self, repo: Repo, revision: str) -> Ref | None:
        """The commit that *revision* points at; a commit points at itself for ever."""
        ref = self.catalog.ref(repo, revision)
        if ref is None or ref.commit == revision:
            return ref
        return ref if self._good(ref.seen_at, self.lifetimes.refs.get(repo.hub, 0.0)) else None

    def refs(self, repo: Repo) -> Sequence[Ref]:
        """Every revision of *repo* seen so far, however old."""
        return self.catalog.refs(repo)

    def snapshot(self, repo: Repo, commit: str) -> Snapshot | None:
        """The head of the file list of *commit*.

        While the list is being read, whoever has not waited for it yet is shown it as not begun (an
        empty view), so that the hub asks for it and joins the reading; after the wait it is shown as it
        is, and the hub goes by path.
        """
        snapshot = self.catalog.snapshot(repo, commit)
        if snapshot is None or snapshot.state is not SnapshotState.PENDING or self.offline:
            return snapshot
        if (repo, commit) in self.waited:
            return replace(snapshot, view=snapshot.view or "full")
        return replace(snapshot, view="")

    def entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """One path of *commit*, if known to exist."""
        return self.catalog.entry(repo, commit, path)

    def absent(self, repo: Repo, commit: str, path: str) -> bool:
        """Whether *path* is proved not to exist at *commit*."""
        snapshot = self.catalog.snapshot(repo, commit)
        if snapshot is not None and snapshot.state is SnapshotState.COMPLETE:
            return self.catalog.entry(repo, commit, path) is None
        return self.catalog.absent(repo, commit, path)

    def listing(
        self, repo: Repo, commit: str, folder: str, *, recursive: bool, after: str, limit: int
    ) -> Sequence[Entry]:
        """Entries below *folder* in path order after *after*, at most *limit*."""
        return self.catalog.listing(
            repo, commit, folder, recursive=recursive, after=after, limit=limit
        )

    def by_digest(self, repo: Repo, hex_digest: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this content."""
        return self.catalog.by_digest(repo, hex_digest)

    def by_xet(self, repo: Repo, xet_hash: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this Xet hash."""
        return self.catalog.by_xet(repo, xet_hash)

    def reply(self, key: str) -> Reply | None:
        """Upstream's answer kept under *key*, for everybody or for this caller alone."""
        kept = self.replies.get(key)
        if kept is not None:
            return kept
        for name in (key, own_key(self.caller, key)):
            found = self._remembered(name)
            if found is not None:
                return found
        return None

    def _remembered(self, name: str) -> Reply | None:
        value = self.memo.get(name)
        found = decode_reply(value) if value is not None else self.catalog.reply(name)
        if found is None or not self._good(found.seen_at, found.lifetime):
            return None
        return found

    def _accepted(self, repo: Repo, access: Access) -> bool:
        if not self.caller:
            return False
        verdict: Verdict | None = self.catalog.verdict(self.caller, repo, access)
        if verdict is None or not verdict.accepted:
            return False
        lifetime = self.lifetimes.grace if self.offline else self.lifetimes.audience
        return self._fresh(verdict.seen_at, lifetime)

    def _good(self, seen_at: float, lifetime: float) -> bool:
        return self.offline or self._fresh(seen_at, lifetime)

    def _fresh(self, seen_at: float, lifetime: float) -> bool:
        """Whether it was seen within *lifetime*, or since the question came in; not in the future."""
        return self.started <= seen_at <= self.now + AHEAD or 0 <= self.now - seen_at <= lifetime


def own_key(caller: str, key: str) -> str:
    """The key of a reply that only *caller* (a fingerprint, empty for anonymous) may be shown."""
    return f"{caller or 'anonymous'} {key}"
