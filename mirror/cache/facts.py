"""What is known, as one caller may use it for one question: freshness and audience over the catalog.

The catalog remembers; this view judges. A fact seen since the question began is always good enough, so
a lifetime of zero still settles. A fact from the future counts as expired: the clock was set back.

Every judgement passes by here, so the view also knows how long they stay as they are, and of which repos
they are: an answer that was made of nothing else may be given again until then (`mirror.leases`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from mirror.index.codec import decode_reply
from mirror.index.memo import Memo
from mirror.index.protocol import Index
from mirror.names import (
    ADOPTED_WHOLE,
    Access,
    Alias,
    Entry,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
    adopted,
)

# A repo that was public is asked about again after a day even if nothing else needs asking, so that
# content that went private upstream is not shown for ever (design: renewed at least every 24 h).
VISIBILITY_LIFETIME: Final = 86_400.0

# What was learned while the question was answered is later than its `now` by less than this, in seconds.
# Anything later comes from a clock that was set back.
LEEWAY: Final = 10.0


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long facts are believed, in seconds.

    *refs* by hub name; *audience* for a credential that upstream accepted, *grace* for the same while
    upstream cannot be asked.
    """

    refs: Mapping[str, float]
    audience: float
    grace: float


def _nothing(_repo: Repo) -> bool:
    """Grant nothing."""
    return False


@dataclass(slots=True)
class View:
    """The `mirror.hubs.base.Facts` of one caller and one question.

    *fingerprint* names the credential that upstream is asked with (empty: none), *user* the local user
    who asks, if any. *about* is the repo the question names, if any; *started* is the wall time the
    question came in, and *at* when it was last looked; with *offline* stale facts are shown. *waited* holds
    the commits whose file list was waited for in vain, *replies* the answers that live only as long as the
    question. *granted* tells whether the operator's word opens a repo to this caller. Off the event loop
    there is no *memo*. *as_of* counts the changes that came before it was made (`Leases.number`); *until* is
    the wall time up to which all that was judged so far stays so for everybody, whoever asks.
    """

    catalog: Index
    memo: Memo | None
    lifetimes: Lifetimes
    fingerprint: str
    started: float
    at: float
    about: Repo | None = None
    offline: bool = False
    user: str = ""
    granted: Callable[[Repo], bool] = _nothing
    waited: set[tuple[Repo, str]] = field(default_factory=set)
    replies: dict[str, Reply] = field(default_factory=dict)
    as_of: int = 0
    until: float = inf
    _aliases: dict[Repo, Alias | None] = field(default_factory=dict)

    @property
    def now(self) -> float:
        """Wall time, for an answer that tells it, and so is good for once."""
        self.until = -inf
        return self.at

    @now.setter
    def now(self, wall: float) -> None:
        self.at = wall

    @property
    def caller(self) -> str:
        """What a pass says of this caller: the user, if any, and the credential's fingerprint."""
        self.until = -inf
        return f"{self.user} {self.fingerprint}" if self.user else self.fingerprint

    @property
    def anonymous(self) -> bool:
        """Whether nobody in particular asks."""
        return not self.user and not self.fingerprint

    @property
    def repos(self) -> Collection[Repo]:
        """The repos that anything was looked up of."""
        return self._aliases.keys()

    def renew(self, now: float) -> None:
        """Look again at wall time *now*: more may be known."""
        self.at = now
        self._aliases.clear()

    def stale(self) -> "View":
        """The same view while upstream cannot be asked."""
        return View(
            self.catalog,
            self.memo,
            self.lifetimes,
            self.fingerprint,
            self.started,
            self.at,
            self.about,
            offline=True,
            user=self.user,
            granted=self.granted,
            waited=self.waited,
            replies=self.replies,
            as_of=self.as_of,
        )

    def canonical(self, repo: Repo) -> Repo:
        """The repo that *repo* is an alias of, or *repo* itself."""
        alias = self._alias(repo)
        if alias is None or not self._good(alias.seen_at, self.lifetimes.refs.get(repo.hub, 0.0)):
            return repo
        return alias.repo

    def visibility(self, repo: Repo) -> Visibility | None:
        """Who may see *repo*, as last seen within a day.

        Of a name that became an alias nothing is believed: whether what was once seen under it may be
        shown is for the repo it leads to, and where it leads now upstream must say.
        """
        alias = self._alias(repo)
        if alias is not None and alias.repo != repo:
            return None
        seen = self.catalog.visibility(repo)
        return seen if seen is not None and self._good(seen.seen_at, VISIBILITY_LIFETIME) else None

    def admitted(self, repo: Repo, access: Access) -> bool:
        """Whether this caller may be answered about *repo* at *access* without asking upstream."""
        if access is Access.NONE or self.granted(repo):
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
        since, ref = self._since(repo), self.catalog.ref(repo, revision)
        if ref is None or ref.seen_at < since:
            return None
        if ref.commit == revision:
            return ref
        return ref if self._good(ref.seen_at, self.lifetimes.refs.get(repo.hub, 0.0)) else None

    def refs(self, repo: Repo) -> Sequence[Ref]:
        """Every revision of *repo* seen so far, however old."""
        since = self._since(repo)
        return [ref for ref in self.catalog.refs(repo) if ref.seen_at >= since]

    def snapshot(self, repo: Repo, commit: str) -> Snapshot | None:
        """The head of the file list of *commit*.

        While the list is being read, whoever has not waited for it yet is shown it as not begun (an
        empty view), so that the hub asks for it and joins the reading; after the wait it is shown as it
        is, and the hub goes by path. What a client's cache told is shown while upstream cannot be asked, a
        whole list as complete.
        """
        told = self._adopted(repo, commit)
        if told is not None:
            return told
        since, snapshot = self._since(repo), self.catalog.snapshot(repo, commit)
        if snapshot is not None and snapshot.seen_at < since:
            return None
        if snapshot is None or snapshot.state is not SnapshotState.PENDING or self.offline:
            return snapshot
        if (repo, commit) in self.waited:
            return replace(snapshot, view=snapshot.view or "full")
        return replace(snapshot, view="")

    def entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """One path of *commit*, if known to exist."""
        found = self.catalog.entry(repo, commit, path) if self._holds(repo, commit) else None
        if found is None and self._adopted(repo, commit) is not None:
            return self.catalog.entry(repo, adopted(commit), path)
        return found

    def absent(self, repo: Repo, commit: str, path: str) -> bool:
        """Whether *path* is proved not to exist at *commit*."""
        told = self._adopted(repo, commit)
        if told is not None and self.entry(repo, commit, path) is None:
            complete = told.state is SnapshotState.COMPLETE
            if complete or self.catalog.absent(repo, adopted(commit), path):
                return True
        if not self._holds(repo, commit):
            return False
        snapshot = self.catalog.snapshot(repo, commit)
        if snapshot is not None and snapshot.state is SnapshotState.COMPLETE:
            return self.catalog.entry(repo, commit, path) is None
        return self.catalog.absent(repo, commit, path)

    def listing(
        self, repo: Repo, commit: str, folder: str, *, recursive: bool, after: str, limit: int
    ) -> Sequence[Entry]:
        """Entries below *folder* in path order after *after*, at most *limit*."""
        names = [commit] if self._holds(repo, commit) else []
        if self._adopted(repo, commit) is not None:
            names.append(adopted(commit))
        pages = [
            self.catalog.listing(repo, name, folder, recursive=recursive, after=after, limit=limit)
            for name in names
        ]
        if len(pages) < 2:
            return pages[0] if pages else ()
        # Of both, what upstream said first: a later page of a mapping replaces an earlier one.
        known = {entry.path: entry for page in reversed(pages) for entry in page}
        return [known[path] for path in sorted(known, key=str.encode)][:limit]

    def by_digest(self, repo: Repo, hex_digest: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this content."""
        return self._held(repo, self.catalog.by_digest(repo, hex_digest))

    def by_xet(self, repo: Repo, xet_hash: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this Xet hash."""
        return self._held(repo, self.catalog.by_xet(repo, xet_hash))

    def reply(self, key: str) -> Reply | None:
        """Upstream's answer kept under *key*, for everybody or for this caller alone."""
        self.until = -inf  # it may be forgotten at any time
        kept = self.replies.get(key)
        if kept is not None:
            return kept
        for name in (key, own_key(self.fingerprint, key)):
            found = self._remembered(name)
            if found is not None:
                return found
        return None

    def _remembered(self, name: str) -> Reply | None:
        value = None if self.memo is None else self.memo.get(name)
        found = decode_reply(value) if value is not None else self.catalog.reply(name)
        if found is None or not self._good(found.seen_at, found.lifetime):
            return None
        if self.about is not None and found.seen_at < self._since(self.canonical(self.about)):
            return None
        return found

    # ── names that change hands ────────────────────────────────────────────────────────────────

    def _alias(self, repo: Repo) -> Alias | None:
        """What *repo* was last seen to lead to, looked up once: it is asked for at every turn."""
        if repo not in self._aliases:
            self._aliases[repo] = self.catalog.alias(repo)
        return self._aliases[repo]

    def _since(self, repo: Repo) -> float:
        """Since when *repo* is the repo it is: a name that was given up may be taken by a stranger.

        What was seen under the name before that is another repo's; 0 while no change was seen.
        """
        alias = self._alias(repo)
        return alias.seen_at if alias is not None and alias.repo == repo else 0.0

    def _holds(self, repo: Repo, commit: str) -> bool:
        """Whether *commit* was seen in *repo* since it is what it is."""
        since = self._since(repo)
        if not since:
            return True
        snapshot = self.catalog.snapshot(repo, commit)
        return snapshot is not None and snapshot.seen_at >= since

    def _held(self, repo: Repo, found: tuple[str, Entry] | None) -> tuple[str, Entry] | None:
        self._alias(repo)
        if found is None or not self._holds(repo, found[0]):
            return None
        commit, entry = found
        return commit.removeprefix(adopted("")), entry

    def _adopted(self, repo: Repo, commit: str) -> Snapshot | None:
        """What a client's cache told of *commit*, where upstream cannot be asked and has not told all."""
        if not self.offline:
            return None
        told = self.catalog.snapshot(repo, adopted(commit))
        if told is None or told.seen_at < self._since(repo):
            return None
        own = self.catalog.snapshot(repo, commit)
        if own is not None and own.state is SnapshotState.COMPLETE:
            return None
        whole = told.view == ADOPTED_WHOLE
        state = SnapshotState.COMPLETE if whole else SnapshotState.PENDING
        info = own.info if own is not None and self._holds(repo, commit) else b""
        return replace(told, commit=commit, state=state, info=info)

    # ── freshness ──────────────────────────────────────────────────────────────────────────────

    def _accepted(self, repo: Repo, access: Access) -> bool:
        self.until = -inf  # what is so of this caller
        if not self.fingerprint:
            return False
        verdict: Verdict | None = self.catalog.verdict(self.fingerprint, repo, access)
        if verdict is None or not verdict.accepted or verdict.seen_at < self._since(repo):
            return False
        # Refused by the hub as a whole: a token that was withdrawn is dead for every repo.
        dead = self.catalog.verdict(self.fingerprint, Repo(repo.hub, ""), Access.NONE)
        if dead is not None and dead.seen_at >= verdict.seen_at:
            return False
        lifetime = self.lifetimes.grace if self.offline else self.lifetimes.audience
        return self._fresh(verdict.seen_at, lifetime)

    def _good(self, seen_at: float, lifetime: float) -> bool:
        return self.offline or self._fresh(seen_at, lifetime)

    def _fresh(self, seen_at: float, lifetime: float) -> bool:
        if seen_at > self.at + LEEWAY:
            self.until = -inf  # it will be believed when its time has come
            return False
        if seen_at >= self.started or self.at - seen_at <= lifetime:
            self.until = min(self.until, seen_at + lifetime)
            return True
        return False


def own_key(caller: str, key: str) -> str:
    """The key of a reply that only *caller* (a fingerprint, empty for anonymous) may be shown."""
    return f"{caller or 'anonymous'} {key}"
