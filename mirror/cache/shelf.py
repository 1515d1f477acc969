"""What is stored, as everybody may see it: public repos page by page, and files of other hosts by hub.

A page shows what may be shown to somebody without a credential and no more: a repo that is private, gated
or unknown is as one never seen. Every look is bounded, however large a repo is. What is here reads the
index, so it is called off the event loop.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mirror.cache.facts import Lifetimes, View
from mirror.clock import Clock
from mirror.digest import Digest
from mirror.errors import MirrorError
from mirror.hubs.base import Hub
from mirror.index.protocol import Index, RepoRow, Totals
from mirror.messages import Derived, RequestHead, Span
from mirror.names import Access, Artifact, Document, Entry, Ref, Repo, SnapshotState

# Repos, and files, on one page: what a person looks through. There is more on the home page than repos.
MAX_REPOS: Final = 50
MAX_ROWS: Final = 200
# Revisions that a page offers.
MAX_REVISIONS: Final = 50
# Keys read at a time.
_KEYS: Final = 1000
# Files of other hosts are counted again at most this share of the time: 10 000 of them take a second.
_SHARE: Final = 0.05

# Commits of which it is remembered what they lack: those that probes ask for again and again.
_REMEMBERED: Final = 256

# How answers to the question for a file's head are kept (`mirror.hubs.hosted`).
_HEADS: Final = ("HEAD https://", "PROBE https://")


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder of a repo; *stored* tells whether a file's content is here."""

    entry: Entry
    stored: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """A page of one repo: what is in *folder* of *commit*, from behind *after*.

    *revision* is what was asked for, *refs* what could be. *whole* tells whether the list of files is known
    to its end; *more* whether the page ends before the folder does. *commit* is "" where none is known.
    """

    row: RepoRow
    revision: str = ""
    commit: str = ""
    refs: Sequence[Ref] = ()
    whole: bool = False
    folder: str = ""
    members: Sequence[Member] = ()
    more: bool = False


class Shelf:
    """Reads *catalog* for pages; *hubs* tell what the files of other hosts are."""

    def __init__(self, catalog: Index, hubs: Sequence[Hub], clock: Clock) -> None:
        self._catalog = catalog
        self._hubs = hubs
        self._clock = clock
        self._counting = threading.Lock()
        self._counted: tuple[Totals | None, Mapping[str, Totals]] = (None, {})
        self._again = 0.0  # monotonic: not before
        # Of commits that were looked at: when, in drops, and the first paths that were not here.
        self._lacked: dict[tuple[Repo, str], tuple[int, tuple[str, ...]]] = {}

    def repos(self, text: str, after: Repo | None) -> tuple[Sequence[RepoRow], bool]:
        """Repos whose name has *text* in it, from behind *after*, and whether more follow."""
        rows = self._catalog.shown(text, after=after, limit=MAX_REPOS + 1)
        return rows[:MAX_REPOS], len(rows) > MAX_REPOS

    def repo(self, repo: Repo, revision: str, folder: str, after: str) -> Leaf | None:
        """A page of *repo* at *revision*, "" for the branch ``main`` or else what was seen last.

        `None` for a repo or revision that nobody may be told of.
        """
        view = self._view()
        row = self._row(repo, view)
        if row is None:
            return None
        refs = _newest_first(view.refs(repo))
        named = [ref for ref in refs if ref.revision != ref.commit]
        found = self._revision(repo, revision, view)
        if found is None:
            return None if revision else Leaf(row)
        snapshot = view.snapshot(repo, found.commit)
        page = view.listing(
            repo, found.commit, folder, recursive=False, after=after, limit=MAX_ROWS + 1
        )
        return Leaf(
            row,
            found.revision,
            found.commit,
            (named or refs)[:MAX_REVISIONS],
            snapshot is not None and snapshot.state is SnapshotState.COMPLETE,
            folder,
            [Member(entry, self._holds(entry)) for entry in page[:MAX_ROWS]],
            len(page) > MAX_ROWS,
        )

    def elsewhere(self) -> Mapping[str, Totals]:
        """Files of other hosts that are here, by hub.

        Counted again once something came or went, but not so often that the counting is felt.
        """
        with self._counting:
            totals, began = self._catalog.totals(), self._clock.monotonic()
            if totals != self._counted[0] and began >= self._again:
                self._counted = (totals, self._count())
                ended = self._clock.monotonic()
                self._again = ended + (ended - began) * (1 / _SHARE - 1)
            return self._counted[1]

    def lacking(self, repo: Repo, revision: str, limit: int) -> Sequence[str] | None:
        """Paths of public *repo* at *revision* ("" as for `repo`) that are not here, at most *limit*.

        `None` where there is no such repo to be told of, or its list of files is not known to the end.
        """
        view = self._view()
        row, found = self._row(repo, view), self._revision(repo, revision, view)
        snapshot = None if row is None or found is None else view.snapshot(repo, found.commit)
        if row is None or snapshot is None or snapshot.state is not SnapshotState.COMPLETE:
            return None
        if row.files_stored == row.files:
            return []
        if limit > MAX_ROWS:  # too much to remember
            return self._catalog.missing(repo, snapshot.commit, limit=limit)
        return self._lacking(repo, snapshot.commit, view, limit)

    def _lacking(self, repo: Repo, commit: str, view: View, limit: int) -> Sequence[str]:
        """The same of a list that does not change: what was found is looked at again first.

        What was here is here still while nothing was dropped, so the search goes on where it ended.
        """
        drops = self._catalog.drops
        counted, lacked = self._lacked.pop((repo, commit), (-1, ("",)))
        if counted != drops:
            lacked = ("",)
        still = [
            path
            for path in lacked
            if (entry := view.entry(repo, commit, path)) is not None and not self._holds(entry)
        ]
        if lacked and len(still) < limit:
            further = self._catalog.missing(
                repo, commit, after=lacked[-1], limit=limit - len(still)
            )
            still += further
        self._lacked[repo, commit] = (drops, tuple(still))
        while len(self._lacked) > _REMEMBERED:
            self._lacked.pop(next(iter(self._lacked)), None)
        return still

    def holds_path(self, repo: Repo, revision: str, path: str) -> bool:
        """Whether the file at *path* of public *repo* is here."""
        view = self._view()
        found = self._revision(repo, revision, view)
        if found is None or self._row(repo, view) is None:
            return False
        entry = view.entry(repo, found.commit, path)
        return entry is not None and self._holds(entry)

    def holds_file(self, path: str, query: str) -> bool:
        """Whether the file that a client would get at *path* is here, of a hub that knows no readers."""
        found = self._file(path, query, self._view())
        return found is not None and self._catalog.size_of(found[1]) is not None

    def document(self, path: str, query: str) -> bytes | None:
        """The document that a client would get at *path*, of a hub that knows no readers, if it is known."""
        head = RequestHead("GET", path, query, {}, None, "")
        for hub in self._hubs:
            try:
                question = hub.recognise(head, b"")
                if question is None:
                    continue
                if not isinstance(question, Document) or question.access is not Access.NONE:
                    return None
                answer = hub.answer(question, self._view(), "")
            except MirrorError:
                return None
            literal = [part for part in answer.body if isinstance(part, bytes)]
            whole = answer.status == 200 and len(literal) == len(answer.body)
            return b"".join(literal) if whole else None
        return None

    # ── how ────────────────────────────────────────────────────────────────────────────────────

    def _view(self) -> View:
        """What a stranger may see while nobody can be asked."""
        now = self._clock.wall()
        lifetimes = Lifetimes({}, 0.0, 0.0)
        return View(self._catalog, None, lifetimes, "", now, now, offline=True)

    def _row(self, repo: Repo, view: View) -> RepoRow | None:
        seen = view.visibility(repo)
        if seen is None or seen.private or seen.gated:
            return None
        return self._catalog.row(repo)

    def _revision(self, repo: Repo, revision: str, view: View) -> Ref | None:
        """The ref that *revision* means: a branch, a tag, a commit; "" the main branch, else the newest."""
        refs = _newest_first(view.refs(repo))
        if revision:
            return next((ref for ref in refs if revision in {ref.revision, ref.commit}), None)
        main = next((ref for ref in refs if ref.revision == "main"), None)
        return main or next(iter(refs), None)

    def _holds(self, entry: Entry) -> bool:
        return entry.digest is not None and self._catalog.size_of(entry.digest) is not None

    def _count(self) -> Mapping[str, Totals]:
        view = self._view()
        blobs: dict[str, dict[Digest, int]] = {}
        for url in self._urls():
            parts = urlsplit(url)
            found = self._file(f"/-/host/{parts.netloc}{parts.path}", parts.query, view)
            if found is None:
                continue
            hub, name = found
            sha256 = self._catalog.sha256_of(name) or name
            size = self._catalog.size_of(name)
            if size is not None:
                blobs.setdefault(hub, {})[sha256] = size
        return {hub: Totals(len(held), sum(held.values())) for hub, held in sorted(blobs.items())}

    def _urls(self) -> Iterator[str]:
        """The addresses of other hosts' files that were ever asked for."""
        seen: set[str] = set()
        for begin in _HEADS:
            after = ""
            while page := self._catalog.keys(begin, after=after, limit=_KEYS):
                after = page[-1]
                for key in page:
                    url = key.partition(" ")[2]
                    # What follows a space is of a request with a body, which no address tells.
                    if " " not in url and url not in seen:
                        seen.add(url)
                        yield url

    def _file(self, path: str, query: str, view: View) -> tuple[str, Digest] | None:
        """The hub and the name of what is served at *path*; `None` where that is no file that is known."""
        head = RequestHead("GET", path, query, {}, None, "")
        for hub in self._hubs:
            try:
                question = hub.recognise(head, b"")
                if question is None:
                    continue
                if not isinstance(question, Artifact) or question.repo is not None:
                    return None
                answer = hub.answer(question, view, "")
            except MirrorError:
                return None
            name = _name(answer.derived, answer.body)
            return None if name is None else (hub.name, name)
        return None


def _newest_first(refs: Sequence[Ref]) -> list[Ref]:
    return sorted(refs, key=lambda ref: ref.seen_at, reverse=True)


def _name(derived: Derived | None, body: Sequence[bytes | Span]) -> Digest | None:
    """What the content of an answer is called in the index."""
    if derived is not None:
        return derived.name
    return next((part.blob.digest for part in body if isinstance(part, Span)), None)
