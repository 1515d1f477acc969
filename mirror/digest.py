"""Digests: the names that bytes give themselves.

A blob's name in the store is its sha256, always. The Hub publishes sha256 for LFS and Xet files and a
git blob sha1 for the rest, so both algorithms exist here; the second is checked and kept as an alias.

Other hosts publish less: part of a sha256 in a file's name, an MD5 in a header, or nothing. Their files are
known by where they come from, until the first download says which sha256 that is.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

SHA256: Final = "sha256"
GIT_SHA1: Final = "git-sha1"
SOURCE: Final = "source"

_SHAPES: Final = {
    SHA256: re.compile(r"[0-9a-f]{64}\Z"),
    GIT_SHA1: re.compile(r"[0-9a-f]{40}\Z"),
    SOURCE: re.compile(r"[0-9a-f]{64}\Z"),
}

MD5: Final = "md5"
SHA256_PREFIX: Final = "sha256-prefix"

_CHECKS: Final = {
    MD5: re.compile(r"[0-9a-f]{32}\Z"),
    SHA256_PREFIX: re.compile(r"[0-9a-f]{8,64}\Z"),
}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The digest of a run of bytes, written ``algorithm:hex``.

    *algorithm* is ``sha256`` or ``git-sha1`` (git's object id of a blob); or ``source``, which proves
    nothing: it names bytes by where they come from (`source_of`). *hex* is lower-case hexadecimal of the
    length that goes with it. Raises `ValueError` for anything else.
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

    @property
    def proves(self) -> bool:
        """Whether bytes can be held against it."""
        return self.algorithm != SOURCE

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True, order=True)
class Check:
    """What a host says of bytes without naming them by it: too short or too weak to be their name.

    *algorithm* is ``md5`` or ``sha256-prefix`` (eight or more digits of a sha256); *hex* is lower-case
    hexadecimal. Raises `ValueError` for anything else.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        shape = _CHECKS.get(self.algorithm)
        if shape is None or not shape.match(self.hex):
            msg = f"not a check: {self.algorithm}:{self.hex}"
            raise ValueError(msg)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def source_of(*words: str) -> Digest:
    """Name bytes by where they come from: *words* are an URL, and a version of it where it moves."""
    return Digest(
        SOURCE, hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()
    )


def sha256_of(data: Buffer) -> Digest:
    """Name *data* by its sha256."""
    return Digest(SHA256, hashlib.sha256(data).hexdigest())


def repr_digest(digest: Digest) -> tuple[str, str]:
    """The header that tells a client the sha256 of a whole file (``Repr-Digest``, RFC 9530 §3)."""
    told = base64.b64encode(bytes.fromhex(digest.hex)).decode("ascii")
    return ("Repr-Digest", f"sha-256=:{told}:")


def git_sha1_of(data: Buffer) -> Digest:
    """Name *data* as git does: sha1 over a header and the content (git-hash-object(1))."""
    size = memoryview(data).nbytes
    hashed = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    hashed.update(data)
    return Digest(GIT_SHA1, hashed.hexdigest())


class Hasher:
    """Hash one blob as its bytes arrive, under each name it will need.

    *size* is the length of the whole blob in bytes, which git's header wants before the first byte;
    *expected* and *checks* are what the bytes will be held against (`differs`). sha256 is always computed.
    """

    __slots__ = ("_checks", "_digests", "_expected")

    def __init__(
        self, size: int, expected: Digest | None = None, checks: tuple[Check, ...] = ()
    ) -> None:
        self._expected = expected
        self._checks = checks
        self._digests = {SHA256: hashlib.sha256()}
        if expected is not None and expected.algorithm == GIT_SHA1:
            # The object id is sha1 over a header and the content (git-hash-object(1)).
            self._digests[GIT_SHA1] = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        if any(check.algorithm == MD5 for check in checks):
            self._digests[MD5] = hashlib.md5(usedforsecurity=False)

    def update(self, data: Buffer) -> None:
        """Take the next bytes; releases the interpreter lock for anything over 2 KiB."""
        for digest in self._digests.values():
            digest.update(data)

    def digest(self) -> Digest:
        """Return the sha256 of what was taken so far."""
        return Digest(SHA256, self._digests[SHA256].hexdigest())

    def differs(self) -> Digest | None:
        """Return what was taken instead of what was expected, `None` where it is that.

        The answer is of the expected digest's algorithm, or a sha256 where a check failed.
        """
        expected = self._expected
        if expected is not None and expected.proves:
            got = Digest(expected.algorithm, self._digests[expected.algorithm].hexdigest())
            if got != expected:
                return got
        for check in self._checks:
            algorithm = SHA256 if check.algorithm == SHA256_PREFIX else check.algorithm
            if not self._digests[algorithm].hexdigest().startswith(check.hex):
                return self.digest()
        return None
