"""A checksum for every piece of a blob, so that one piece can be checked without reading the rest.

::

    offset  bytes  what
         0      8  "mmsums1" and a zero byte
         8      8  the algorithm's name, zero-padded: "crc32"
        16      8  size of a piece in bytes, little-endian like all numbers here
        24      8  size of the blob in bytes
        32     32  sha256 of the blob
        64    4 n  one checksum per piece, the last piece being whatever is left
    64+4 n      4  CRC-32 of all bytes before it

They are for rot (a flipped bit, a lost sector), not against attackers: a CRC-32 costs 0.03 CPU-s per GiB
where sha256 costs 0.61, and whoever can forge the file can forge its sums. A blob of one piece has none;
its sha256 is checked instead. Sums that are lost or damaged are made again from the blob's sha256.
"""

import os
import struct
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mirror.digest import SHA256, Buffer, Digest
from mirror.store.crc import crc32

PIECE: Final = 1 << 20
ALGORITHM: Final = "crc32"

_MAGIC: Final = b"mmsums1\0"
_HEADER: Final = struct.Struct("<8s8sQQ32s")
_TAIL: Final = struct.Struct("<I")


def piece_count(size: int) -> int:
    """How many pieces a blob of *size* bytes has."""
    return -(-size // PIECE)


@dataclass(frozen=True, slots=True)
class Sums:
    """The checksums of one blob: its *digest* (sha256), its *size* in bytes, one value per piece."""

    digest: Digest
    size: int
    values: "array[int]"

    def matches(self, piece: int, data: Buffer) -> bool:
        """Whether *data* is what piece number *piece* held when the blob was published."""
        return crc32(data) == self.values[piece]

    def encode(self) -> bytes:
        """The file's content."""
        values = array("I", self.values)
        if sys.byteorder == "big":
            values.byteswap()
        digest = bytes.fromhex(self.digest.hex)
        body = _HEADER.pack(_MAGIC, ALGORITHM.encode(), PIECE, self.size, digest) + values.tobytes()
        return body + _TAIL.pack(crc32(body))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the file's content back; raises `ValueError` when it is damaged or of another kind."""
        body, tail = data[: -_TAIL.size], data[-_TAIL.size :]
        if len(data) < _HEADER.size + _TAIL.size or tail != _TAIL.pack(crc32(body)):
            msg = "the sums are damaged"
            raise ValueError(msg)
        magic, algorithm, piece, size, digest = _HEADER.unpack_from(body)
        if (magic, algorithm.rstrip(b"\0"), piece) != (_MAGIC, ALGORITHM.encode(), PIECE):
            msg = "the sums are of a kind that is not known"
            raise ValueError(msg)
        values = array("I")
        if len(body) != _HEADER.size + values.itemsize * piece_count(size):
            msg = "the sums do not cover the blob"
            raise ValueError(msg)
        values.frombytes(body[_HEADER.size :])
        if sys.byteorder == "big":
            values.byteswap()
        return cls(Digest(SHA256, digest.hex()), size, values)

    @classmethod
    def read(cls, path: Path, digest: Digest) -> Self | None:
        """Read the sums of the blob *digest* from *path*; `None` where there are none that hold."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                sums = cls.decode(file.read())
        except (OSError, ValueError):
            return None
        return sums if sums.digest == digest else None


def read_size(path: Path) -> int | None:
    """The blob's size by the header of its sums, in bytes; `None` where there is no such header.

    Only a first look: the header's own checksum is at the end of the file and is not read here.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            header = os.read(fd, _HEADER.size)
        finally:
            os.close(fd)
        magic, _algorithm, _piece, size, _digest = _HEADER.unpack(header)
    except (OSError, struct.error):
        return None
    return int(size) if magic == _MAGIC else None


class SumsBuilder:
    """Computes the sums of a blob while its bytes come by in order.

    One thread updates; others may read `tail`, `complete` and `value` meanwhile.
    """

    __slots__ = ("_values", "tail")

    def __init__(self) -> None:
        self._values = array("I")
        self.tail = (0, 0, 0)
        """The unfinished piece: its number, its bytes so far and their CRC-32, replaced as one tuple."""

    @property
    def complete(self) -> int:
        """Number of pieces whose checksum is known."""
        return self.tail[0]

    def update(self, data: Buffer) -> None:
        """Take the next bytes."""
        rest = memoryview(data).cast("B")
        piece, filled, crc = self.tail
        while rest:
            part, rest = rest[: PIECE - filled], rest[PIECE - filled :]
            crc, filled = crc32(part, crc), filled + len(part)
            if filled == PIECE:
                self._values.append(crc)
                piece, filled, crc = piece + 1, 0, 0
        self.tail = (piece, filled, crc)

    def value(self, piece: int) -> int:
        """The checksum of a complete piece."""
        return self._values[piece]

    def sums(self, digest: Digest, size: int) -> Sums:
        """The sums of the whole blob, once all of its *size* bytes were taken."""
        values = array("I", self._values)
        _piece, filled, crc = self.tail
        if filled:
            values.append(crc)
        return Sums(digest, size, values)
