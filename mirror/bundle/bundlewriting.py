"""A planned bundle written out: to a file, to parts of it, or to a pipe, from the blobs as they lie.

Every piece is read and held against its sum before it goes out; what goes out is then handed over by the
kernel (sendfile(2)), so that reading is all that it costs.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from mirror.bundle import bundletar
from mirror.bundle.bundlemanifest import MANIFEST, SIGNATURE, Manifest, Member, identity
from mirror.bundle.bundleparts import HEADER, MOST, SMALLEST, PartHead
from mirror.digest import SHA256, Digest
from mirror.errors import QuestionError, StoreCorruptError
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.store.sums import PIECE, Sums

_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOTSOCK})


class Sink(Protocol):
    """Where a bundle goes."""

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes of memory."""
        ...

    def send(self, fd: int, offset: int, data: memoryview) -> None:
        """Take the bytes of the file *fd* at *offset*, which were read as *data*."""
        ...

    def finish(self) -> None:
        """Everything is there: give it its name."""
        ...

    def abandon(self) -> None:
        """Leave nothing that looks like a bundle."""
        ...


class Stream:
    """A pipe, or whatever is open as *fd* already; it has no name to be given."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sends = hasattr(os, "sendfile")
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            # A whole piece goes in at once, where 64 KiB would have both ends wait for each other 16 times.
            with suppress(OSError):  # no pipe, or no more is allowed
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIECE)

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def send(self, fd: int, offset: int, data: memoryview) -> None:
        """Have the kernel move it; where it cannot, write what was read."""
        sent = 0
        while self._sends and sent < len(data):
            try:
                step = os.sendfile(self._fd, fd, offset + sent, len(data) - sent)
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                self._sends = False
                break
            if not step:
                break
            sent += step
        if sent < len(data):
            self.write(data[sent:])

    def finish(self) -> None:
        """Nothing is to be done."""

    def abandon(self) -> None:
        """Nothing can be done: whoever reads finds that it ends too early."""


class OneFile(Stream):
    """The file *path*, which has its name once it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._coming = path.with_name(f".{path.name}.coming")
        super().__init__(_new(self._coming))

    def finish(self) -> None:
        """Bring it to the disk under its name."""
        durable.publish(self._coming, self._path, fd=self._fd)
        os.close(self._fd)

    def abandon(self) -> None:
        """Remove it."""
        os.close(self._fd)
        durable.remove(self._coming)


class SplitFile:
    """Parts ``PATH.001``, ``PATH.002``, … of at most *most* bytes each, of a bundle with *length* bytes."""

    def __init__(self, path: Path, most: int, length: int, bundle: str) -> None:
        if most < SMALLEST:
            raise QuestionError(f"Parts have {SMALLEST >> 10} KiB or more each.")
        self._room = most - HEADER
        self._of = -(-length // self._room)
        if self._of > MOST:
            raise QuestionError(
                f"That would be {self._of} parts; {MOST} are the most.",
                hint="Give a larger --split.",
            )
        self._path = path
        self._length = length
        self._bundle = bundle
        self._number = 0
        self._left = 0
        self._size = 0
        self._digest = hashlib.sha256()
        self._stream: Stream | None = None
        self._fd = -1

    @property
    def paths(self) -> list[Path]:
        """The parts, in order."""
        return [
            self._path.with_name(f"{self._path.name}.{number:03d}")
            for number in range(1, self._of + 1)
        ]

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it, into as many parts as it takes."""
        for stream, part in self._runs(memoryview(data)):
            stream.write(part)

    def send(self, fd: int, offset: int, data: memoryview) -> None:
        """As `write` does, moved by the kernel."""
        for stream, part in self._runs(data):
            stream.send(fd, offset, part)
            offset += len(part)

    def finish(self) -> None:
        """Bring all parts to the disk under their names."""
        self._close_part()
        for path in self.paths:
            durable.publish(self._coming(path), path)

    def abandon(self) -> None:
        """Remove them all."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        for path in self.paths:
            durable.remove(self._coming(path))

    def _runs(self, data: memoryview) -> Iterator[tuple[Stream, memoryview]]:
        while data:
            if not self._left:
                self._next_part()
            part, data = data[: self._left], data[self._left :]
            self._digest.update(part)
            self._left -= len(part)
            assert self._stream is not None  # noqa: S101 -- `_next_part` made it
            yield self._stream, part

    def _next_part(self) -> None:
        self._close_part()
        offset = self._number * self._room
        self._number += 1
        self._size = self._left = min(self._room, self._length - offset)
        self._digest = hashlib.sha256()
        self._fd = _new(self._coming(self.paths[self._number - 1]))
        self._stream = Stream(self._fd)
        self._stream.write(bytes(HEADER))

    def _close_part(self) -> None:
        if self._fd < 0:
            return
        offset = (self._number - 1) * self._room
        digest = self._digest.hexdigest()
        head = PartHead(self._bundle, self._number, self._of, offset, self._size, digest)
        durable.write_all(self._fd, head.encode(), 0)
        os.close(self._fd)
        self._fd = -1

    def _coming(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.coming")


class Writing:
    """Writes the bundle of *manifest*, whose bytes and small members lie in the open file *spool*."""

    def __init__(self, layout: Layout, manifest: Manifest, data: bytes, spool: int) -> None:
        self._layout = layout
        self._manifest = manifest
        self._data = data
        self._spool = spool
        self._buffer = memoryview(bytearray(PIECE))

    def length(self, signature: bytes) -> int:
        """How many bytes the whole has."""
        return self._manifest.length(len(self._data), len(signature))

    @property
    def bundle(self) -> str:
        """What it is known by."""
        return identity(self._data)

    def write(self, sink: Sink, signature: bytes, advance: Callable[[int], None]) -> None:
        """Write all of it to *sink*; *advance* hears of bytes. Raises `StoreCorruptError` for bad blobs."""
        for name, data in ((MANIFEST, self._data), (SIGNATURE, signature)):
            if data:
                self._whole(sink, name, data, advance)
        at = len(self._data)
        for name, member in self._manifest.small():
            self._whole(sink, name, durable.read_all(self._spool, member.size, at), advance)
            at += member.size
        for blob in self._manifest.blobs:
            self._blob(sink, blob, advance)
        sink.write(bundletar.END)
        advance(len(bundletar.END))

    def _whole(self, sink: Sink, name: str, data: bytes, advance: Callable[[int], None]) -> None:
        sink.write(bundletar.header(name, len(data)))
        sink.write(data)
        sink.write(bytes(bundletar.padding(len(data))))
        advance(bundletar.room(len(data)))

    def _blob(self, sink: Sink, blob: Member, advance: Callable[[int], None]) -> None:
        named = Digest(SHA256, blob.hex)
        sink.write(bundletar.header(blob.blob, blob.size))
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._layout.blob(named), flags)
        except OSError as error:
            raise _bad(blob, f"it cannot be opened: {error.strerror}") from error
        try:
            with suppress(OSError):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            if os.fstat(fd).st_size != blob.size:
                raise _bad(blob, "it has another size")
            self._pieces(sink, blob, fd, advance)
        finally:
            os.close(fd)
        sink.write(bytes(bundletar.padding(blob.size)))
        advance(bundletar.room(blob.size) - blob.size)

    def _pieces(self, sink: Sink, blob: Member, fd: int, advance: Callable[[int], None]) -> None:
        named = Digest(SHA256, blob.hex)
        sums = Sums.read(self._layout.sums_of(named), named) if blob.size > PIECE else None
        # Without sums all of it is hashed, and the last piece goes out once that was right.
        whole = hashlib.sha256() if sums is None else None
        for start in range(0, blob.size, PIECE):
            size = min(PIECE, blob.size - start)
            data = self._buffer[:size]
            self._read(fd, start, data, blob)
            if whole is not None:
                whole.update(data)
                good = start + size < blob.size or whole.hexdigest() == blob.hex
            else:
                good = sums is not None and sums.matches(start // PIECE, data)
            if not good:
                raise _bad(blob, f"piece {start // PIECE} is not what it was")
            sink.send(fd, start, data)
            advance(size)

    def _read(self, fd: int, start: int, data: memoryview, blob: Member) -> None:
        got = 0
        while got < len(data):
            try:
                step = os.preadv(fd, [data[got:]], start + got)
            except OSError as error:
                raise _bad(blob, f"the disk cannot read it: {error.strerror}") from error
            if not step:
                raise _bad(blob, "it became shorter")
            got += step


def _new(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise durable.disk_error(error, f"{path} cannot be written") from error


def _bad(blob: Member, why: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"The stored blob {blob.hex} is damaged ({why}), so nothing was exported.",
        hint="Mend it: modelmirror verify --repair. Then export again.",
    )
