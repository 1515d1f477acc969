"""Which bytes of a file are in memory: the Linux-only calls of the store, and what to do without them.

A piece that was checked and has stayed in the page cache since needs no second look, so the cost of
checked reads hangs on asking the kernel cheaply. `cachestat` (Linux 6.5) counts the resident pages of a
range in one call, 0.003 CPU-s per GiB; `mincore` needs a mapping and costs 0.017. Neither can be trusted
by name: overlayfs, ZFS and FUSE keep pages elsewhere, containers filter system calls, and mincore says
"resident" to whoever may not write the file. So each is tried on a file of the data folder whose state is
known, and where neither tells the truth every piece is checked by the thread that reads it.
"""

import contextlib
import ctypes
import mmap
import os
import sys
import tempfile
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from mirror.errors import StoreError
from mirror.store import durable
from mirror.store.sums import PIECE

PAGE: Final = mmap.PAGESIZE

# The most that one question covers: 2048 pages, some 10 us of the event loop's time.
RUN: Final = 8 << 20

# The same number on every architecture, for it came after they were unified (Linux 6.5).
_NR_CACHESTAT: Final = 451


class Residency(Protocol):
    """A way to ask whether bytes of a file are in memory."""

    @property
    def name(self) -> str:
        """What to call it in reports."""
        ...

    @property
    def exact(self) -> bool:
        """Whether its answers can be believed; if not, every piece is to be checked when it is read."""
        ...

    def resident(self, fd: int, start: int, end: int) -> bool:
        """Whether every page of bytes *start* to *end* is in memory; *start* is a multiple of `PAGE`.

        Never blocks on the disk. `False` also when the kernel will not say.
        """
        ...


class Unknown:
    """Nothing is known about residency: what macOS and odd file systems get."""

    name = "none"
    exact = False

    def resident(self, _fd: int, _start: int, _end: int) -> bool:
        """Never known to be."""
        return False


class Cachestat:
    """cachestat(2): the kernel counts the pages."""

    name = "cachestat"
    exact = True

    def __init__(self) -> None:
        # PyDLL keeps the interpreter lock: the call takes 1 to 10 us, handing the lock over costs more.
        self._syscall = ctypes.PyDLL(None).syscall
        self._syscall.restype = ctypes.c_long
        self._blanks = _Blanks()

    def resident(self, fd: int, start: int, end: int) -> bool:
        """Whether all pages are counted as cached."""
        blank = self._blanks
        numbers = blank.numbers
        numbers[0], numbers[1] = start, end - start
        if self._syscall(_NR_CACHESTAT, fd, blank.range, blank.counts, 0):
            return False
        return numbers[2] >= -(-(end - start) // PAGE)


class _Blanks(threading.local):
    """What one thread asks with and is answered in: made once, for that costs more than the call.

    The kernel reads a ``struct cachestat_range`` (offset and length in bytes) and writes a
    ``struct cachestat`` (five counts of pages, those in the cache first): seven numbers of 64 bits.
    """

    def __init__(self) -> None:
        self.numbers = array("Q", bytes(7 * 8))
        fields = (ctypes.c_uint64 * 7).from_buffer(self.numbers)
        self.range, self.counts = ctypes.byref(fields), ctypes.byref(fields, 2 * 8)


class Mincore:
    """mincore(2) on a mapping that is never touched."""

    name = "mincore"
    exact = True

    def __init__(self) -> None:
        library = ctypes.PyDLL(None)
        self._mmap = library.mmap
        self._mmap.restype = ctypes.c_void_p
        self._mmap.argtypes = [
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
        ]  # fmt: skip
        self._munmap = library.munmap
        self._munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._mincore = library.mincore
        self._mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]

    def resident(self, fd: int, start: int, end: int) -> bool:
        """Whether the lowest bit of every page's byte is set; the others are reserved."""
        length = end - start
        address = self._mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, start)
        if address is None or address == ctypes.c_void_p(-1).value:
            return False
        try:
            pages = ctypes.create_string_buffer(-(-length // PAGE))
            if self._mincore(address, length, pages):
                return False
            return not pages.raw.translate(_LOWEST_BIT).count(b"\0")
        finally:
            self._munmap(address, length)


_LOWEST_BIT: Final = bytes(value & 1 for value in range(256))


def choose(folder: Path) -> Residency:
    """The cheapest way that tells the truth about files of *folder*; blocks for some milliseconds."""
    candidates: tuple[Callable[[], Residency], ...] = (Cachestat, Mincore)
    if sys.platform == "linux":
        for candidate in candidates:
            with contextlib.suppress(OSError, AttributeError, ValueError, StoreError):
                residency = candidate()
                if _tells_the_truth(residency, folder):
                    return residency
    return Unknown()


def _tells_the_truth(residency: Residency, folder: Path) -> bool:
    """Compare its answers with a file of 8 written pages and 8 that were never there."""
    half = 8 * PAGE
    with tempfile.TemporaryFile(dir=folder) as file:
        fd = file.fileno()
        os.pwrite(fd, b"\1" * half, 0)
        os.ftruncate(fd, 2 * half)
        durable.sync_file(fd, folder)
        random_access(fd)
        os.pread(fd, half, 0)
        return (
            residency.resident(fd, 0, half)
            and not residency.resident(fd, half, 2 * half)
            and not residency.resident(fd, 0, 2 * half)
            and not residency.resident(fd, half - PAGE, half + PAGE)
        )


def random_access(fd: int) -> None:
    """Turn readahead off for this open file, so that a read brings in what it asks for and no more.

    Where the system has no such advice nothing can be known about residency either, so nothing is lost.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)


def read_ahead(fd: int, start: int, end: int) -> None:
    """Have bytes *start* to *end* read from the disk while the caller does something else.

    They come into memory unchecked, so only for bytes whose marks are cleared.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_WILLNEED)


def drop(fd: int, start: int, end: int) -> None:
    """Let the pages of bytes *start* to *end* go from memory, up to the end of the file where *end* is 0.

    For whoever reads much and once: what others want stays in memory, and the next read comes from the
    disk. Pages that are not on the disk yet stay.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, start, end - start if end else 0, os.POSIX_FADV_DONTNEED)


def checked_end(
    residency: Residency, fd: int, marks: bytearray, offset: int, limit: int, size: int
) -> int:
    """The end of the bytes from *offset*, at most *limit*, that are both checked and resident.

    *marks* holds one byte per piece, 1 where the piece was checked since it was last seen absent; the
    marks of pieces seen absent now are cleared. *size* is the file's length in bytes. One system call for
    the whole run when all of it is resident, which is the hot case; one per piece otherwise.
    """
    first, last = offset // PIECE, -(-limit // PIECE)
    unmarked = marks.find(0, first, last)
    if unmarked >= 0:
        last = unmarked
    if last <= first:
        return offset
    if residency.resident(fd, first * PIECE, min(last * PIECE, size)):
        return min(last * PIECE, limit)
    end = last
    for piece in range(last - 1, first - 1, -1):
        if not residency.resident(fd, piece * PIECE, min((piece + 1) * PIECE, size)):
            marks[piece] = 0
            end = piece
    return max(offset, min(end * PIECE, limit))


def unmark_absent(residency: Residency, fd: int, marks: bytearray, size: int) -> None:
    """Clear the marks of those pieces of a file of *size* bytes that are not in memory now.

    *marks* is as in `checked_end`. One system call for a run of up to `RUN` bytes that are there.
    """
    start = marks.find(1)
    while start >= 0:
        end = marks.find(0, start, start + RUN // PIECE)
        end = min(start + RUN // PIECE, len(marks)) if end < 0 else end
        if not residency.resident(fd, start * PIECE, min(end * PIECE, size)):
            for piece in range(start, end):
                if not residency.resident(fd, piece * PIECE, min((piece + 1) * PIECE, size)):
                    marks[piece] = 0
        start = marks.find(1, end)
