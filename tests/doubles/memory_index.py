"""An index in memory, for tests of the layers above: the same answers as the catalog, from dictionaries.

It passes tests/conformance/test_index.py. Where the catalog keeps counts by triggers, this one counts
when asked, so that the suite compares two ways to the same number.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from mirror.digest import SHA256, Digest
from mirror.errors import StoreUnusableError
from mirror.index.protocol import RepoRow, StoredBlob, Totals
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

_REDACTED = "****"
_GREATEST_SIZE = (1 << 63) - 1  # what a column of the catalog takes


@dataclass(slots=True)
class _Commit:
    """What is known of one commit: its head, the view its info was seen with, its paths."""

    head: Snapshot | None = None
    info_view: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)


class MemoryIndex:
    """An `mirror.index.protocol.Index` that forgets everything when it goes."""

    def __init__(self) -> None:
        self._commits: dict[Repo, dict[str, _Commit]] = {}
        self._refs: dict[tuple[Repo, str], Ref] = {}
        self._audiences: dict[Repo, Visibility] = {}
        self._seen: dict[Repo, float] = {}
        self._aliases: dict[Repo, Alias] = {}
        self._verdicts: dict[tuple[str, Repo, Access], Verdict] = {}
        self._replies: dict[str, Reply] = {}
        self._links: dict[Digest, Digest] = {}
        self._blobs: dict[Digest, StoredBlob] = {}
        self._last_use = 0
        self.drops = 0
        self.forgettings = 0
        self._closed = False

    # ── what upstream said ─────────────────────────────────────────────────────────────────────

    def record(self, facts: Sequence[Fact], as_of: int | None = None) -> "Future[None]":
        """Write *facts* down, all of them or none."""
        if as_of not in {None, self.forgettings}:
            facts = [
                replace(fact, state=SnapshotState.PENDING)
                if isinstance(fact, Snapshot) and fact.state is SnapshotState.COMPLETE
                else fact
                for fact in facts
            ]
        return self._do(lambda: self._record(facts))

    def record_verdict(self, fingerprint: str, verdict: Verdict) -> "Future[None]":
        """Write down what upstream said to one credential."""
        key = (fingerprint, verdict.repo, verdict.access)
        return self._do(lambda: self._verdicts.update({key: verdict}))

    def ref(self, repo: Repo, revision: str) -> Ref | None:
        """The commit that *revision* was last seen at."""
        return self._refs.get((repo, revision))

    def refs(self, repo: Repo) -> Sequence[Ref]:
        """Every revision of *repo* ever seen, by name."""
        found = [ref for ref in self._refs.values() if ref.repo == repo]
        return sorted(found, key=lambda ref: ref.revision)

    def snapshot(self, repo: Repo, commit: str) -> Snapshot | None:
        """The head of the file list of *commit*."""
        return self._commit(repo, commit).head

    def commits(self, repo: Repo) -> Sequence[str]:
        """Every commit of *repo* of which something is known."""
        return list(self._commits.get(repo, {}))

    def entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """One path of *commit*, if known to exist."""
        return self._commit(repo, commit).entries.get(path)

    def absent(self, repo: Repo, commit: str, path: str) -> bool:
        """Whether *path* is proved not to exist."""
        known = self._commit(repo, commit)
        complete = known.head is not None and known.head.state is SnapshotState.COMPLETE
        return path in known.absent or (complete and path not in known.entries)

    def absences(self, repo: Repo, commit: str) -> Sequence[str]:
        """The paths that upstream was asked for and does not have."""
        return sorted(self._commit(repo, commit).absent)

    def listing(
        self, repo: Repo, commit: str, folder: str, *, recursive: bool, after: str, limit: int
    ) -> Sequence[Entry]:
        """Known entries below *folder* in path order after *after*, at most *limit*."""
        prefix = f"{folder}/" if folder else ""
        entries = self._commit(repo, commit).entries
        found = [
            path
            for path in sorted(entries)
            if path.startswith(prefix)
            and path > after
            and (recursive or "/" not in path.removeprefix(prefix))
        ]
        return [entries[path] for path in found[:limit]]

    def by_digest(self, repo: Repo, hex_digest: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this content."""
        wanted = {hex_digest}
        wanted |= {git.hex for git, sha256 in self._links.items() if sha256.hex == hex_digest}
        return self._find(
            repo, lambda entry: entry.digest is not None and entry.digest.hex in wanted
        )

    def by_xet(self, repo: Repo, xet_hash: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this Xet hash."""
        if xet_hash == _REDACTED:
            return None
        return self._find(repo, lambda entry: entry.xet == xet_hash)

    def visibility(self, repo: Repo) -> Visibility | None:
        """Who may see *repo*, as last seen."""
        return self._audiences.get(repo)

    def alias(self, asked: Repo) -> Alias | None:
        """The repo that *asked* is another name of."""
        return self._aliases.get(asked)

    def verdict(self, fingerprint: str, repo: Repo, access: Access) -> Verdict | None:
        """What upstream last said to one credential."""
        return self._verdicts.get((fingerprint, repo, access))

    def accepted_anywhere(self, fingerprint: str) -> bool:
        """Whether upstream took a credential for any repo."""
        return any(
            whose == fingerprint and seen.accepted for (whose, _, _), seen in self._verdicts.items()
        )

    def reply(self, key: str) -> Reply | None:
        """Upstream's lasting answer kept under *key*."""
        return self._replies.get(key)

    def reply_keys(self, after: str, limit: int) -> Sequence[str]:
        """The keys of at most *limit* lasting answers beyond *after*."""
        return [key for key in sorted(self._replies) if key > after][:limit]

    def forms(self, document: str, limit: int) -> int:
        """In how many forms a document is kept."""
        begins = (f"{document}?", f"{document} ")
        return min(limit, sum(1 for key in self._replies if key.startswith(begins)))

    def repos(self, *, public_only: bool) -> Sequence[RepoRow]:
        """Every repo that something is known of, by name."""
        rows = [self._row(repo) for repo in sorted(self._seen)]
        return [
            row
            for row in rows
            if not public_only
            or (row.visibility and not row.visibility.private and not row.visibility.gated)
        ]

    def row(self, repo: Repo) -> RepoRow | None:
        """What `repos` says of *repo*."""
        return self._row(repo) if repo in self._seen else None

    def shown(self, text: str, *, after: Repo | None, limit: int) -> Sequence[RepoRow]:
        """Public repos of which bytes are stored, by name."""
        return [
            row
            for row in self.repos(public_only=True)
            if row.bytes_stored
            and (after is None or row.repo > after)
            and _lower(text) in _lower(row.repo.name)
        ][:limit]

    def shown_counts(self) -> Mapping[tuple[str, str], int]:
        """How many those are."""
        counts: dict[tuple[str, str], int] = {}
        for row in self.shown("", after=None, limit=len(self._seen)):
            word, slash, _ = row.repo.name.partition("/")
            key = (row.repo.hub, word if slash else "")
            counts[key] = counts.get(key, 0) + 1
        return counts

    def missing(self, repo: Repo, commit: str, *, after: str = "", limit: int) -> Sequence[str]:
        """Paths of *commit* whose content is known and not stored."""
        entries = self._commit(repo, commit).entries
        return [
            path
            for path in sorted(entries)
            if path > after
            and (digest := entries[path].digest) is not None
            and self.size_of(digest) is None
        ][:limit]

    def keys(self, begin: str, *, after: str, limit: int) -> Sequence[str]:
        """Keys of lasting replies that begin with *begin*."""
        return sorted(key for key in self._replies if key.startswith(begin) and key > after)[:limit]

    # ── what the store holds ───────────────────────────────────────────────────────────────────

    def stored(
        self, blobs: Sequence[tuple[Digest, int]], links: Sequence[tuple[Digest, Digest]] = ()
    ) -> "Future[None]":
        """Note that *blobs* are here, and what git calls some of them."""

        def work() -> None:
            for digest, _ in blobs:
                _expect(digest, SHA256)
            for name, sha256 in links:
                self._link(name, sha256)
            for digest, size in blobs:
                self._blobs[digest] = StoredBlob(digest, size, self._use())

        return self._do(work)

    def dropped(self, digests: Sequence[Digest]) -> "Future[None]":
        """Note that these blobs are here no longer."""
        self.drops += 1

        def work() -> None:
            for digest in digests:
                _expect(digest, SHA256)
                self._blobs.pop(digest, None)

        return self._do(work)

    def touch(self, digests: Sequence[Digest]) -> "Future[None]":
        """Note that these blobs were wanted, in this order."""

        def work() -> None:
            for digest in digests:
                _expect(digest, SHA256)
                use = self._use()
                if digest in self._blobs:
                    self._blobs[digest] = replace(self._blobs[digest], used=use)

        return self._do(work)

    def link(self, name: Digest, sha256: Digest) -> "Future[None]":
        """Note that what *name* names is stored as *sha256*."""
        return self._do(lambda: self._link(name, sha256))

    def sha256_of(self, name: Digest) -> Digest | None:
        """The name in the store of what *name* names."""
        return self._links.get(name)

    def size_of(self, name: Digest) -> int | None:
        """How many bytes the blob has that *name* names."""
        blob = self._blobs.get(self._links.get(name, name))
        return None if blob is None else blob.size

    def names_of(self, sha256: Digest) -> Sequence[Digest]:
        """The other names that a blob is known by."""
        return [name for name, known in self._links.items() if known == sha256]

    def holders(self, sha256: Digest) -> Sequence[Repo]:
        """The repos that have a file with this content."""
        names = {sha256, *self.names_of(sha256)}
        return sorted(
            repo
            for repo in self._commits
            if self._find(repo, lambda entry: entry.digest in names) is not None
        )

    def blob(self, sha256: Digest) -> StoredBlob | None:
        """One stored blob."""
        return self._blobs.get(sha256)

    @property
    def last_use(self) -> int:
        """The number of the last use of any blob."""
        return self._last_use

    def contents(self) -> Iterator[tuple[Repo, StoredBlob]]:
        """Each distinct content of a repo that is stored."""
        for repo, commits in self._commits.items():
            entries = (entry for known in commits.values() for entry in known.entries.values())
            for digest in {entry.digest for entry in entries if entry.digest is not None}:
                blob = self._blobs.get(digest) or self._blobs.get(self._links.get(digest, digest))
                if blob is not None:
                    yield repo, blob

    def totals(self) -> Totals:
        """What is stored, in all."""
        return Totals(len(self._blobs), sum(blob.size for blob in self._blobs.values()))

    def least_recent(self, *, after: int, limit: int) -> Sequence[StoredBlob]:
        """At most *limit* blobs in order of last use beyond *after*."""
        found = [blob for blob in self._blobs.values() if blob.used > after]
        return sorted(found, key=lambda blob: blob.used)[:limit]

    def forget(self, repo: Repo, commit: str = "") -> None:
        """Forget a commit and the refs onto it, or a repo."""
        self.forgettings += 2
        self._do(lambda: self._forget(repo, commit)).result()

    def forget_replies(self, keys: Sequence[str]) -> None:
        """Forget the answers kept under *keys*."""
        self.forgettings += 2
        self._do(lambda: [self._replies.pop(key, None) for key in keys]).result()

    def unlink(self, names: Sequence[Digest]) -> None:
        """Forget what each of *names* is stored as."""
        self.drops += 1
        self.forgettings += 2
        self._do(lambda: [self._links.pop(name, None) for name in names]).result()

    @property
    def trouble(self) -> str:
        """Nothing: it has no disk."""
        return ""

    def finish(self) -> None:
        """Do nothing: it has no disk to be level with."""

    def close(self) -> None:
        """Take no more."""
        self._closed = True

    # ── how ────────────────────────────────────────────────────────────────────────────────────

    def _do(self, work: Callable[[], object]) -> "Future[None]":
        future: Future[None] = Future()
        if self._closed:
            future.set_exception(StoreUnusableError("The index is closed."))
            return future
        try:
            work()
        except (OverflowError, ValueError) as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        return future

    def _record(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, Entries) and any(e.size > _GREATEST_SIZE for e in fact.entries):
                raise OverflowError("a size beyond any file")
        for fact in facts:
            match fact:
                case Ref():
                    self._saw(fact.repo, fact.seen_at)
                    self._refs[fact.repo, fact.revision] = fact
                case Snapshot():
                    self._saw(fact.repo, fact.seen_at)
                    self._snapshot(fact)
                case Entries():
                    self._saw(fact.repo, 0.0)
                    self._entries(fact)
                case Visibility():
                    self._saw(fact.repo, fact.seen_at)
                    self._audiences[fact.repo] = fact
                case Alias():
                    self._aliases[fact.asked] = fact
                case Reply() if fact.lasting:
                    self._replies[fact.key] = fact
                case _:
                    pass

    def _snapshot(self, fact: Snapshot) -> None:
        known = self._made(fact.repo, fact.commit)
        state, view, info = fact.state, fact.view, b""
        if known.head is not None:
            info = known.head.info
            if known.head.state is SnapshotState.COMPLETE:
                state = known.head.state
                if fact.state is not state or known.head.view == "full":
                    view = known.head.view
        if fact.info and not (info and known.info_view == "full" and fact.view != "full"):
            info, known.info_view = fact.info, fact.view
        known.head = replace(fact, state=state, view=view, info=info)

    def _entries(self, fact: Entries) -> None:
        known = self._made(fact.repo, fact.commit)
        for entry in fact.entries:
            old = known.entries.get(entry.path)
            shown = old is not None and old.xet is not None and old.xet != _REDACTED
            if not (shown and entry.xet == _REDACTED):
                known.entries[entry.path] = entry
            known.absent.discard(entry.path)
        known.absent.update(path for path in fact.absent if path not in known.entries)

    def _forget(self, repo: Repo, commit: str) -> None:
        gone = {commit} if commit else set(self._commits.get(repo, {}))
        for key, ref in list(self._refs.items()):
            if ref.repo == repo and (not commit or ref.commit in gone):
                del self._refs[key]
        for name in gone:
            self._commits.get(repo, {}).pop(name, None)
        if commit:
            return
        self._commits.pop(repo, None)
        self._audiences.pop(repo, None)
        self._seen.pop(repo, None)
        self._aliases = {
            asked: alias
            for asked, alias in self._aliases.items()
            if repo not in (asked, alias.repo)
        }
        self._verdicts = {key: seen for key, seen in self._verdicts.items() if key[1] != repo}

    def _link(self, name: Digest, sha256: Digest) -> None:
        _expect(sha256, SHA256)
        self._links.setdefault(name, sha256)

    def _saw(self, repo: Repo, seen_at: float) -> None:
        self._seen[repo] = max(self._seen.get(repo, 0.0), seen_at)

    def _use(self) -> int:
        self._last_use += 1
        return self._last_use

    def _commit(self, repo: Repo, commit: str) -> _Commit:
        return self._commits.get(repo, {}).get(commit, _Commit())

    def _made(self, repo: Repo, commit: str) -> _Commit:
        return self._commits.setdefault(repo, {}).setdefault(commit, _Commit())

    def _find(self, repo: Repo, wanted: Callable[[Entry], bool]) -> tuple[str, Entry] | None:
        for commit, known in self._commits.get(repo, {}).items():
            for entry in known.entries.values():
                if wanted(entry):
                    return commit, entry
        return None

    def _row(self, repo: Repo) -> RepoRow:
        commits = self._commits.get(repo, {})
        contents = {
            entry.digest: entry.size
            for known in commits.values()
            for entry in known.entries.values()
            if entry.digest is not None
        }
        here = {
            digest: size
            for digest, size in contents.items()
            if digest in self._blobs or self._links.get(digest) in self._blobs
        }
        return RepoRow(
            repo,
            len(commits),
            len(contents),
            len(here),
            sum(here.values()),
            self._audiences.get(repo),
            self._seen[repo],
        )


def _lower(text: str) -> str:
    """*text* with the letters of ASCII in lower case."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _expect(digest: Digest, algorithm: str) -> None:
    if digest.algorithm != algorithm:
        raise ValueError(f"{digest} is not a {algorithm}")
