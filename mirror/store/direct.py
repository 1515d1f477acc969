"""Reading a file from the disk itself, past memory: what is there for readers stays, and nothing is believed.

``O_DIRECT`` (open(2)) copies nothing and keeps nothing: reading and hashing a GiB takes 0.8 s of CPU where
reads by way of memory take 1.2, and less than `openssl dgst` over a file that is in memory. Not every file
system has it.
"""

import errno
import mmap
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, Self

# Bytes of one read, and how many are asked for while one is looked at: 2 of 4 MiB keep a disk busy that
# gives 2 GiB/s; of 1 MiB it gave half of that.
CHUNK: Final = 4 << 20
_AHEAD: Final = 2

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECT: Final[int | None] = getattr(os, "O_DIRECT", None)


class CannotError(Exception):
    """The file system reads by way of memory alone."""


class Direct:
    """Buffers and threads for one file after the other, by one caller; 12 MiB until `close`."""

    def __init__(self) -> None:
        # Anonymous maps begin at a page, which is what direct reads ask of memory.
        self._buffers = [memoryview(mmap.mmap(-1, CHUNK)) for _ in range(_AHEAD + 1)]
        self._pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="read")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()

    def open(self, path: Path) -> int:
        """Open a file for `chunks`. Raises `CannotError`, and `OSError` where it cannot be opened at all."""
        if _DIRECT is None:
            raise CannotError
        try:
            return os.open(path, _FLAGS | _DIRECT)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise CannotError from error
            raise

    def chunks(self, fd: int) -> Iterator[memoryview]:
        """The bytes of the file of *fd*, each view valid until the next is asked for.

        Raises `OSError` where the disk cannot read them, and `CannotError` where the file system cannot do
        this; bytes may have come by then.
        """
        size = os.fstat(fd).st_size
        reads: deque[tuple[memoryview, int, Future[int]]] = deque()
        offset, free = 0, deque(self._buffers)
        try:
            while reads or offset < size:
                while free and len(reads) < _AHEAD and offset < size:
                    buffer = free.popleft()
                    length = min(CHUNK, size - offset)
                    reads.append(
                        (buffer, length, self._pool.submit(os.preadv, fd, [buffer], offset))
                    )
                    offset += length
                buffer, length, read = reads.popleft()
                try:
                    count = read.result()
                except OSError as error:
                    if error.errno == errno.EINVAL:
                        raise CannotError from error
                    raise
                if count < length:
                    raise CannotError  # A file that shrinks, or half an answer: the other way tells.
                yield buffer[:length]
                free.append(buffer)
        finally:
            wait([read for _, _, read in reads])
