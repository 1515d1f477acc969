"""The catalog again, from what is durable: the records, the journal and the blobs themselves.

It serves a catalog that began empty, and just as well one that was not closed: after a power failure the
last transactions may be missing, and replaying what is durable over the rest brings it level. A rebuild
that is interrupted leaves a catalog that the next start throws away.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Final

from mirror.digest import Digest
from mirror.index.journal import Journal
from mirror.index.lines import Forget, Link, Note, Unlink
from mirror.index.protocol import Index
from mirror.index.records import Records, SnapshotRecord
from mirror.names import Entries, Ref, SnapshotState, Visibility

# Records handed to the writer before waiting for the first of them: enough to keep it busy, and few
# enough to hold in memory (one of 100 000 entries takes 60 MiB).
_AHEAD: Final = 4

_PAGE: Final = 10_000


def rebuild(
    catalog: Index, records: Records, journal: Journal, blobs: Iterable[tuple[Digest, int]]
) -> None:
    """Bring *catalog* level with *records*, *journal* and *blobs* (sha256 and size in bytes, in the store).

    Records and journal tell of the same refs and audiences at different times: what was seen last holds.
    Blobs that the catalog believes in and the store does not have are dropped from it. Nothing else may
    write meanwhile. Raises `StoreError` when the catalog cannot be written.
    """
    latest = _Latest()
    waiting: deque[Future[None]] = deque()
    for record in records.walk():
        if isinstance(record, SnapshotRecord):
            head = record.snapshot
            pages = Entries(head.repo, head.commit, record.entries, record.absent)
            waiting.append(catalog.record([pages, head]))
            latest.note(*record.refs)
            if record.visibility is not None:
                latest.note(record.visibility)
        else:
            waiting.append(catalog.record([record]))
        if len(waiting) > _AHEAD:
            waiting.popleft().result()
    links: list[tuple[Digest, Digest]] = []
    for line in journal.replay():
        match line:
            case Link():
                links.append((line.name, line.sha256))
            case Ref() | Visibility():
                latest.note(line)
            case Note() | Unlink() | Forget():
                pass  # the operator's word is read from the journal itself; the others hold nothing
            case alias:
                waiting.append(catalog.record([alias]))
    waiting.append(catalog.record(list(latest.facts())))
    waiting.append(catalog.stored([], links))
    while waiting:
        waiting.popleft().result()
    match_blobs(catalog, blobs)
    catalog.finish()


def save_missing(catalog: Index, records: Records) -> int:
    """Write the records that a kill came before: a list is whole in the catalog first; returns how many.

    Until then the catalog alone has it, and it would be lost with the catalog. Raises `StoreError`.
    """
    saved = 0
    for row in catalog.repos(public_only=False):
        for commit in {ref.commit for ref in catalog.refs(row.repo)}:
            snapshot = catalog.snapshot(row.repo, commit)
            if snapshot is None or snapshot.state is not SnapshotState.COMPLETE:
                continue
            if not records.path(row.repo, commit).exists():
                records.save(catalog, row.repo, commit)
                saved += 1
    return saved


class _Latest:
    """Of each ref and each audience, the fact that was seen last."""

    def __init__(self) -> None:
        self._facts: dict[object, Ref | Visibility] = {}

    def note(self, *facts: Ref | Visibility) -> None:
        for fact in facts:
            about = (fact.repo, fact.revision) if isinstance(fact, Ref) else fact.repo
            known = self._facts.get(about)
            if known is None or known.seen_at <= fact.seen_at:
                self._facts[about] = fact

    def facts(self) -> Iterator[Ref | Visibility]:
        yield from self._facts.values()


def match_blobs(catalog: Index, blobs: Iterable[tuple[Digest, int]]) -> None:
    """Make *catalog* know *blobs* (sha256 and size in bytes), and no others.

    What it knew keeps its last use. For a catalog that is level otherwise, this mends what a killed
    process had done to the store and not yet written down. Raises `StoreError`.
    """
    held = dict(blobs)
    believed: dict[Digest, int] = {}
    page = catalog.least_recent(after=0, limit=_PAGE)
    while page:
        believed.update((blob.digest, blob.size) for blob in page)
        page = catalog.least_recent(after=page[-1].used, limit=_PAGE)
    catalog.dropped([digest for digest in believed if digest not in held]).result()
    new = [(digest, size) for digest, size in held.items() if believed.get(digest) != size]
    catalog.stored(new).result()
