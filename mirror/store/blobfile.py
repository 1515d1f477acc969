"""A stored blob as a Python file, every piece checked before it is given out."""

import io
import os

from mirror.digest import Buffer
from mirror.store.blobs import StoredBlob


class BlobFile(io.RawIOBase):
    """Reads *blob*, which stays the caller's to close. Blocks on the disk; raises `StoreCorruptError`."""

    def __init__(self, blob: StoredBlob) -> None:
        super().__init__()
        self._blob = blob
        self._at = 0

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from anywhere: always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to *offset*, counted from the start, from here or from the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blob.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def readinto(self, buffer: Buffer) -> int:  # type: ignore[override]  # typeshed's is positional
        """Read the next bytes, of one piece at most; 0 at the end."""
        view = memoryview(buffer)
        if self._at >= self._blob.size:
            return 0
        end = self._blob.ready(self._at, self._blob.size)
        if end <= self._at:
            self._blob.load(self._at)
            end = max(self._blob.ready(self._at, self._blob.size), self._at + 1)
        data = os.pread(self._blob.fileno(), min(view.nbytes, end - self._at), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
