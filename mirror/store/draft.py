"""Content whose size and name are known only at its end: an archive made anew, a body without a length.

It is written beside the partials, under a name that a start sweeps away, and becomes a partial of its own
digest at its end: from there on it goes the way of every download, read and hashed once more.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

from mirror.digest import SHA256, Buffer, Digest
from mirror.errors import StoreError
from mirror.store import durable
from mirror.store.layout import PARTIAL_DATA, PARTIAL_JOURNAL, Layout, held_by
from mirror.store.ledger import Ledger, Reservation
from mirror.store.partial import Partial
from mirror.store.partials import Partials
from mirror.store.resume import Progress

# Room is reserved as the content grows, this many bytes at a time.
STEP: Final = 16 << 20


class Draft:
    """Content on its way to a name; written by one thread, which ends it by `finish` or `abandon`.

    Making one raises `StoreError` when the disk refuses.
    """

    def __init__(self, layout: Layout, ledger: Ledger) -> None:
        self._layout = layout
        self._ledger = ledger
        self._path: Path = layout.temporary()
        self._sha256 = hashlib.sha256()
        self._rooms: list[Reservation] = []
        self._open = True
        self.size = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise durable.disk_error(error, "A new file cannot be written") from error

    def write(self, chunk: Buffer) -> None:
        """Take the next bytes. Blocks on the disk; raises `StoreFullError` or `StoreError`."""
        length = memoryview(chunk).nbytes
        while self.size + length > STEP * len(self._rooms):
            self._rooms.append(self._ledger.reserve(STEP))
        try:
            durable.write_all(self._fd, chunk, self.size)
        except OSError as error:
            raise durable.disk_error(
                error, "A new file cannot be written", needed=length
            ) from error
        self._sha256.update(chunk)
        self.size += length
        self._spend(length)

    @property
    def digest(self) -> Digest:
        """The sha256 of what was written."""
        return Digest(SHA256, self._sha256.hexdigest())

    def finish(self, partials: Partials) -> Partial:
        """Make it a partial whose bytes are all there and right. Blocks; raises `StoreError`.

        The partial is for `DiskStore.put`, and the caller's to end.
        """
        digest = self.digest
        folder = self._layout.partial(digest)
        try:
            durable.sync_file(self._fd, self._path)
            folder.mkdir(mode=durable.FOLDER_MODE, exist_ok=True)
            progress = Progress(digest, self.size, None, self.size)
            durable.write(self._layout.temporary(), folder / PARTIAL_JOURNAL, progress.encode())
            held = held_by(os.fstat(self._fd))
            durable.move(self._path, folder / PARTIAL_DATA)
        except OSError as error:
            self.abandon()
            raise durable.disk_error(error, "A new file cannot be written") from error
        except StoreError:
            self.abandon()
            raise
        self._end(held)
        partial = partials.begin(digest, self.size)
        try:
            partial.finish()
        except StoreError:
            partial.abandon()
            partial.close()
            raise
        return partial

    def abandon(self) -> None:
        """Remove it; nothing happens if it has ended already."""
        if self._open:
            self._path.unlink(missing_ok=True)
            self._end(0)

    def _spend(self, length: int) -> None:
        """Note in the reservations, in order, what lies on the disk now."""
        start = self.size - length
        for number in range(start // STEP, -(-self.size // STEP)):
            low, high = max(start, number * STEP), min(self.size, (number + 1) * STEP)
            self._rooms[number].spend(high - low)

    def _end(self, held: int) -> None:
        self._open = False
        os.close(self._fd)
        for room in self._rooms:
            used = min(held, room.size)
            room.settle(used)
            held -= used
