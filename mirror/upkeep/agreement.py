"""Whether the index says what records, journal and blobs say: it is a cache of them and nothing more."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from mirror.digest import Digest
from mirror.index.lines import Line, Link, Unknown
from mirror.index.lookups import Lookups
from mirror.index.records import SnapshotRecord
from mirror.names import Alias, Entry, Ref, Reply, Repo, Visibility

_PAGE: Final = 10_000
_ENTRIES: Final = 1000

# Disagreements of one kind that are told one by one; a store that lost its index has one per blob.
SHOWN: Final = 20


class Agreement:
    """Compares the catalog at *path*, which must be sound, with what is durable; close it afterwards.

    Each comparison yields sentences. The catalog may know more than a record, which is written down once;
    it must never know less.
    """

    def __init__(self, path: Path) -> None:
        self._index = Lookups(path)

    def blobs(self, held: Mapping[Digest, int]) -> Iterator[str]:
        """Compare with the blobs that the store has: their names and sizes in bytes."""
        believed: dict[Digest, int] = {}
        page = self._index.least_recent(after=0, limit=_PAGE)
        while page:
            believed.update((blob.digest, blob.size) for blob in page)
            page = self._index.least_recent(after=page[-1].used, limit=_PAGE)
        yield from (f"{digest} is not stored." for digest in believed if digest not in held)
        for digest, size in held.items():
            if digest not in believed:
                yield f"{digest} is stored and not known."
            elif believed[digest] != size:
                yield f"{digest} has {size} bytes and not {believed[digest]}."

    def record(self, record: SnapshotRecord | Reply) -> Iterator[str]:
        """Compare with one record."""
        if isinstance(record, Reply):
            if self._index.reply(record.key) is None:
                yield f"A kept reply to {record.key} is not known."
            return
        repo, commit = record.snapshot.repo, record.snapshot.commit
        if self._index.snapshot(repo, commit) is None:
            yield f"The snapshot of {repo} at {commit} is not known."
            return
        known = {entry.path: entry.digest for entry in self._entries(repo, commit)}
        missing = [entry.path for entry in record.entries if not _agree(entry, known)]
        if missing:
            yield f"{repo} at {commit} lacks {len(missing)} paths, {missing[0]} among them."
        yield from self._refs(record.refs)

    def line(self, line: Line | Unknown) -> Iterator[str]:
        """Compare with one line of the journal that holds."""
        match line:
            case Link(name, sha256):
                known = self._index.sha256_of(name)
                if known is None:  # the first word stands, so another one is no disagreement
                    yield f"{name} is not known to be {sha256}."
            case Ref() as ref:
                yield from self._refs([ref])
            case Alias(asked=asked) if self._index.alias(asked) is None:
                yield f"The name {asked} is not known."
            case Visibility(repo=repo) if self._index.visibility(repo) is None:
                yield f"The audience of {repo} is not known."
            case _:
                pass

    def close(self) -> None:
        """Let go of the file."""
        self._index.stop()

    def _refs(self, refs: Iterable[Ref]) -> Iterator[str]:
        for ref in refs:
            known = self._index.ref(ref.repo, ref.revision)
            # The same commit seen at another time is no less known: clocks are set back, too.
            if known is None or (known.commit != ref.commit and known.seen_at < ref.seen_at):
                yield f"{ref.repo} {ref.revision} is not known to be at {ref.commit}."

    def _entries(self, repo: Repo, commit: str) -> Iterator[Entry]:
        after = ""
        while True:
            page = self._index.listing(
                repo, commit, "", recursive=True, after=after, limit=_ENTRIES
            )
            yield from page
            if len(page) < _ENTRIES:
                return
            after = page[-1].path


def _agree(entry: Entry, known: Mapping[str, Digest | None]) -> bool:
    return entry.path in known and (entry.digest is None or known[entry.path] == entry.digest)
