"""What a file of ours has that is to become a blob by itself, without the folder of a partial."""

from pathlib import Path

from mirror.digest import Digest
from mirror.store.sums import Sums, SumsBuilder, piece_count


class OwnFile:
    """The file *path* of descriptor *fd*, whose *size* bytes must be *expected*; others make and end it."""

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
