"""All blobs on their way in: room reserved first, and what an earlier attempt left taken up again.

A download that broke goes on where its journal (`mirror.store.resume`) says that the disk has its bytes,
and those are hashed again, for a journal proves that bytes were written and not which.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mirror.digest import Check, Digest
from mirror.errors import StoreError
from mirror.store import durable
from mirror.store.layout import PARTIAL_DATA, PARTIAL_JOURNAL, Layout, held_by
from mirror.store.ledger import Ledger
from mirror.store.partial import Partial
from mirror.store.prefix import Prefix
from mirror.store.residency import Residency, Unknown, random_access
from mirror.store.resume import Progress

__all__ = ["Leftover", "Partial", "Partials"]

_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Leftover:
    """A partial that nobody writes: *held* bytes on the disk, last written at *modified* (wall time)."""

    expected: Digest
    held: int
    modified: float


class Partials:
    """All blobs on their way in of one data folder.

    *residency* tells which of their bytes are still in memory (`mirror.store.residency.choose`); without
    it readers are shown whatever was received.
    """

    def __init__(
        self, layout: Layout, ledger: Ledger, *, residency: Residency | None = None
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._residency = residency or Unknown()
        # One thread: syncs of several fills wait for the same disk.
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._busy: set[Digest] = set()
        self._lock = threading.Lock()

    def begin(self, expected: Digest, size: int, checks: tuple[Check, ...] = ()) -> Partial:
        """Open the partial of a blob of *size* bytes, with what an earlier attempt left of it.

        *checks* are what it must be beside what *expected* says. Room for all of it is reserved first. What
        is there is read and hashed again, which takes 0.9 s per GiB. Raises `StoreFullError` when there is
        no room, and `StoreError` when the disk fails or the same blob is being written already.
        """
        if not self._claim(expected):
            raise StoreError(f"{expected} is on its way in already.")
        try:
            return self._begin(expected, size, checks)
        except OSError as error:
            self._unclaim(expected)
            raise durable.disk_error(error, f"{expected} cannot be written") from error
        except BaseException:
            self._unclaim(expected)
            raise

    def leftovers(self) -> Iterator[Leftover]:
        """The partials that nobody writes now, for whoever sweeps."""
        for folder in self._layout.partials.iterdir():
            expected = self._layout.expected_of(folder)
            if expected is None or expected in self._busy:
                continue
            try:
                status = (folder / PARTIAL_DATA).lstat()
            except OSError:
                continue
            yield Leftover(expected, held_by(status), status.st_mtime)

    def discard(self, expected: Digest) -> int:
        """Remove what is left of a partial; returns the bytes given back, 0 if it is being written."""
        if not self._claim(expected):
            return 0
        try:
            return self._discard(self._layout.partial(expected))
        finally:
            self._unclaim(expected)

    def close(self) -> None:
        """Wait for the syncs under way; every partial must have ended."""
        self._syncer.shutdown()

    def _begin(self, expected: Digest, size: int, checks: tuple[Check, ...]) -> Partial:
        folder = self._layout.partial(expected)
        progress = self._recover(folder, expected, size)
        held = held_by((folder / PARTIAL_DATA).lstat()) if progress.end else 0
        reservation = self._ledger.reserve(size, held=held)
        fd = -1
        try:
            folder.mkdir(mode=durable.FOLDER_MODE, exist_ok=True)
            if progress.end:
                # Written anew: a torn last line must not swallow the next one.
                durable.write(self._layout.temporary(), folder / PARTIAL_JOURNAL, progress.encode())
            fd = os.open(folder / PARTIAL_DATA, _OPEN | os.O_CREAT, 0o600)
            random_access(fd)
            partial = Partial(
                folder,
                progress,
                reservation,
                fd,
                held=held,
                prefix=Prefix(size, expected, checks),
                residency=self._residency,
                syncer=self._syncer,
                ended=lambda: self._unclaim(expected),
            )
            partial.take_again(progress.synced, progress.ahead)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            reservation.settle(held)
            raise
        return partial

    def _recover(self, folder: Path, expected: Digest, size: int) -> Progress:
        """Cut a leftover to the bytes that its journal vouches for, or remove it."""
        progress = Progress.last(folder / PARTIAL_JOURNAL)
        if progress is not None and (progress.digest, progress.size) == (expected, size):
            try:
                fd = _open_again(folder / PARTIAL_DATA)
            except FileNotFoundError:
                pass
            else:
                try:
                    before = os.fstat(fd)
                    if progress.end <= before.st_size:
                        os.ftruncate(fd, progress.end)
                        self._ledger.give_back(held_by(before) - held_by(os.fstat(fd)))
                        return progress
                finally:
                    os.close(fd)
        self._discard(folder)
        return Progress(expected, size)

    def _discard(self, folder: Path) -> int:
        try:
            length = held_by((folder / PARTIAL_DATA).lstat())
        except FileNotFoundError:
            length = 0
        if os.path.lexists(folder):
            shutil.rmtree(folder)
        self._ledger.give_back(length)
        return length

    def _claim(self, expected: Digest) -> bool:
        with self._lock:
            if expected in self._busy:
                return False
            self._busy.add(expected)
            return True

    def _unclaim(self, expected: Digest) -> None:
        with self._lock:
            self._busy.discard(expected)


def _open_again(data: Path) -> int:
    """Open the file of a leftover; one that was about to be published is read-only already."""
    try:
        return os.open(data, _OPEN)
    except PermissionError:
        fd = os.open(data, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
        return os.open(data, _OPEN)
