"""Somebody else's bytes as a file of our own: copied or shared, and hashed on the way.

It is ready for its name at the end.

Nobody reads it meanwhile and nobody goes on with what is left of it, so it has no folder and no journal as a
`Partial` has: it lies beside the partials, under a name that a start sweeps away. Of a large file one
thread writes while another reads and hashes, which takes little longer than hashing alone.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

from mirror.digest import Check, Digest, Hasher
from mirror.errors import TruncatedBodyError
from mirror.store import durable
from mirror.store.cloning import clone
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.ownfile import OwnFile
from mirror.store.sums import PIECE

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Bytes after which the disk is told to begin, so that the last sync is short.
_BEHIND: Final = 32 << 20


class Copied(OwnFile):
    """A file of *size* bytes that must be *expected*, made by `begin`; a `mirror.store.blobs.Finished`.

    It is written by one caller: `fill`, then `finish`, then `DiskStore.put` or `abandon`, then `close`.
    """

    def __init__(
        self,
        path: Path,
        fd: int,
        expected: Digest,
        size: int,
        checks: tuple[Check, ...],
        ledger: Ledger,
    ) -> None:
        super().__init__(path, fd, size, expected)
        self.shared = False
        """Whether it has its bytes in common with what it was made from."""
        self._room = ledger.reserve(size)
        self._hasher = Hasher(size, expected, checks)
        self._received = 0

    @classmethod
    def begin(
        cls,
        layout: Layout,
        ledger: Ledger,
        expected: Digest,
        size: int,
        checks: tuple[Check, ...] = (),
    ) -> Self:
        """Make the file, with room for all of it reserved. Raises `StoreFullError` or `StoreError`."""
        path = layout.temporary()
        try:
            fd = os.open(path, _FLAGS, 0o600)
        except OSError as error:
            raise durable.disk_error(error, f"{expected} cannot be written") from error
        try:
            return cls(path, fd, expected, size, checks, ledger)
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise

    def fill(self, source: int, advance: Callable[[int], None], *, share: bool = False) -> None:
        """Take the bytes of the open file *source*, from its start; *advance* hears of them, and may raise.

        With *share* they are shared where the file system can do that, and read from our own file then.
        Raises `StoreError` when the disk does not take them, `OSError` where *source* cannot be read.
        """
        if share and self.size and clone(source, self._fd):
            self.shared = True
            self._room.spend(self.size)
            source = self._fd
        if self.size <= PIECE:
            data = memoryview(os.pread(source, self.size, 0))
            self._take(data, 0)
            self._hasher.update(data)
            self._received = len(data)
            advance(len(data))
            return
        buffers = [memoryview(bytearray(PIECE)) for _ in range(2)]
        with ThreadPoolExecutor(1, thread_name_prefix="copy") as writer:
            writing: Future[None] | None = None
            while count := os.preadv(source, [buffers[0]], self._received):
                data = buffers[0][: min(count, self.size - self._received)]
                if not data:
                    break
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._take, data, self._received)
                self._hasher.update(data)
                self._received += len(data)
                advance(len(data))
                buffers.reverse()
            if writing is not None:
                writing.result()

    def finish(self) -> None:
        """Hold it against its size, its digest and its checks; `sha256` is known afterwards.

        Raises `TruncatedBodyError`, `DigestMismatchError` or `StoreError`; all leave it to `abandon`.
        """
        if self._received != self.size:
            msg = f"Only {self._received} of the {self.size} bytes of {self.expected} came."
            raise TruncatedBodyError(msg, expected=self.size, got=self._received)
        try:
            # Before the sync, which brings it to the disk with the bytes.
            os.fchmod(self._fd, 0o444)
        except OSError as error:
            raise durable.disk_error(error, f"{self.expected} cannot be finished") from error
        self._prove(self._hasher)

    def _stored(self) -> None:
        self._room.settle()

    def _removed(self) -> None:
        self._room.release()

    def _take(self, data: memoryview, offset: int) -> None:
        """Write the next bytes, unless they are there, and sum them."""
        if not self.shared:
            try:
                durable.write_all(self._fd, data, offset)
            except OSError as error:
                what = f"{self.expected} cannot be written"
                raise durable.disk_error(error, what, needed=len(data)) from error
            self._room.spend(len(data))
            if (end := offset + len(data)) % _BEHIND == 0:
                durable.begin(self._fd, end - _BEHIND, _BEHIND)
        if self.size > PIECE:
            self._sums.update(data)
