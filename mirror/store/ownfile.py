"""A file of ours that is to become a blob by itself, without the folder of a partial: what all such have."""

import os
from abc import ABC, abstractmethod
from pathlib import Path

from mirror.digest import Digest, Hasher
from mirror.errors import DigestMismatchError
from mirror.store import durable
from mirror.store.sums import Sums, SumsBuilder, piece_count


class OwnFile(ABC):
    """The file *path* of descriptor *fd*, whose *size* bytes must be *expected*; a `Finished` once proven."""

    def __init__(self, path: Path, fd: int, size: int, expected: Digest) -> None:
        self.expected = expected
        self.size = size
        self._path = path
        self._fd = fd
        self._sha256: Digest | None = None
        self._sums = SumsBuilder()
        self._open = True

    @property
    def sha256(self) -> Digest:
        """Its name, once its bytes were found right. Raises `ValueError` before."""
        if self._sha256 is None:
            raise ValueError(f"{self.expected} is not finished")
        return self._sha256

    @property
    def sums(self) -> Sums:
        """The checksums of its pieces, once its bytes were found right. Raises `ValueError` before."""
        return self._sums.sums(self.sha256, self.size)

    @property
    def marks(self) -> bytes:
        """None of its pieces is known to be in memory unchanged: the first reader has each checked."""
        return bytes(piece_count(self.size))

    def fileno(self) -> int:
        """The file's descriptor; valid until `close`."""
        return self._fd

    def publish(self, final: Path, folders: durable.FolderSyncs) -> None:
        """Give it its name as a blob; only `DiskStore.put` calls this. Raises `StoreError`."""
        if self._sha256 is None:
            raise ValueError(f"{self.expected} is not finished")
        try:
            durable.publish(self._path, final, fd=self._fd, folders=folders)
        except BaseException:
            self.abandon()
            raise
        self._open = False
        self._stored()

    def abandon(self) -> None:
        """Take its temporary name away; nothing happens if it has ended already."""
        if self._open:
            self._open = False
            self._path.unlink(missing_ok=True)
            self._removed()

    def close(self) -> None:
        """Let go of it, published or not; may be called twice."""
        self.abandon()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _prove(self, hasher: Hasher) -> None:
        """Hold all its bytes, which *hasher* has seen, against what they must be."""
        got = hasher.differs()
        if got is not None:
            raise DigestMismatchError(
                f"The bytes are not {self.expected}.", expected=self.expected, got=got
            )
        self._sha256 = hasher.digest()

    @abstractmethod
    def _stored(self) -> None:
        """Count it: it is a blob now."""

    @abstractmethod
    def _removed(self) -> None:
        """Give back what was kept for it."""
