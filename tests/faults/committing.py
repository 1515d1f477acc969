"""``python -m tests.faults.committing FOLDER``: bring blobs into a store and name them, as a fill does.

One is stopped half-way and resumed, one is known by a git sha1 alone, one is evicted again; each gets its
name, its line in the journal, its row in the index, and all of them one record. The process is killed at
one system call after the other, started again, and must then succeed. The index is written, and a batch
brought to the disk, by the thread that does everything else: so the calls come in one order, the n-th is the
same in every run, and strace, which counts each thread's for itself, counts them all.
"""

import sys
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from mirror.digest import git_sha1_of, sha256_of
from mirror.index import catalog
from mirror.index.held import Work
from mirror.index.writer import Hold, Job, Writer
from mirror.names import Entries
from mirror.store.sums import PIECE
from mirror.upkeep.known import Known
from mirror.upkeep.running import boot_id
from tests.unit.index.samples import COMMIT, REPO, head, small
from tests.unit.store.kit import Kit

BIG: Final = bytes(range(256)) * (PIECE // 128) + b"end"
SMALL: Final = b"small"
GONE: Final = b"wanted least recently"

T = TypeVar("T")


class _OneByOne(ThreadPoolExecutor):
    """Does what it is given in the thread that gives it."""

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """Do it when the result is wanted."""
        del timeout, chunksize
        return map(fn, *iterables)


class _Inline(Writer):
    """Writes when it is told to, in the thread that tells it."""

    def start(self) -> None:
        """Begin to write; nothing ever waits."""
        self._tally.begin(self._connection)

    def submit(
        self,
        work: Work,
        hold: Hold | None = None,
        about: Collection[Hashable] = (),
        *,
        quiet: bool = False,
    ) -> "Future[None]":
        """Write at once."""
        future: Future[None] = Future()
        self._write([Job(work, hold, future, about, quiet)], patient=True)
        return future

    def close(self, before: Callable[[], None] = lambda: None) -> None:
        """Close the connection."""
        before()
        self._connection.close()
        self._tally.close()


def commit(data: Path) -> None:
    """Bring the blobs in, whatever an earlier run left."""
    sha1 = git_sha1_of(SMALL)
    with Kit(data) as kit, Known(kit.layout, kit.store, print, boot=boot_id()) as known:
        kit.store._syncers = _OneByOne()
        half = kit.partials.begin(sha256_of(BIG), len(BIG))
        if not half.received:
            half.append(BIG[:PIECE])
        half.keep()
        half.close()
        rest = kit.partials.begin(sha256_of(BIG), len(BIG))
        rest.append(BIG[rest.received :])
        rest.finish()
        others = [kit.finished(SMALL, sha1), kit.finished(GONE)]
        blobs = kit.store.put([rest, *others])
        for partial in (rest, *others):
            partial.close()
        known.journal.link([(sha1, sha256_of(SMALL))])
        known.catalog.stored(
            [(blob.digest, blob.size) for blob in blobs], [(sha1, sha256_of(SMALL))]
        ).result()
        known.catalog.record([Entries(REPO, COMMIT, (small("a.txt"),)), head()]).result()
        known.records.save(known.catalog, REPO, COMMIT)
        known.catalog.dropped([sha256_of(GONE)]).result()
        kit.store.evict(sha256_of(GONE))


if __name__ == "__main__":
    setattr(catalog, "Writer", _Inline)  # noqa: B010 -- the name is an import there
    commit(Path(sys.argv[1]) / "data")
