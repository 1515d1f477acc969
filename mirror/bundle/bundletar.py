"""The members of a bundle: a plain tar of which every header is what this module writes, byte for byte.

POSIX ustar (pax(1), "ustar Interchange Format") with one kind of member, the regular file, and with one
spelling of everything: no owner, no time, no prefix, no link, nothing after the end. A size beyond 8 GiB is
written in base 256, as GNU tar does it (GNU tar manual, "Extensions to the archive format").

A reader that compares a header with the one that it would have written itself has refused links, devices,
sparse files, extended headers and every name that it did not expect, known tricks and unknown ones.
"""

import re
from typing import Final, Protocol

from mirror.errors import MirrorError

BLOCK: Final = 512
# Where a header says what it is, and what it says there.
_MAGIC_AT: Final = 257
_MAGIC: Final = b"ustar\x0000"
END: Final = bytes(2 * BLOCK)

_OCTAL: Final = 8 << 30
_NAME: Final = re.compile(rb"[a-z0-9./]{1,99}\Z")
_SIZE: Final = slice(124, 136)


class BundleError(MirrorError):
    """A bundle is not what it claims to be, or cannot be taken; nothing of it was."""


class Source(Protocol):
    """The bytes of a bundle, in order."""

    def read(self, size: int) -> bytes:
        """Exactly *size* bytes; raises `BundleError` where it ends before."""
        ...

    def skip(self, size: int) -> None:
        """Pass over *size* bytes; raises `BundleError` where it ends before."""
        ...

    def end(self) -> None:
        """Raise `BundleError` unless nothing is left."""
        ...


def header(name: str, size: int) -> bytes:
    """The block before a member of *size* bytes. Raises `ValueError` for a name of another form."""
    encoded = name.encode("ascii")
    if not _NAME.match(encoded) or size < 0:
        raise ValueError(f"{name!r} is no member")
    length = b"%011o\0" % size if size < _OCTAL else b"\x80" + size.to_bytes(11, "big")
    block = bytearray(BLOCK)
    block[0 : len(encoded)] = encoded
    block[100:108] = b"0000644\0"
    block[108:124] = b"0000000\0" * 2
    block[_SIZE] = length
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = b"0"
    block[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] = _MAGIC
    block[329:345] = b"0000000\0" * 2
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padding(size: int) -> int:
    """How many zero bytes follow *size* bytes of a member."""
    return -size % BLOCK


def room(size: int) -> int:
    """How many bytes a member of *size* bytes takes in all."""
    return BLOCK + size + padding(size)


def read_header(source: Source, name: str, largest: int) -> int:
    """Read the header of the member *name*; returns its size, at most *largest* bytes.

    Raises `BundleError` for any other.
    """
    block = source.read(BLOCK)
    field = block[_SIZE]
    try:
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field[:11], 8)
        same = block == header(name, size)
    except ValueError:
        same, size = False, 0
    if not same:
        raise _other(name, block)
    if size > largest:
        raise BundleError(f"Its {name} is said to have {size} bytes, beyond any that is real.")
    return size


def peek_is(source: Source, name: str) -> tuple[bool, bytes]:
    """Whether the next header is that of *name*, of whatever size; and the block that was read."""
    block = source.read(BLOCK)
    return block[: len(name) + 1] == name.encode() + b"\0", block


def expect(source: Source, name: str, size: int, block: bytes | None = None) -> None:
    """Read the header of *name*, which must have *size* bytes; *block* is it where it was read already."""
    block = source.read(BLOCK) if block is None else block
    if block != header(name, size):
        raise _other(name, block)


def pad(source: Source, size: int) -> None:
    """Read what follows *size* bytes of a member; it must be zeros."""
    length = padding(size)
    if length and source.read(length) != bytes(length):
        raise BundleError("There is something between two of its members.")


def finish(source: Source) -> None:
    """Read the end; nothing may follow it."""
    if source.read(len(END)) != END:
        raise BundleError("There are more members in it than its manifest tells of.")
    source.end()


def _other(name: str, block: bytes) -> BundleError:
    if (
        block[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC
    ):  # Nothing of a foreign file is repeated.
        return BundleError(
            f"Where its member {name} should begin there is no header of a tar.",
            hint="Is it a file that `modelmirror export` wrote, uncompressed, and whole?",
        )
    found = block[:100].split(b"\0")[0].decode("ascii", "backslashreplace")
    said = "".join(char for char in found if char.isprintable())[:80]
    return BundleError(
        f"Its next member should be {name}, a plain file; there is {said!r}, of whatever kind, instead."
    )
