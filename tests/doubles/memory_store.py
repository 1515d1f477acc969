"""A blob store without a disk, for tests of what is above the store."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

from mirror.digest import SHA256, Digest, sha256_of
from mirror.errors import StoreCorruptError
from mirror.store.blobs import Blob
from mirror.store.partials import Partial

WINDOW = 1 << 20


class MemoryBlob:
    """One reader's blob: an unnamed file, of which with *cold* every window is to be loaded first."""

    def __init__(self, digest: Digest, data: bytes, *, cold: bool) -> None:
        self.digest = digest
        self.size = len(data)
        self._good = sha256_of(data) == digest
        self._checked = (0, 0) if cold else (0, self.size)
        self._file: IO[bytes] | None = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `close`
        self._file.write(data)
        self._file.flush()

    def fileno(self) -> int:
        """The file's descriptor; valid until `close`."""
        return self._opened().fileno()

    def ready(self, offset: int, limit: int) -> int:
        """What was loaded last, or everything."""
        self._opened()
        start, end = self._checked
        return max(offset, min(end, limit)) if start <= offset else offset

    def load(self, offset: int) -> None:
        """Make a window ready; raises `StoreCorruptError` for a blob that was spoiled."""
        if not self._good:
            raise StoreCorruptError(f"The stored blob {self.digest} is damaged.")
        self._checked = (offset, min(self.size, offset + WINDOW))

    def close(self) -> None:
        """Let go; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            msg = f"the blob {self.digest} is closed"
            raise ValueError(msg)
        return self._file


class MemoryStore:
    """Blobs in a dictionary. With *cold* nothing is ready before it was loaded."""

    def __init__(self, *, cold: bool = False) -> None:
        self.cold = cold
        self._blobs: dict[Digest, bytes] = {}

    def find(self, digest: Digest) -> Blob | None:
        """Look a sha256 up."""
        _require_sha256(digest)
        data = self._blobs.get(digest)
        return None if data is None else Blob(digest, len(data))

    def put(self, partials: Sequence[Partial]) -> list[Blob]:
        """Take finished partials over; their room on the disk comes back."""
        names = [partial.sha256 for partial in partials]
        for digest, partial in zip(names, partials, strict=True):
            self._blobs.setdefault(digest, os.pread(partial.fileno(), partial.size, 0))
            partial.abandon()
        return [Blob(digest, len(self._blobs[digest])) for digest in names]

    def open(self, digest: Digest) -> MemoryBlob | None:
        """Open a blob for one reader."""
        _require_sha256(digest)
        data = self._blobs.get(digest)
        return None if data is None else MemoryBlob(digest, data, cold=self.cold)

    def delete(self, digest: Digest) -> int:
        """Remove a blob."""
        _require_sha256(digest)
        return len(self._blobs.pop(digest, b""))

    def walk(self) -> Iterator[Blob]:
        """Every blob, while others come and go."""
        for digest, data in list(self._blobs.items()):
            yield Blob(digest, len(data))

    def hold(self, data: bytes) -> Digest:
        """Have a blob without the way through a partial."""
        self._blobs[sha256_of(data)] = data
        return sha256_of(data)

    def spoil(self, digest: Digest, data: bytes) -> None:
        """Have other bytes under the name of a blob, as a rotten disk has; needs *cold* to be noticed."""
        self._blobs[digest] = data


def _require_sha256(digest: Digest) -> None:
    if digest.algorithm != SHA256:
        msg = f"a blob's name in the store is its sha256, not {digest}"
        raise ValueError(msg)
