"""Stored blobs as readers see them: opened once, checked once per residency, shared by all.

A piece goes out without another look only while all its pages are in memory and its mark says that it
was checked since they came there; a piece seen absent loses its mark, and only `DiskBlob.load` (or the
commit) sets it. So a byte that rots at rest is found before it is sent, while hot blobs go out at the
speed of sendfile. The marks are remembered for longer than a file stays open, as long as device, inode,
size and modification time are the same (link, rename and chmod change only the time of change).
"""

import hashlib
import os
import threading
import warnings
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn, Self

from mirror.digest import SHA256, Digest, sha256_of
from mirror.errors import StoreCorruptError
from mirror.store.residency import RUN, Residency, checked_end, drop, read_ahead
from mirror.store.sums import PIECE, Sums, SumsBuilder, piece_count

# Pieces per load. The second is what a reader in order wants next; more would keep the thread, and one
# of two cores, from the other readers for longer than their own turn takes.
WINDOW: Final = 2


class Identity(NamedTuple):
    """What stays the same while a file is believed to hold the same bytes."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take it from a file's status; *modified* is in nanoseconds."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def still(self, status: os.stat_result) -> bool:
        """Whether *status* is that of the same file, as it was."""
        device, inode, size, modified = self
        return (
            status.st_mtime_ns == modified
            and status.st_size == size
            and status.st_ino == inode
            and status.st_dev == device
        )


class Checks:
    """Which pieces of a file were checked: one byte per piece in *marks*, 1 for checked."""

    __slots__ = ("identity", "marks")

    def __init__(self, identity: Identity, marks: bytes | None = None) -> None:
        self.identity = identity
        self.marks = bytearray(piece_count(identity.size) if marks is None else marks)

    def begin_again(self, identity: Identity) -> None:
        """Believe nothing: the file was touched and is *identity* now."""
        self.marks[:] = bytes(len(self.marks))
        self.identity = identity


class Upkeep(NamedTuple):
    """What an open file asks of its store."""

    read_sums: Callable[[Digest], Sums | None]
    write_sums: Callable[[Sums], None]
    set_aside: Callable[[Digest, Identity, str], object]


class OpenFile:
    """One open blob and what is known of its pieces, shared by its readers.

    *fd* becomes its own. `ready` belongs to the event loop, `load` to worker threads, any number of
    either at once.
    """

    def __init__(
        self, digest: Digest, fd: int, checks: Checks, residency: Residency, upkeep: Upkeep
    ) -> None:
        self.digest = digest
        self.fd = fd
        self.size = checks.identity.size
        self.checks = checks
        self.exact = residency.exact
        self.readers = 0
        self._residency = residency
        self._upkeep = upkeep
        self._sums: Sums | None = None
        self._summing = threading.Lock()
        self._loading: set[int] = set()
        self._loaded = threading.Condition()

    def ready(self, offset: int, limit: int) -> int:
        """As `DiskBlob.ready`, where residency can be known."""
        checks = self.checks
        fd = self.fd
        if not checks.identity.still(os.fstat(fd)):
            return offset
        return checked_end(self._residency, fd, checks.marks, offset, limit, self.size)

    def load(self, offset: int) -> int:
        """Check the pieces of one window at *offset*; returns its end. Raises `StoreCorruptError`."""
        first = offset // PIECE
        last = min(first + WINDOW, piece_count(self.size))
        for piece in range(first, min(last + WINDOW, piece_count(self.size))):
            # The disk works on the next window while this one is being checked: 1.1 s/GiB, not 1.7.
            if not self._is_ready(piece):
                read_ahead(self.fd, piece * PIECE, (piece + 1) * PIECE)
        for piece in range(first, last):
            self._load(piece)
        return min(last * PIECE, self.size)

    def reread(self, offset: int) -> int:
        """Check the piece at *offset* whatever its mark says; returns its end. Raises `StoreCorruptError`.

        Memory is left as it was: a piece that nobody had there is let go again, and its mark with it.
        """
        piece = offset // PIECE
        start, end = piece * PIECE, min((piece + 1) * PIECE, self.size)
        hot = self.exact and self._residency.resident(self.fd, start, end)
        if not hot:
            self.checks.marks[piece] = 0  # nobody sends it before it was looked at
        self._check(piece)
        if not hot:
            self.checks.marks[piece] = 0
            drop(self.fd, start, end)
        return end

    def _is_ready(self, piece: int) -> bool:
        """Whether a piece may go out; its mark is cleared if not."""
        start = piece * PIECE
        return self.exact and self.ready(start, min(start + PIECE, self.size)) > start

    def _load(self, piece: int) -> None:
        """Check one piece, or wait for the thread that is at it."""
        with self._loaded:
            self._loaded.wait_for(lambda: piece not in self._loading)
            if self._is_ready(piece):
                return
            self._loading.add(piece)
        try:
            self._check(piece)
        finally:
            with self._loaded:
                self._loading.discard(piece)
                self._loaded.notify_all()

    def _check(self, piece: int) -> None:
        identity = Identity.of(os.fstat(self.fd))
        if identity.size != self.size:
            self._corrupt(f"it has {identity.size} bytes instead of {self.size}")
        if identity != self.checks.identity:
            self.checks.begin_again(identity)
        length = min(PIECE, self.size - piece * PIECE)
        if self.size <= PIECE:
            good = sha256_of(self._read(0, length)) == self.digest
        else:
            good = self._sums_of_file().matches(piece, self._read(piece * PIECE, length))
        if not good:
            self._corrupt(f"piece {piece} is not what it was")
        self.checks.marks[piece] = 1

    def _sums_of_file(self) -> Sums:
        """The sums of the blob, made again from all of its bytes where they were lost."""
        with self._summing:
            if self._sums is None:
                kept = self._upkeep.read_sums(self.digest)
                self._sums = kept if kept and kept.size == self.size else self._sum_again()
            return self._sums

    def _sum_again(self) -> Sums:
        whole, builder = hashlib.sha256(), SumsBuilder()
        for start in range(0, self.size, PIECE):
            data = self._read(start, min(PIECE, self.size - start))
            whole.update(data)
            builder.update(data)
        if whole.hexdigest() != self.digest.hex:
            self._corrupt(f"its {SHA256} is {whole.hexdigest()}")
        sums = builder.sums(self.digest, self.size)
        self._upkeep.write_sums(sums)
        return sums

    def _read(self, start: int, length: int) -> bytes:
        """Read bytes of the file; a bad sector is damage like any other."""
        try:
            data = os.pread(self.fd, length, start)
            while len(data) < length:
                more = os.pread(self.fd, length - len(data), start + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            self._corrupt(f"the disk cannot read it: {error.strerror}")
        return data

    def _corrupt(self, reason: str) -> NoReturn:
        self._upkeep.set_aside(self.digest, self.checks.identity, reason)
        raise StoreCorruptError(
            f"The stored blob {self.digest} is damaged ({reason}); it was set aside.",
            hint="Ask again: it is fetched anew.",
        )


class DiskBlob:
    """A reader's own view of a stored blob; each is closed by its reader.

    *done* is called once with the shared file when the reader lets go.
    """

    __slots__ = ("_checked", "_done", "_file", "digest", "size")

    def __init__(self, file: OpenFile, done: Callable[[OpenFile], None]) -> None:
        self.digest = file.digest
        self.size = file.size
        self._file: OpenFile | None = file
        self._done = done
        self._checked = (0, 0)  # what this reader's last load covered

    def fileno(self) -> int:
        """The shared descriptor, for reads at explicit offsets; valid until `close`."""
        return (self._file or self._opened()).fd

    def ready(self, offset: int, limit: int) -> int:
        """The end of the bytes from *offset*, at most *limit*, that may be sent as they are now.

        *offset* itself when the piece there is to be loaded first. Never blocks, and covers at most 8 MiB
        per call. Where residency cannot be known it is what the last `load` of this reader checked.
        """
        file = self._file or self._opened()
        limit = min(limit, self.size, offset + RUN)
        if limit <= offset:
            return offset
        if file.exact:
            return file.ready(offset, limit)
        start, end = self._checked
        return min(end, limit) if start <= offset < end else offset

    def load(self, offset: int) -> None:
        """Read and check the piece at *offset* and the one after it. Blocks: for a worker thread.

        Raises `StoreCorruptError` when a piece is not what was published; the blob has been set aside
        then and the store no longer finds it.
        """
        if not 0 <= offset < self.size:
            return
        end = self._opened().load(offset)
        self._checked = (offset // PIECE * PIECE, end)

    def reread(self, offset: int) -> int:
        """Read and check the piece at *offset* without leaving it in memory; returns its end. Blocks.

        For the scrub. Raises as `load` does.
        """
        return self._opened().reread(offset)

    def close(self) -> None:
        """Let go; may be called twice."""
        file, self._file = self._file, None
        if file is not None:
            self._done(file)

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            warnings.warn(
                f"unclosed blob {self.digest}", ResourceWarning, stacklevel=2, source=self
            )
            self.close()

    def _opened(self) -> OpenFile:
        if self._file is None:
            msg = f"the blob {self.digest} is closed"
            raise ValueError(msg)
        return self._file
