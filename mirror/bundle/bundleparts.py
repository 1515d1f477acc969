"""A bundle in several files, for media that are smaller than it; docs/bundle-format.md.

Each part is a header of 4096 bytes and a run of the bundle's bytes. The header says which run, and has the
sha256 of it: that finds out which medium went bad, while who is to be believed is the manifest's matter.
"""

import hashlib
import json
import os
import select
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mirror.bundle.bundletar import BundleError
from mirror.index.codec import typed

HEADER: Final = 4096
# As many as three digits count; and the smallest part of which the header is not most.
MOST: Final = 999
SMALLEST: Final = 64 << 10

_FORMAT: Final = "modelmirror-bundle-part"
_PIECE: Final = 4 << 20
# Seconds until whoever sends a bundle through a pipe must have begun: he may be asked for a passphrase.
PATIENCE: Final = 600.0


@dataclass(frozen=True, slots=True)
class PartHead:
    """What a part says of itself: *number* of *of*, bytes *offset* to *offset* + *size* of the *bundle*."""

    bundle: str
    number: int
    of: int
    offset: int
    size: int
    sha256: str

    def encode(self) -> bytes:
        """Its 4096 bytes."""
        form = {
            "format": _FORMAT,
            "version": 1,
            "bundle": self.bundle,
            "number": self.number,
            "of": self.of,
            "offset": self.offset,
            "size": self.size,
            "sha256": self.sha256,
        }
        text = json.dumps(form, sort_keys=True)
        form["sum"] = hashlib.sha256(text.encode()).hexdigest()
        return json.dumps(form, sort_keys=True).encode().ljust(HEADER - 1) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """Read it back; `None` where it is damaged or no such header."""
        try:
            form = typed(dict, json.loads(data))
            found = cls(
                typed(str, form["bundle"]),
                typed(int, form["number"]),
                typed(int, form["of"]),
                typed(int, form["offset"]),
                typed(int, form["size"]),
                typed(str, form["sha256"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return found if found.encode() == data else None


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    head: PartHead


class Whole:
    """A bundle in one file or pipe, open as *fd*; *name* is what it is called. It becomes its own."""

    def __init__(self, fd: int, name: str, start: bytes = b"") -> None:
        self._fd = fd
        self._name = name
        self._start = start
        self._seekable = stat.S_ISREG(os.fstat(fd).st_mode)
        self._at = len(start)

    def read(self, size: int) -> bytes:
        """Exactly *size* bytes."""
        data = bytearray(self._start[:size])
        self._start = self._start[size:]
        while len(data) < size:
            more = os.read(self._fd, size - len(data))
            if not more:
                raise BundleError(
                    f"{self._name} ends after {self._at} bytes, in the middle of the bundle.",
                    hint="Copy it again, and import it again: what was checked is kept.",
                )
            data += more
            self._at += len(more)
        return bytes(data)

    def skip(self, size: int) -> None:
        """Pass over *size* bytes."""
        if self._seekable and size > len(self._start):
            size -= len(self._start)
            self._start = b""
            position = os.lseek(self._fd, 0, os.SEEK_CUR)
            if position + size <= os.fstat(self._fd).st_size:
                os.lseek(self._fd, size, os.SEEK_CUR)
                self._at += size
                return
        while size:
            size -= len(self.read(min(size, _PIECE)))

    def end(self) -> None:
        """Raise `BundleError` unless nothing is left."""
        if self._start or os.read(self._fd, 1):
            raise BundleError(f"{self._name} goes on after the end of the bundle.")

    def blame(self) -> str:
        """What is known of where damage lies: a sentence, or ``""``."""
        return ""

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


class Parts:
    """A bundle in *paths*, which may be in any order. Raises `BundleError` where they are not all of it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._parts = sorted((_part(path) for path in paths), key=lambda part: part.head.number)
        first = self._parts[0].head
        self.bundle = first.bundle
        for part in self._parts:
            if (part.head.bundle, part.head.of) != (first.bundle, first.of):
                raise BundleError(
                    f"{part.path} is a part of another bundle than {self._parts[0].path}."
                )
        there = [part.head.number for part in self._parts]
        missing = [number for number in range(1, first.of + 1) if number not in there]
        if missing or len(there) != first.of:
            which = ", ".join(map(str, missing)) or "none"
            raise BundleError(
                f"The bundle has {first.of} parts, {len(there)} are named, and missing is: {which}.",
                hint="Name each of its parts once.",
            )
        end = 0
        for part in self._parts:
            if part.head.offset != end:
                raise BundleError(f"{part.path} does not begin where the part before it ends.")
            end += part.head.size
        self._at = 0
        self._fd = -1
        self._left = 0

    def read(self, size: int) -> bytes:
        """Exactly *size* bytes."""
        data = bytearray()
        while len(data) < size:
            self._turn()
            more = os.read(self._fd, min(size - len(data), self._left))
            if not more:
                raise BundleError("A part became shorter while it was read.")
            self._left -= len(more)
            data += more
        return bytes(data)

    def skip(self, size: int) -> None:
        """Pass over *size* bytes."""
        while size:
            self._turn()
            step = min(size, self._left)
            os.lseek(self._fd, step, os.SEEK_CUR)
            self._left -= step
            size -= step

    def end(self) -> None:
        """Raise `BundleError` unless nothing is left."""
        if self._left or self._at != len(self._parts):
            raise BundleError("The parts go on after the end of the bundle.")

    def blame(self) -> str:
        """Which parts are not what their headers say: a sentence, ``""`` where all are. Reads them all."""
        bad = []
        for part in self._parts:
            digest = hashlib.sha256()
            with part.path.open("rb", buffering=0) as file:
                file.seek(HEADER)
                while data := file.read(_PIECE):
                    digest.update(data)
            if digest.hexdigest() != part.head.sha256:
                bad.append(f"part {part.head.number} of {part.head.of} ({part.path})")
        return f"Damaged is {' and '.join(bad)}." if bad else ""

    def close(self) -> None:
        """Let go of what is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _turn(self) -> None:
        """Go on to the next part where one is read to its end."""
        while not self._left:
            self.close()
            if self._at == len(self._parts):
                raise BundleError("The parts end in the middle of the bundle.")
            part = self._parts[self._at]
            self._fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
            os.lseek(self._fd, HEADER, os.SEEK_SET)
            self._at += 1
            self._left = part.head.size


def opened(paths: Sequence[Path]) -> Whole | Parts:
    """The bundle in *paths*: one file or pipe, or all parts of one. Raises `BundleError`."""
    try:
        if len(paths) > 1:
            return Parts(paths)
        # A pipe of which nobody has the other end must not keep anybody waiting.
        fd = os.open(paths[0], os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                _wait_for(fd, paths[0])
                return Whole(fd, "The bundle")
            start = os.read(fd, HEADER)
        except BaseException:
            os.close(fd)
            raise
        if start.startswith(b"{"):
            os.close(fd)
            return Parts(paths)
        return Whole(fd, str(paths[0]), start)
    except OSError as error:
        raise BundleError(
            f"{error.filename or paths[0]} cannot be read: {error.strerror}."
        ) from error


def _wait_for(fd: int, path: Path) -> None:
    """Wait until there is something in the pipe *path*. Raises `BundleError` where nothing comes."""
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise BundleError(
            f"{path} is a folder.", hint="Name the bundle in it, or each of its parts."
        )
    if not select.select([fd], [], [], PATIENCE)[0]:
        raise BundleError("Nothing came through the pipe.")
    os.set_blocking(fd, True)


def _part(path: Path) -> _Part:
    try:
        with path.open("rb", buffering=0) as file:
            head = PartHead.decode(file.read(HEADER))
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    if head is None:
        raise BundleError(
            f"{path} is no part of a bundle, or its first bytes are damaged.",
            hint="Copy it again from where it was exported.",
        )
    if size != HEADER + head.size:
        raise BundleError(
            f"Damaged is part {head.number} of {head.of} ({path}): it has {size} bytes instead of"
            f" {HEADER + head.size}.",
            hint="Copy it again from where it was exported.",
        )
    return _Part(path, head)


AnySource = Whole | Parts
"""Where a bundle is read from."""
