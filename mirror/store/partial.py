"""One blob on its way in: written and hashed as its bytes arrive, read by those who wait for it.

Nothing it holds has a name that readers of the store know, and it gets none before its size and digest
are right. Until then those who wait read the same file below what was received, and even they are not
shown bytes that went to the disk and came back unchecked.
"""

import contextlib
import os
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final, NoReturn
from zlib import crc32

from mirror.digest import SHA256, Buffer, Digest, Hasher
from mirror.errors import DigestMismatchError, StoreCorruptError, StoreError, TruncatedBodyError
from mirror.store import durable
from mirror.store.layout import PARTIAL_DATA, PARTIAL_JOURNAL
from mirror.store.ledger import Reservation
from mirror.store.residency import RUN, Residency, checked_end
from mirror.store.resume import Progress
from mirror.store.sums import PIECE, Sums, SumsBuilder, piece_count

# What a crash may cost: at 100 MB/s less than a second of download. It also keeps the last sync, the
# one before the rename, short.
SYNC_EVERY: Final = 64 << 20


class Partial:
    """One blob on its way in, made by `Partials.begin`.

    One thread at a time writes (`append`, `finish`, then `DiskStore.put`, `keep` or `abandon`); any
    number read from `fileno` below `received` meanwhile, `ready` and `load` telling them where that is
    safe. The descriptor outlives the end, for readers that are still behind, until `close`.
    """

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        reservation: Reservation,
        fd: int,
        *,
        residency: Residency,
        syncer: Executor,
        ended: Callable[[], None],
    ) -> None:
        self.expected = progress.digest
        self.size = progress.size
        self.validator = progress.validator
        """The strong ETag of the source, which a resume sends as ``If-Range``; `None` if it has none."""
        self._folder = folder
        self._reservation = reservation
        self._fd = fd
        self._residency = residency
        self._ended = ended
        self._open = True
        self._received = 0
        self._written = progress.synced  # how far the file was ever written, also before a restart
        self._syncer = syncer
        self._syncing: Future[None] | None = None
        self._asked = progress.synced  # how far the last sync that was asked for goes
        self._hasher = Hasher(self.size, self.expected.algorithm)
        self._builder = SumsBuilder()
        self._marks = bytearray()
        self._sha256: Digest | None = None

    @property
    def received(self) -> int:
        """Bytes from the start that are in the file and were hashed: readers may go up to here."""
        return self._received

    @property
    def sha256(self) -> Digest:
        """The blob's name, once `finish` found it right. Raises `ValueError` before."""
        if self._sha256 is None:
            msg = f"{self.expected} is not finished"
            raise ValueError(msg)
        return self._sha256

    @property
    def sums(self) -> Sums:
        """The checksums of its pieces, once `finish` found it right. Raises `ValueError` before."""
        return self._builder.sums(self.sha256, self.size)

    @property
    def marks(self) -> bytes:
        """One byte per piece received, 1 where it was not seen to leave memory since."""
        return bytes(self._marks).ljust(piece_count(self._received), b"\1")

    def fileno(self) -> int:
        """The file's descriptor, for reads at explicit offsets; valid until `close`."""
        if self._fd < 0:
            msg = f"the partial of {self.expected} is closed"
            raise ValueError(msg)
        return self._fd

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def append(self, chunk: Buffer) -> None:
        """Write and hash the next bytes. Blocks on the disk.

        Raises `DigestMismatchError` (and removes the partial) when they are more than the blob has,
        `StoreFullError` or `StoreError` when the disk does not take them; nothing of *chunk* counts as
        received then.
        """
        self._require_open()
        length = memoryview(chunk).nbytes
        if self._received + length > self.size:
            self._hasher.update(chunk)
            self._mismatch(f"More bytes came for {self.expected} than the {self.size} it has.")
        try:
            durable.write_all(self._fd, chunk, self._received)
        except OSError as error:
            what = f"{self.expected} cannot be written"
            raise durable.disk_error(error, what, needed=length) from error
        self._take(chunk)
        grown = self._received - self._written
        if grown > 0:
            self._reservation.spend(grown)
            self._written = self._received
        if self._received - self._asked >= SYNC_EVERY:
            self._sync_behind()

    def take_again(self, synced: int) -> None:
        """Read and hash the first *synced* bytes of the file, which an earlier process wrote."""
        while self._received < synced:
            chunk = os.pread(self._fd, min(PIECE, synced - self._received), self._received)
            if not chunk:
                raise StoreError(
                    f"The partial of {self.expected} is shorter than its journal says."
                )
            self._take(chunk)

    def common(self, offset: int, chunk: Buffer) -> int:
        """How many bytes from the start of *chunk* are those that were received at *offset*.

        Blocks on the disk. Raises `StoreError`.
        """
        view = memoryview(chunk)
        length = min(view.nbytes, self._received - offset)
        try:
            data = os.pread(self.fileno(), length, offset)
        except OSError as error:
            raise durable.disk_error(error, f"{self.expected} cannot be read back") from error
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
        self.validator, self._asked = None, 0
        self._note_progress(0, None)
        self._received = 0
        self._hasher = Hasher(self.size, self.expected.algorithm)
        self._builder = SumsBuilder()
        self._marks = bytearray()
        self.take_again(keep)

    def finish(self) -> None:
        """Compare size, then digest; `sha256` is known afterwards and `DiskStore.put` may have it.

        Raises `TruncatedBodyError` when bytes are missing (the partial stays and may be continued) and
        `DigestMismatchError` when they are not what the digest says (the partial is removed).
        """
        self._require_open()
        if self._received != self.size:
            msg = f"Only {self._received} of the {self.size} bytes of {self.expected} came."
            raise TruncatedBodyError(msg, expected=self.size, got=self._received)
        if self._hasher.digest(self.expected.algorithm) != self.expected:
            self._mismatch(f"The bytes that came for {self.expected} are others.")
        self._sha256 = self._hasher.digest(SHA256)

    # ── reading meanwhile ────────────────────────────────────────────────────────────────────────

    def ready(self, offset: int, limit: int) -> int:
        """The end of the bytes from *offset*, at most *limit*, that may be sent as they are now.

        They were received and have not left memory since, so they are what was hashed. Never blocks.
        """
        limit = min(limit, self._received, offset + RUN)
        if limit <= offset or not self._residency.exact:
            return max(offset, limit)
        whole = len(self._marks) * PIECE
        end = offset
        if offset < whole:
            bound = min(limit, whole)
            end = checked_end(self._residency, self._fd, self._marks, offset, bound, whole)
            if end < bound:
                return end
        if end < limit and self._residency.resident(self._fd, whole, limit):
            end = limit
        return end

    def load(self, offset: int) -> None:
        """Bring the piece at *offset* back into memory and check it. Blocks on the disk.

        Raises `StoreCorruptError` when it is not what was written: the disk lost it, and the fill must
        begin again.
        """
        piece = offset // PIECE
        current, filled, crc = self._builder.tail
        whole = piece < current
        try:
            data = os.pread(self.fileno(), PIECE if whole else filled, piece * PIECE)
        except OSError as error:
            msg = f"The disk cannot read bytes of {self.expected} back: {error.strerror}."
            raise StoreCorruptError(msg) from error
        if crc32(data) != (self._builder.value(piece) if whole else crc):
            raise StoreCorruptError(f"The disk lost bytes of {self.expected} while it came in.")
        if whole:
            self._marks[piece] = 1

    # ── the end ──────────────────────────────────────────────────────────────────────────────────

    def keep(self) -> None:
        """Stop here and leave what was received on the disk, for a resume.

        Raises `StoreError` when the disk fails, with the partial removed: what may be lost is not kept.
        """
        if not self._open:
            return
        if not self._received:
            self.abandon()
            return
        try:
            self._wait_for_sync()
            self._sync(self._received, self.validator)
        except StoreError:
            self.abandon()
            raise
        self._end(self._written)

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
            msg = f"{self.expected} is not finished"
            raise ValueError(msg)
        self._require_open()
        try:
            self._wait_for_sync()
            # Before the sync, so that it is on the disk with the bytes.
            os.fchmod(self._fd, 0o444)
            durable.publish(self._folder / PARTIAL_DATA, final, fd=self._fd, folders=folders)
        except (OSError, StoreError) as error:
            self.abandon()
            if isinstance(error, OSError):
                raise durable.disk_error(error, f"{final} could not be published") from error
            raise
        shutil.rmtree(self._folder, ignore_errors=True)
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

    def _take(self, chunk: Buffer) -> None:
        self._hasher.update(chunk)
        self._builder.update(chunk)
        self._marks.extend(b"\1" * (self._builder.complete - len(self._marks)))
        self._received += memoryview(chunk).nbytes

    def _sync_behind(self) -> None:
        """Have what was received synced by another thread; raise what the one before met."""
        if self._syncing is None or self._syncing.done():
            self._wait_for_sync()
            self._asked = self._received
            self._syncing = self._syncer.submit(self._sync, self._received, self.validator)

    def _wait_for_sync(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def _sync(self, received: int, validator: str | None) -> None:
        durable.sync_file(self._fd, self._folder / PARTIAL_DATA)
        self._note_progress(received, validator)

    def _note_progress(self, synced: int, validator: str | None) -> None:
        journal = self._folder / PARTIAL_JOURNAL
        first = not journal.exists()
        durable.append(journal, Progress(self.expected, self.size, validator, synced).encode())
        if first:
            durable.sync_folder(self._folder)
            durable.sync_folder(self._folder.parent)

    def _mismatch(self, message: str) -> NoReturn:
        got = self._hasher.digest(self.expected.algorithm)
        self.abandon()
        raise DigestMismatchError(message, expected=self.expected, got=got)

    def _require_open(self) -> None:
        if not self._open:
            msg = f"the partial of {self.expected} has ended"
            raise ValueError(msg)

    def _end(self, used: int) -> None:
        self._open = False
        if used:
            self._reservation.settle(used)
        else:
            self._reservation.release()
        self._ended()
