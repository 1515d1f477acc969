"""The bytes of a partial from its first one on, as far as they were hashed.

sha256 has to see them in order, so this is where bytes become what the digest will say of them; from here
on each whole piece has its checksum, and readers may be shown it as long as it has not left memory.
"""

from mirror.digest import Buffer, Check, Digest, Hasher
from mirror.store.crc import crc32
from mirror.store.residency import RUN, Residency, checked_end
from mirror.store.sums import PIECE, Sums, SumsBuilder, piece_count


class Prefix:
    """What is known of the first *received* bytes of a blob of *size* bytes.

    *expected* and *checks* are what all of them will be held against (`mirror.digest.Hasher`). One thread at
    a time takes; others may ask meanwhile. *awaited* names what they should be, for a sentence.
    """

    __slots__ = ("_builder", "_hasher", "_marks", "_whole", "awaited", "received")

    def __init__(self, size: int, expected: Digest, checks: tuple[Check, ...] = ()) -> None:
        self.awaited = str(expected) if expected.proves else " and ".join(map(str, checks))
        self._whole = size, expected, checks
        self.received = 0
        self._hasher = Hasher(size, expected, checks)
        self._builder = SumsBuilder()
        self._marks = bytearray()

    def anew(self) -> "Prefix":
        """The same with nothing taken."""
        return Prefix(*self._whole)

    @property
    def marks(self) -> bytes:
        """One byte per piece, 1 where it was not seen to leave memory since."""
        return bytes(self._marks).ljust(piece_count(self.received), b"\1")

    def take(self, chunk: Buffer) -> None:
        """Hash the next bytes, which are in the file already."""
        self._hasher.update(chunk)
        self._builder.update(chunk)
        self._marks.extend(b"\1" * (self._builder.complete - len(self._marks)))
        self.received += memoryview(chunk).nbytes

    def foretell(self, surplus: Buffer) -> Digest:
        """What was taken, and *surplus*, instead of what was expected; nothing can be taken after."""
        self._hasher.update(surplus)
        return self._hasher.differs() or self._hasher.digest()

    def differs(self) -> Digest | None:
        """What was taken instead of what was expected, `None` where it is that."""
        return self._hasher.differs()

    def digest(self) -> Digest:
        """The sha256 of what was taken."""
        return self._hasher.digest()

    def sums(self, digest: Digest, size: int) -> Sums:
        """The checksums of the whole blob."""
        return self._builder.sums(digest, size)

    def ready(self, residency: Residency, fd: int, offset: int, limit: int) -> int:
        """The end of the bytes from *offset*, at most *limit*, that are checked and in memory."""
        limit = min(limit, self.received, offset + RUN)
        if limit <= offset or not residency.exact:
            return max(offset, limit)
        whole = len(self._marks) * PIECE
        end = offset
        if offset < whole:
            bound = min(limit, whole)
            end = checked_end(residency, fd, self._marks, offset, bound, whole)
            if end < bound:
                return end
        if end < limit and residency.resident(fd, whole, limit):
            end = limit
        return end

    def extent(self, offset: int) -> tuple[int, int, int]:
        """Start, length in bytes and CRC-32 of the piece that holds *offset*, as far as it came."""
        piece = offset // PIECE
        current, filled, crc = self._builder.tail
        if piece < current:
            return piece * PIECE, PIECE, self._builder.value(piece)
        return piece * PIECE, filled, crc

    def check(self, start: int, data: Buffer, crc: int) -> bool:
        """Whether *data*, read back at *start*, is what came; a whole piece may be shown again then."""
        if crc32(data) != crc:
            return False
        piece = start // PIECE
        if piece < len(self._marks):
            self._marks[piece] = 1
        return True
