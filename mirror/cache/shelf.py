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
from mirror.names import Artifact, Entry, Ref, Repo, SnapshotState

# Rows of one page: what a person reads, and a browser lays out at once.
MAX_ROWS: Final = 200
# Revisions that a page offers.
MAX_REVISIONS: Final = 50
# Keys read at a time.
_KEYS: Final = 1000
# Files of other hosts are counted again at most this share of the time: 10 000 of them take a second.
_SHARE: Final = 0.05

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
    revision: str
    commit: str
    refs: Sequence[Ref]
    whole: bool
    folder: str
    members: Sequence[Member]
    more: bool


class Shelf:
    """Reads *catalog* for pages; *hubs* tell what the files of other hosts are."""

    def __init__(self, catalog: Index, hubs: Sequence[Hub], clock: Clock) -> None:
        self._catalog = catalog
        self._hubs = hubs
        self._clock = clock
        self._counting = threading.Lock()
        self._counted: tuple[Totals | None, Mapping[str, Totals]] = (None, {})
        self._again = 0.0  # monotonic: not before

    def repos(self, text: str, after: Repo | None) -> tuple[Sequence[RepoRow], bool]:
        """Repos whose name has *text* in it, from behind *after*, and whether more follow."""
        rows = self._catalog.shown(text, after=after, limit=MAX_ROWS + 1)
        return rows[:MAX_ROWS], len(rows) > MAX_ROWS

    def repo(self, repo: Repo, revision: str, folder: str, after: str) -> Leaf | None:
        """A page of *repo* at *revision*, "" for the branch ``main`` or else what was seen last.

        `None` for a repo or revision that nobody may be told of.
        """
        view = self._view()
        row = self._row(repo, view)
        if row is None:
            return None
        refs = sorted(view.refs(repo), key=lambda ref: ref.seen_at, reverse=True)
        named = [ref for ref in refs if ref.revision != ref.commit]
        found = _chosen(refs, revision)
        if found is None:
            return None if revision else Leaf(row, "", "", (), False, "", (), False)
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

    def holds_file(self, path: str, query: str = "") -> bool:
        """Whether the file that a client would get at *path* is here, of a hub that knows no readers."""
        found = self._file(path, query, self._view())
        return found is not None and self._catalog.size_of(found[1]) is not None

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


def _chosen(refs: Sequence[Ref], revision: str) -> Ref | None:
    """The ref that *revision* means among *refs*, newest first."""
    if revision:
        return next((ref for ref in refs if revision in {ref.revision, ref.commit}), None)
    main = next((ref for ref in refs if ref.revision == "main"), None)
    return main or next(iter(refs), None)


def _name(derived: Derived | None, body: Sequence[bytes | Span]) -> Digest | None:
    """What the content of an answer is called in the index."""
    if derived is not None:
        return derived.name
    return next((part.blob.digest for part in body if isinstance(part, Span)), None)
