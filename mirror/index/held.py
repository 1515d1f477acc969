"""What the disk would not take: the newest facts, in memory, until it takes them again.

They win over the catalog's file, so whoever learned something reads it right afterwards, and a refusal
holds though it cannot be written. Each is kept as it would stand in the file: where a fact is merged with
what is known (`mirror.index.recording`), it is merged when it comes.

Memory has a bound, the disk may be full for days. What may be learned again is let go then, the oldest
first and a commit's list as a whole. Never let go is what takes away: a repo that the file believes open to
more, a credential that the file believes accepted, a name that the file believes to be another's. Of those
there are no more than the file has rows.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from mirror.digest import SHA256, Digest
from mirror.errors import StoreFullError
from mirror.index import packing, recording
from mirror.index.lookups import Lookups
from mirror.index.protocol import RepoRow, StoredBlob
from mirror.names import (
    Access,
    Alias,
    Entries,
    Entry,
    Fact,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)

Work: TypeAlias = Callable[[sqlite3.Connection], None]

BOUND: Final = 64 << 20

_LARGEST: Final = (1 << 63) - 1  # what a column of the file takes

# What a fact takes in Python beside its text, in bytes: objects, keys and their places in tables.
_OVERHEAD: Final = 600


@dataclass(slots=True)
class HeldCommit:
    """What is held of one commit, and the bytes that its paths take.

    *listing* while its list is being read: it must stay together, or a path that was let go would be
    taken for one that does not exist once the list is said to be complete.
    """

    head: Snapshot | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    listing: bool = False
    size: int = 0


class Held:
    """Facts in memory over *file*; *bound* is in bytes.

    The writer's thread alone changes it, with *lock* taken; others read single values without, and take
    it for more than that.
    """

    def __init__(self, file: Lookups, bound: int = BOUND) -> None:
        self._file = file
        self._bound = bound
        # What may go, oldest first: its bytes, and what lets it go or says that it cannot go now.
        self._costs: OrderedDict[object, tuple[int, Callable[[], bool]]] = OrderedDict()
        self._size = 0
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Let go of everything: the file has it."""
        with self.lock:
            self.something = False
            self.refs: dict[tuple[Repo, str], Ref] = {}
            self.commits: dict[tuple[Repo, str], HeldCommit] = {}
            self.contents: dict[tuple[Repo, str], tuple[str, str]] = {}
            self.audiences: dict[Repo, Visibility] = {}
            self.aliases: dict[Repo, Alias] = {}
            self.verdicts: dict[tuple[str, Repo, Access], Verdict] = {}
            self.replies: dict[str, Reply] = {}
            self.links: dict[Digest, Digest] = {}
            self.blobs: dict[Digest, StoredBlob] = {}
            self.hidden: dict[Digest, int] = {}
            self._costs.clear()
            self._size = 0

    # ── taking in ──────────────────────────────────────────────────────────────────────────────

    def record(self, facts: Sequence[Fact]) -> None:
        """Hold *facts*, all of them or none.

        Raises `StoreFullError` where they do not fit, `OverflowError` for a size that no file has.
        """
        pages = [fact.entries for fact in facts if isinstance(fact, Entries)]
        if any(entry.size > _LARGEST for page in pages for entry in page):
            raise OverflowError("a size beyond any file")
        with self.lock:
            self._make_room(sum(_cost(fact) for fact in facts))
            self.something = True
            for fact in facts:
                self._hold(fact)

    def record_verdict(self, fingerprint: str, verdict: Verdict) -> None:
        """Hold what upstream said to one credential."""
        key = (fingerprint, verdict.repo, verdict.access)
        with self.lock:
            if self._takes_away(fingerprint, verdict):
                self._keep(("verdict", key))
            else:
                self._make_room(_OVERHEAD)
                self._charge(("verdict", key), _OVERHEAD, lambda: bool(self.verdicts.pop(key)))
            self.something = True
            self.verdicts[key] = verdict

    def _takes_away(self, fingerprint: str, verdict: Verdict) -> bool:
        if verdict.accepted:
            return False
        if not verdict.repo.name:  # the whole hub's word: this credential is dead
            return self._file.accepted_anywhere(fingerprint)
        known = self._file.verdict(fingerprint, verdict.repo, verdict.access)
        return known is not None and known.accepted

    def stored(
        self,
        blobs: Sequence[tuple[Digest, int]],
        links: Sequence[tuple[Digest, Digest]],
        first_use: int,
    ) -> None:
        """Hold that *blobs* are here, the first with the use *first_use*, and other names of some."""
        _expect_sha256([digest for digest, _ in blobs] + [sha256 for _, sha256 in links])
        with self.lock:
            self.something = True
            for name, sha256 in links:
                if self._file.sha256_of(name) is None:
                    self.links.setdefault(name, sha256)
            for used, (digest, size) in enumerate(blobs, start=first_use):
                self._hide(digest)
                self.blobs[digest] = StoredBlob(digest, size, used)

    def dropped(self, digests: Sequence[Digest]) -> None:
        """Hold that these blobs are here no longer."""
        _expect_sha256(digests)
        with self.lock:
            self.something = True
            for digest in digests:
                self._hide(digest)
                self.blobs.pop(digest, None)

    def touch(self, digests: Sequence[Digest], first_use: int) -> None:
        """Hold that these blobs were wanted, as far as they are held themselves.

        Of the others it is forgotten: an order of use that misses some uses is one still.
        """
        _expect_sha256(digests)
        with self.lock:
            for used, digest in enumerate(digests, start=first_use):
                if digest in self.blobs:
                    self.blobs[digest] = replace(self.blobs[digest], used=used)

    def _hide(self, digest: Digest) -> None:
        if digest not in self.hidden:
            known = self._file.blob(digest)
            if known is not None:
                self.hidden[digest] = known.size

    def _hold(self, fact: Fact) -> None:
        match fact:
            case Ref():
                key = (fact.repo, fact.revision)
                self.refs[key] = fact
                self._charge(("ref", key), _cost(fact), lambda: bool(self.refs.pop(key)))
            case Snapshot():
                self._hold_head(fact)
            case Entries():
                self._hold_entries(fact)
            case Visibility():
                about = fact.repo
                self.audiences[about] = fact
                if self._file.visibility(about) is not None:
                    self._keep(("audience", about))
                else:
                    self._charge(
                        ("audience", about), _OVERHEAD, lambda: bool(self.audiences.pop(about))
                    )
            case Alias():
                name = fact.asked
                self.aliases[name] = fact
                if self._file.alias(name) is not None or self._file.visibility(name) is not None:
                    self._keep(("alias", name))
                else:
                    self._charge(("alias", name), _OVERHEAD, lambda: bool(self.aliases.pop(name)))
            case Reply() if fact.lasting:
                question = fact.key
                self.replies[question] = fact
                self._charge(
                    ("reply", question), _cost(fact), lambda: bool(self.replies.pop(question))
                )
            case _:
                pass

    def _hold_head(self, fact: Snapshot) -> None:
        key = (fact.repo, fact.commit)
        kept = self.commits.setdefault(key, HeldCommit())
        known = kept.head or self._file.snapshot(fact.repo, fact.commit)
        if known is not None:
            state, view, info = fact.state, fact.view, fact.info
            if known.state is SnapshotState.COMPLETE:
                state = known.state
                if fact.state is not state or known.view == "full":
                    view = known.view
            if not info or (known.info and known.view == "full" and fact.view != "full"):
                info = known.info
            fact = replace(fact, state=state, view=view, info=info)
        kept.head = fact
        if fact.state is not SnapshotState.PENDING:
            kept.listing = False
        self._charge_commit(key, kept)

    def _hold_entries(self, fact: Entries) -> None:
        key = (fact.repo, fact.commit)
        kept = self.commits.setdefault(key, HeldCommit())
        for entry in fact.entries:
            known = kept.entries.get(entry.path)
            if known is None:
                kept.size += _OVERHEAD + len(entry.path) + len(entry.raw)
                known = self._file.entry(fact.repo, fact.commit, entry.path)
            shown = known is not None and known.xet not in {None, packing.REDACTED}
            if known is not None and shown and entry.xet == packing.REDACTED:
                entry = known  # noqa: PLW2901 -- what was shown once is not hidden again
            kept.entries[entry.path] = entry
            kept.absent.discard(entry.path)
            for name in (None if entry.digest is None else entry.digest.hex, entry.xet):
                if name is not None and name != packing.REDACTED:
                    self.contents.setdefault((fact.repo, name), (fact.commit, entry.path))
        for path in fact.absent:
            known = kept.entries.get(path) or self._file.entry(fact.repo, fact.commit, path)
            if known is None and path not in kept.absent:
                kept.absent.add(path)
                kept.size += _OVERHEAD + len(path)
        kept.listing = True
        self._charge_commit(key, kept)

    # ── room ───────────────────────────────────────────────────────────────────────────────────

    def _charge(self, key: object, cost: int, let_go: Callable[[], bool]) -> None:
        """Note what *key* takes, as the newest of what may go."""
        self._keep(key)
        self._size += cost
        self._costs[key] = cost, let_go

    def _keep(self, key: object) -> None:
        """Note that *key* must stay, and counts no longer."""
        self._size -= self._costs.pop(key, (0, None))[0]

    def _charge_commit(self, key: tuple[Repo, str], kept: HeldCommit) -> None:
        head = 0 if kept.head is None else _cost(kept.head)
        self._charge(("commit", key), kept.size + head, lambda: self._let_go_of_commit(key))

    def _let_go_of_commit(self, key: tuple[Repo, str]) -> bool:
        kept = self.commits[key]
        if kept.listing and kept.head is not None and kept.head.state is SnapshotState.PENDING:
            return False
        repo, commit = key
        self.contents = {
            name: where
            for name, where in self.contents.items()
            if (name[0], where[0]) != (repo, commit)
        }
        del self.commits[key]
        return True

    def _make_room(self, cost: int) -> None:
        """Let the oldest go that may, until *cost* bytes more fit. Raises `StoreFullError`."""
        for key, (size, let_go) in list(self._costs.items()) if self._full(cost) else ():
            if let_go():
                del self._costs[key]
                self._size -= size
                if not self._full(cost):
                    return
        if self._full(cost):
            raise StoreFullError(
                "The index cannot be written, and what is kept in memory meanwhile is full.",
                needed=cost,
                free=max(0, self._bound - self._size),
                hint="Free some space on the disk of the data folder.",
            )

    def _full(self, cost: int) -> bool:
        return self._size + cost > self._bound

    # ── looking ────────────────────────────────────────────────────────────────────────────────

    def rows(self, known: Collection[Repo]) -> list[RepoRow]:
        """The repos of which something is held that are not among *known*."""
        with self.lock:
            seen: dict[Repo, float] = {}
            facts: list[Ref | Visibility | Snapshot] = [*self.refs.values(), *self._heads()]
            for fact in [*facts, *self.audiences.values()]:
                seen[fact.repo] = max(seen.get(fact.repo, 0.0), fact.seen_at)
            for repo, _ in self.commits:
                seen.setdefault(repo, 0.0)
            return [self._row(repo, seen[repo]) for repo in seen if repo not in known]

    def _heads(self) -> list[Snapshot]:
        return [kept.head for kept in self.commits.values() if kept.head is not None]

    def _row(self, repo: Repo, seen_at: float) -> RepoRow:
        commits = [kept for (of, _), kept in self.commits.items() if of == repo]
        contents = {
            entry.digest: entry.size
            for kept in commits
            for entry in kept.entries.values()
            if entry.digest is not None
        }
        here = [size for digest, size in contents.items() if self._is_here(digest)]
        return RepoRow(
            repo,
            len(commits),
            len(contents),
            len(here),
            sum(here),
            self.audiences.get(repo),
            seen_at,
        )

    def _is_here(self, digest: Digest) -> bool:
        name: Digest | None = digest
        if digest.algorithm != SHA256:
            name = self._file.sha256_of(digest) or self.links.get(digest)
        if name is None:
            return False
        return name in self.blobs or (name not in self.hidden and self._file.blob(name) is not None)

    # ── giving back ────────────────────────────────────────────────────────────────────────────

    def works(self) -> Iterator[Work]:
        """What writes all of it into the file, in an order in which nothing refers to what is to come."""
        for (repo, commit), kept in self.commits.items():
            pages = Entries(repo, commit, tuple(kept.entries.values()), tuple(kept.absent))
            facts: list[Fact] = [pages] if kept.entries or kept.absent else []
            yield _record([*facts, kept.head] if kept.head is not None else facts)
        yield _record([*self.refs.values(), *self.audiences.values(), *self.aliases.values()])
        for reply in self.replies.values():
            yield _record([reply])
        for (fingerprint, _, _), verdict in self.verdicts.items():
            yield _judge(fingerprint, verdict)
        yield lambda connection: recording.drop(
            connection, [digest for digest in self.hidden if digest not in self.blobs]
        )
        yield lambda connection: recording.link(connection, self.links.items())
        for blob in self.blobs.values():
            yield _store(blob)


def _expect_sha256(digests: Sequence[Digest]) -> None:
    for digest in digests:
        recording.named(digest, SHA256)


def _record(facts: Sequence[Fact]) -> Work:
    return lambda connection: recording.record(connection, facts)


def _judge(fingerprint: str, verdict: Verdict) -> Work:
    return lambda connection: recording.record_verdict(connection, fingerprint, verdict)


def _store(blob: StoredBlob) -> Work:
    return lambda connection: recording.store(connection, [(blob.digest, blob.size)], blob.used)


def _cost(fact: Fact) -> int:
    """About how many bytes of memory *fact* takes."""
    match fact:
        case Snapshot():
            return _OVERHEAD + len(fact.info)
        case Entries():
            listed = sum(_OVERHEAD + len(entry.path) + len(entry.raw) for entry in fact.entries)
            return listed + sum(_OVERHEAD + len(path) for path in fact.absent)
        case Reply():
            return _OVERHEAD + len(fact.key) + len(fact.response.body) if fact.lasting else 0
        case Ref():
            return _OVERHEAD + len(fact.revision)
        case _:
            return 0
