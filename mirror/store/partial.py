"""One blob on its way in: written and hashed as its bytes arrive, read by those who wait for it.

Nothing it holds has a name that readers of the store know, and it gets none before its size and digest
are right. Until then those who wait read the same file below what was received, and even they are not
shown bytes that went to the disk and came back unchecked.
"""

import contextlib
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final, NoReturn

from mirror.digest import Buffer, Digest
from mirror.errors import DigestMismatchError, StoreCorruptError, StoreError, TruncatedBodyError
from mirror.store import durable
from mirror.store.ahead import Ahead
from mirror.store.crc import crc32
from mirror.store.extents import Extents
from mirror.store.layout import PARTIAL_DATA, PARTIAL_JOURNAL, held_by
from mirror.store.ledger import Reservation
from mirror.store.prefix import Prefix
from mirror.store.residency import RUN, Residency
from mirror.store.resume import Progress
from mirror.store.sums import PIECE, Sums

# What a crash may cost: at 100 MB/s less than a second of download. It also keeps the last sync, the
# one before the rename, short.
SYNC_EVERY: Final = 64 << 20


class Partial:
    """One blob on its way in, made by `Partials.begin`.

    Several threads may `write` at once, each bytes that nobody else writes; one at a time does everything
    else (`append`, `finish`, then `DiskStore.put`, `keep` or `abandon`). Any number read from `fileno`
    meanwhile, where `ready` and `load` say so; until `close`, also those who are behind at the end.
    """

    def __init__(  # noqa: PLR0913 -- only `Partials` makes one
        self,
        folder: Path,
        progress: Progress,
        reservation: Reservation,
        fd: int,
        *,
        held: int,
        prefix: Prefix,
        residency: Residency,
        syncer: Executor,
        ended: Callable[[], None],
    ) -> None:
        self.expected = progress.digest
        self.size = progress.size
        self.validator = progress.validator
        """The strong ETag of the source, sent as ``If-Range`` by a resume; `None` if it has none."""
        self._folder = folder
        self._reservation = reservation
        self._fd = fd
        self._residency = residency
        self._ended = ended
        self._open = True
        self._prefix, self._ahead = prefix, Ahead()
        self._lock = threading.Lock()  # what is ahead, room and syncs: held for moments only
        self._hashing = threading.Lock()
        self._written = held  # the most bytes that the file ever held, also before a restart
        self._syncer = syncer
        self._syncing: Future[None] | None = None
        self._unsynced = 0  # bytes written since the last sync that was asked for
        self._sha256: Digest | None = None

    @property
    def received(self) -> int:
        """Bytes from the start that are in the file and were hashed."""
        return self._prefix.received

    @property
    def held(self) -> int:
        """Bytes that are in the file, hashed or not."""
        with self._lock:
            return self._prefix.received + self._ahead.extents.total

    def extents(self) -> tuple[tuple[int, int], ...]:
        """Which bytes are in the file, as ranges in order."""
        with self._lock:
            return tuple(Extents([(0, self._prefix.received), *self._ahead.extents]))

    def end_at(self, offset: int) -> int:
        """Where the run of bytes that are there from *offset* on ends; *offset* if that one is not."""
        offset = max(offset, self._prefix.received)
        with self._lock:
            return max(self._ahead.extents.end_at(offset), self._prefix.received)

    @property
    def sha256(self) -> Digest:
        """The blob's name, once `finish` found it right. Raises `ValueError` before."""
        if self._sha256 is None:
            raise ValueError(f"{self.expected} is not finished")
        return self._sha256

    @property
    def sums(self) -> Sums:
        """The checksums of its pieces, once `finish` found it right. Raises `ValueError` before."""
        return self._prefix.sums(self.sha256, self.size)

    @property
    def marks(self) -> bytes:
        """One byte per piece received, 1 where it was not seen to leave memory since."""
        return self._prefix.marks

    def fileno(self) -> int:
        """The file's descriptor, for reads at explicit offsets; valid until `close`."""
        if self._fd < 0:
            msg = f"the partial of {self.expected} is closed"
            raise ValueError(msg)
        return self._fd

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def append(self, chunk: Buffer) -> None:
        """Write and hash the next bytes. Blocks on the disk.

        Raises `DigestMismatchError` (and removes the partial) when they are more than the blob has, and
        what `write` raises.
        """
        self._require_open()
        if self._prefix.received + memoryview(chunk).nbytes > self.size:
            got = self._prefix.foretell(chunk)
            self._mismatch(f"More bytes came for {self.expected} than the {self.size} it has.", got)
        self.write(self._prefix.received, chunk)

    def write(self, offset: int, chunk: Buffer) -> None:
        """Write bytes at *offset*, where none are yet, and hash them if they are the next. Blocks.

        Raises `StoreFullError` or `StoreError` when the disk does not take them; nothing of *chunk*
        counts as received then.
        """
        self._require_open()
        length = memoryview(chunk).nbytes
        try:
            durable.write_all(self._fd, chunk, offset)
        except OSError as error:
            what = f"{self.expected} cannot be written"
            raise durable.disk_error(error, what, needed=length) from error
        taken = self._take_next(offset, chunk)
        with self._lock:
            if not taken:
                self._ahead.add(offset, chunk)
            grown = self._prefix.received + self._ahead.extents.total - self._written
            if grown > 0:
                self._reservation.spend(grown)
                self._written += grown
            self._unsynced += length
            if self._unsynced >= SYNC_EVERY:
                self._sync_behind()

    def catch_up(self) -> bool:
        """Read back and hash the next piece of what came out of order; returns whether there was one.

        Blocks on the disk. Raises `StoreError`.
        """
        with self._hashing:
            with self._lock:
                end = self._ahead.extents.end_at(self._prefix.received)
            if end <= self._prefix.received:
                return False
            self._prefix.take(
                self._read_back(self._prefix.received, min(PIECE, end - self._prefix.received))
            )
            with self._lock:
                self._ahead.drop(self._prefix.received)
        return True

    def take_again(self, synced: int, ahead: tuple[tuple[int, int], ...] = ()) -> None:
        """Read and hash the first *synced* bytes of the file, and look at what is *ahead* of them.

        An earlier process wrote them.
        """
        while self._prefix.received < synced:
            self._prefix.take(
                self._read_back(self._prefix.received, min(PIECE, synced - self._prefix.received))
            )
        for start, end in ahead:
            for offset in range(start, end, PIECE):
                data = self._read_back(offset, min(PIECE, end - offset))
                with self._lock:
                    self._ahead.add(offset, data)

    def common(self, offset: int, chunk: Buffer) -> int:
        """How many bytes from the start of *chunk* are those that were received at *offset*.

        Blocks on the disk. Raises `StoreError`.
        """
        view = memoryview(chunk)
        data = self._read_back(offset, min(view.nbytes, self.end_at(offset) - offset))
        if data == view[: len(data)]:
            return len(data)
        return next(at for at, byte in enumerate(data) if byte != view[at])

    def restart(self, keep: int = 0) -> None:
        """Forget what was received beyond *keep* bytes: the source has changed and sends others.

        What stays is read and hashed again. The file is written over in place, never cut, so whoever
        reads beyond *keep* must have been stopped before. Raises `StoreError`.
        """
        self._require_open()
        self._wait_for_sync()
        self.validator, self._unsynced = None, 0
        self._note_progress(Progress(self.expected, self.size))
        with self._lock:
            self._prefix, self._ahead = self._prefix.anew(), Ahead()
        self.take_again(keep)

    def finish(self) -> None:
        """Compare size, then digest and checks; `sha256` is known afterwards and `DiskStore.put` may have it.

        Raises `TruncatedBodyError` when bytes are missing (the partial stays and may be continued) and
        `DigestMismatchError` when they are not what the digest says (the partial is removed).
        """
        self._require_open()
        if self._prefix.received != self.size:
            msg = f"Only {self._prefix.received} of the {self.size} bytes of {self.expected} came."
            raise TruncatedBodyError(msg, expected=self.size, got=self._prefix.received)
        got = self._prefix.differs()
        if got is not None:
            self._mismatch(f"The bytes that came for {self._prefix.awaited} are others.", got)
        try:
            # Before the last sync, which brings it to the disk with the bytes.
            os.fchmod(self._fd, 0o444)
        except OSError as error:
            raise durable.disk_error(error, f"{self.expected} cannot be finished") from error
        self._sha256 = self._prefix.digest()

    # ── reading meanwhile ────────────────────────────────────────────────────────────────────────

    def ready(self, offset: int, limit: int) -> int:
        """The end of the bytes from *offset*, at most *limit*, that may be sent as they are now.

        They were received and have not left memory since, so they are what was hashed. Never blocks.
        """
        prefix = self._prefix
        if offset < prefix.received:
            return prefix.ready(self._residency, self._fd, offset, limit)
        with self._lock:
            return self._ahead.ready(self._residency, self._fd, offset, min(limit, offset + RUN))

    def load(self, offset: int) -> None:
        """Bring the piece at *offset* back into memory and check it. Blocks on the disk.

        Raises `StoreCorruptError` when it is not what was written: the disk lost it, and the fill must
        begin again.
        """
        with self._lock:
            run = self._ahead.at(offset)
        prefix = self._prefix
        if run is not None:
            start, length, crc = run.start, run.end - run.start, run.crc
        elif offset < prefix.received:
            start, length, crc = prefix.extent(offset)
        else:
            return
        try:
            data = os.pread(self.fileno(), length, start)
        except OSError as error:
            msg = f"The disk cannot read bytes of {self.expected} back: {error.strerror}."
            raise StoreCorruptError(msg) from error
        if run is not None and crc32(data) == crc:
            run.checked = True
        elif run is not None or not prefix.check(start, data, crc):
            raise StoreCorruptError(f"The disk lost bytes of {self.expected} while it came in.")

    # ── the end ──────────────────────────────────────────────────────────────────────────────────

    def keep(self) -> None:
        """Stop here and leave what was received on the disk, for a resume.

        Raises `StoreError` when the disk fails, with the partial removed: what may be lost is not kept.
        """
        if not self._open:
            return
        if not self._prefix.received and not self._ahead.extents:
            self.abandon()
            return
        try:
            self._wait_for_sync()
            self._sync(self._progress())
        except StoreError:
            self.abandon()
            raise
        self._end(held_by(os.fstat(self._fd)))

    def abandon(self) -> None:
        """Remove it and give its room back; nothing happens if it has ended already."""
        if self._open:
            with contextlib.suppress(StoreError):
                self._wait_for_sync()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._end(0)

    def publish(self, final: Path, folders: durable.FolderSyncs) -> None:
        """Give the finished file its name, *final*; only `DiskStore.put` calls this, its sums written.

        Raises `StoreError` with the partial removed.
        """
        if self._sha256 is None:
            raise ValueError(f"{self.expected} is not finished")
        self._require_open()
        try:
            self._wait_for_sync()
            durable.publish(self._folder / PARTIAL_DATA, final, fd=self._fd, folders=folders)
        except StoreError:
            self.abandon()
            raise
        durable.remove_folder(self._folder)
        self._end(self.size)

    def close(self) -> None:
        """Let go of the descriptor once no reader uses it; a partial that has not ended is kept."""
        if self._fd >= 0:
            try:
                self.keep()
            finally:
                fd, self._fd = self._fd, -1
                os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(
                f"unclosed partial of {self.expected}", ResourceWarning, stacklevel=2, source=self
            )
            os.close(self._fd)

    def _take_next(self, offset: int, chunk: Buffer) -> bool:
        """Hash *chunk* if it is the next and nobody else is hashing; returns whether it was."""
        if offset != self._prefix.received or not self._hashing.acquire(blocking=False):
            return False
        try:
            if offset != self._prefix.received:
                return False
            self._prefix.take(chunk)
        finally:
            self._hashing.release()
        return True

    def _read_back(self, offset: int, length: int) -> bytes:
        try:
            return durable.read_all(self.fileno(), length, offset)
        except OSError as error:
            raise durable.disk_error(error, f"{self.expected} cannot be read back") from error

    def _progress(self) -> Progress:
        """What a sync that begins now brings to the disk."""
        received = self._prefix.received
        ahead = Extents(self._ahead.extents)
        ahead.remove(0, received)
        return Progress(self.expected, self.size, self.validator, received, tuple(ahead))

    def _sync_behind(self) -> None:
        """Have what was received synced by another thread; raise what the one before met."""
        if self._syncing is None or self._syncing.done():
            self._wait_for_sync()
            self._unsynced = 0
            self._syncing = self._syncer.submit(self._sync, self._progress())

    def _wait_for_sync(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def _sync(self, progress: Progress) -> None:
        durable.sync_file(self._fd, self._folder / PARTIAL_DATA)
        self._note_progress(progress)

    def _note_progress(self, progress: Progress) -> None:
        journal = self._folder / PARTIAL_JOURNAL
        first = not journal.exists()
        durable.append(journal, progress.encode())
        if first:
            durable.sync_folder(self._folder)
            durable.sync_folder(self._folder.parent)

    def _mismatch(self, message: str, got: Digest) -> NoReturn:
        self.abandon()
        raise DigestMismatchError(message, expected=self.expected, got=got)

    def _require_open(self) -> None:
        if not self._open:
            raise ValueError(f"the partial of {self.expected} has ended")

    def _end(self, used: int) -> None:
        self._open = False
        if used:
            self._reservation.settle(used)
        else:
            self._reservation.release()
        self._ended()
