"""One stored blob read whole and compared with its name: nothing that was known about it is believed."""

import errno
import hashlib
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Queue
from typing import Final, TypeAlias

from mirror.digest import SHA256, Digest
from mirror.store.blobs import Blob
from mirror.store.direct import CannotError, Direct
from mirror.store.residency import drop, read_ahead
from mirror.store.sums import PIECE, Sums, SumsBuilder

# Bytes asked of the disk ahead of the one that is being hashed: a spinning disk reads them in one go.
_AHEAD: Final = 8 * PIECE

# Blobs that each core has to read, so that none waits for another's large one.
_WAITING: Final = 4

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# What a disk answers for bytes that it no longer has; anything else says nothing about them.
_LOST: Final = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ELOOP})


class UnreadableError(Exception):
    """The blob could not be looked at, and whether it is sound is not known."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the bytes say: *wrong* is why they are not what the name promises, "" when they are.

    *sums* are those of the bytes as read, *sums_wrong* whether the kept ones differ from them although
    the bytes are right, *missing* whether none were kept.
    """

    wrong: str
    sums: Sums
    sums_wrong: bool = False
    missing: bool = False


_Waiting: TypeAlias = tuple[Path, Blob, Future[Reading | UnreadableError]]


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Readings:
    """Reads blobs again, as many at once as there are cores; *sums* tells those that are kept.

    *advance* is told of bytes on whatever thread read them, one at a time.
    """

    def __init__(
        self, sums: Callable[[Digest], Sums | None], advance: Callable[[int], None], cores: int
    ) -> None:
        self._sums = sums
        self._told = advance
        self._cores = cores
        self._telling = threading.Lock()
        self._stopping = False

    def of(
        self, blobs: Iterable[tuple[Path, Blob]]
    ) -> Generator[tuple[Path, Blob, "Reading | UnreadableError"]]:
        """What reading each of *blobs* comes to, in their order."""
        with ExitStack() as stack:
            readers: Queue[Direct] = Queue()
            for _ in range(self._cores):
                readers.put(stack.enter_context(Direct()))
            pool = ThreadPoolExecutor(self._cores, thread_name_prefix="verify")
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            stack.callback(self._stop)

            def one(path: Path, blob: Blob) -> Reading | UnreadableError:
                reader = readers.get()
                try:
                    return read_again(path, blob, self._sums(blob.digest), self._advance, reader)
                except UnreadableError as error:
                    return error
                finally:
                    readers.put(reader)

            coming, waiting = iter(blobs), deque[_Waiting]()
            while True:
                for path, blob in islice(coming, _WAITING * self._cores - len(waiting)):
                    waiting.append((path, blob, pool.submit(one, path, blob)))
                if not waiting:
                    return
                read, its, reading = waiting.popleft()
                yield read, its, reading.result()

    def _advance(self, amount: int) -> None:
        if self._stopping:
            raise InterruptedError  # An `OSError`: the blob counts as one that could not be read.
        with self._telling:
            self._told(amount)

    def _stop(self) -> None:
        self._stopping = True


def read_again(
    path: Path,
    blob: Blob,
    kept: Sums | None,
    advance: Callable[[int], None],
    reader: Direct | None = None,
) -> Reading:
    """Read *blob* from the disk, not from memory, and compare sha256 and sums.

    *kept* are its sums as stored; *advance* is told of every piece's bytes; *reader* reads where its file
    system can do that. Raises `UnreadableError` when the file cannot be looked at.
    """
    told = 0

    def tell(amount: int) -> None:
        nonlocal told
        told += amount
        advance(amount)

    try:
        if reader is not None:
            return _read(path, blob, kept, tell, reader)
    except CannotError:
        advance(-told)
    return _read(path, blob, kept, advance, None)


def _read(
    path: Path,
    blob: Blob,
    kept: Sums | None,
    advance: Callable[[int], None],
    reader: Direct | None,
) -> Reading:
    builder, whole = SumsBuilder(), hashlib.sha256()
    try:
        fd = os.open(path, _FLAGS) if reader is None else reader.open(path)
    except OSError as error:
        return _failed(error, blob, builder, 0)
    offset = 0
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Reading("it is not a regular file", builder.sums(blob.digest, 0))
        for data in _chunks(fd) if reader is None else reader.chunks(fd):
            whole.update(data)
            builder.update(data)
            offset += len(data)
            advance(len(data))
    except OSError as error:
        return _failed(error, blob, builder, offset)
    finally:
        os.close(fd)
    sums = builder.sums(blob.digest, offset)
    if whole.hexdigest() != blob.digest.hex:
        return Reading(_reason(whole.hexdigest(), sums, kept), sums, missing=kept is None)
    return Reading("", sums, kept is not None and kept != sums, missing=kept is None)


def _chunks(fd: int) -> Iterator[bytes]:
    """The bytes of a file by way of memory, which is emptied of it first."""
    drop(fd, 0, 0)
    offset = 0
    while True:
        if offset % _AHEAD == 0:
            read_ahead(fd, offset, offset + 2 * _AHEAD)
        data = os.pread(fd, PIECE, offset)
        if not data:
            return
        yield data
        offset += len(data)


def _reason(got: str, sums: Sums, kept: Sums | None) -> str:
    reason = f"its {SHA256} is {got}"
    if kept is None:
        return reason
    if kept.size != sums.size:
        return f"it has {sums.size} bytes instead of {kept.size}"
    bad = [n for n, value in enumerate(kept.values) if value != sums.values[n]]
    if not bad:
        return reason
    return f"{reason}; {len(bad)} of its {len(kept.values)} pieces changed, the first is {bad[0]}"


def _failed(error: OSError, blob: Blob, builder: SumsBuilder, offset: int) -> Reading:
    if error.errno not in _LOST:
        raise UnreadableError(error.strerror or type(error).__name__) from error
    wrong = f"the disk cannot read it: {error.strerror}"
    return Reading(wrong, builder.sums(blob.digest, offset))
