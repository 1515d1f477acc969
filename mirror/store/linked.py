"""Somebody else's file that gets a second name as a blob: it is read and hashed, never written.

The file stays its owner's: its mode is as it was (a blob's own is 0444), and whoever may write it can still
do so. The store notices that when it next reads the piece (`mirror.store.stored`), sets its own name aside
and leaves the other alone.

It never lies where a download goes on: that one would be cut and written over.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from mirror.digest import Check, Digest, Hasher
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.ownfile import OwnFile
from mirror.store.sums import PIECE

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Linked(OwnFile):
    """A file with a temporary name of ours, made by `of`; a `mirror.store.blobs.Finished` after `read`."""

    def __init__(self, path: Path, fd: int, size: int, expected: Digest, ledger: Ledger) -> None:
        super().__init__(path, fd, size, expected)
        self._ledger = ledger

    @classmethod
    def of(cls, layout: Layout, ledger: Ledger, source: int, expected: Digest) -> Self | None:
        """Link the file of descriptor *source*; `None` where it cannot be linked from here.

        Only a file of this very user is: another's could be changed by that other at any time. It takes no
        room on the disk, and counts towards the quota from its end on.
        """
        status = os.fstat(source)
        if status.st_uid != os.geteuid():
            return None
        path, fd = layout.temporary(), -1
        try:
            durable.link_open(source, path)
            fd = os.open(path, _FLAGS)
        except OSError:
            path.unlink(missing_ok=True)
            return None
        return cls(path, fd, status.st_size, expected, ledger)

    def read(self, checks: tuple[Check, ...], advance: Callable[[int], None]) -> None:
        """Read and hash all of it, and hold it against its digest and *checks*; *advance* hears of bytes.

        Raises `DigestMismatchError`, and `StoreError` where it cannot be read; both leave it to `abandon`.
        """
        hasher, offset = Hasher(self.size, self.expected, checks), 0
        while offset < self.size:
            try:
                data = durable.read_all(self._fd, min(PIECE, self.size - offset), offset)
            except OSError as error:
                raise durable.disk_error(error, f"{self.expected} cannot be read") from error
            hasher.update(data)
            self._sums.update(data)
            offset += len(data)
            advance(len(data))
        self._prove(hasher)

    def _stored(self) -> None:
        self._ledger.take(self.size)

    def _removed(self) -> None:
        """Nothing was reserved for it."""
