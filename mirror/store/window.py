"""A file in memory that holds the stretch of a blob between its source and its one reader.

What cannot be stored is still sent by the same pumps as everything else, and those send from a descriptor
at the blob's own offsets. So the bytes on their way lie in a nameless file at those offsets, and what was
sent is given back: a stretch of 100 GB costs the memory of its window.
"""

import contextlib
import ctypes
import os
import sys
import tempfile
from typing import Final

from mirror.digest import Buffer
from mirror.store.residency import PAGE

# fallocate(2): give pages back, and leave the length as it is.
_PUNCH_HOLE_KEEP_SIZE: Final = 0x02 | 0x01


class Window:
    """Bytes at their offsets of a blob, written by one and read by one; close it.

    Raises `OSError` when there is no descriptor left for it.
    """

    def __init__(self) -> None:
        if sys.platform == "linux":
            self._fd = os.memfd_create("modelmirror-window", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                self._fd = os.dup(file.fileno())
        self._start = 0

    def fileno(self) -> int:
        """Its descriptor, valid until `close`."""
        if self._fd < 0:
            msg = "the window is closed"
            raise ValueError(msg)
        return self._fd

    def write(self, offset: int, data: Buffer) -> None:
        """Put *data* at *offset*. Raises `OSError`."""
        # Its one reader names offsets, so the file's own place is the writer's.
        os.lseek(self.fileno(), offset, os.SEEK_SET)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def clear(self) -> None:
        """Forget everything."""
        os.ftruncate(self.fileno(), 0)
        self._start = 0

    def forget(self, end: int) -> None:
        """Give the memory of the bytes before *end* back, by whole pages."""
        end = end // PAGE * PAGE
        if end > self._start and sys.platform == "linux":
            fallocate = ctypes.CDLL(None).fallocate64
            fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
            fallocate(self.fileno(), _PUNCH_HOLE_KEEP_SIZE, self._start, end - self._start)
            self._start = end

    def close(self) -> None:
        """Let go of it; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
