"""Digests: the names that bytes give themselves.

A blob's name in the store is its sha256, always. The Hub publishes sha256 for LFS and Xet files and a
git blob sha1 for the rest, so both algorithms exist here; the second is checked and kept as an alias.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

SHA256: Final = "sha256"
GIT_SHA1: Final = "git-sha1"

_SHAPES: Final = {SHA256: re.compile(r"[0-9a-f]{64}\Z"), GIT_SHA1: re.compile(r"[0-9a-f]{40}\Z")}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The digest of a run of bytes, written ``algorithm:hex``.

    *algorithm* is ``sha256`` or ``git-sha1`` (git's object id of a blob); *hex* is lower-case
    hexadecimal of the length that goes with it. Raises `ValueError` for anything else.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        shape = _SHAPES.get(self.algorithm)
        if shape is None or not shape.match(self.hex):
            msg = f"not a digest: {self.algorithm}:{self.hex}"
            raise ValueError(msg)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm:hex`` back; raises `ValueError` when it is not that."""
        algorithm, _, value = text.partition(":")
        return cls(algorithm, value)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def sha256_of(data: Buffer) -> Digest:
    """Name *data* by its sha256."""
    return Digest(SHA256, hashlib.sha256(data).hexdigest())


class Hasher:
    """Hash one blob as its bytes arrive, under each name it will need.

    *size* is the length of the whole blob in bytes, which git's header wants before the first byte;
    *algorithms* are the digests to compute besides sha256, which is always computed.
    """

    __slots__ = ("_digests",)

    def __init__(self, size: int, *algorithms: str) -> None:
        self._digests = {SHA256: hashlib.sha256()}
        if GIT_SHA1 in algorithms:
            # The object id is sha1 over a header and the content (git-hash-object(1)).
            self._digests[GIT_SHA1] = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, data: Buffer) -> None:
        """Take the next bytes; releases the interpreter lock for anything over 2 KiB."""
        for digest in self._digests.values():
            digest.update(data)

    def digest(self, algorithm: str = SHA256) -> Digest:
        """Return the digest of what was taken so far under one of the chosen algorithms."""
        return Digest(algorithm, self._digests[algorithm].hexdigest())
