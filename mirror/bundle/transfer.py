"""One file from the mirror onto the disk: resumed where it broke off, held against what is known of it.

Bytes gather in a file of the working folder that is named by what they are of, so that a later run goes on
where this one was killed. What was there before is hashed again; nothing gets its name before it is whole,
checked and, by `mirror.bundle.placing`, on the disk.
"""

import base64
import binascii
import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Final

from mirror.bundle.endpoint import PAUSES, BrokenError, Endpoint, Head
from mirror.bundle.plan import File
from mirror.digest import SHA256, SHA256_PREFIX, Check, Digest, Hasher
from mirror.errors import MirrorError
from mirror.store import durable

# Tries that bring nothing before a file is given up; each that brings bytes starts the count anew.
MOST_BARREN: Final = len(PAUSES) + 1
# Seconds that the digest of what nobody publishes one of is waited for, and between two looks.
_PATIENCE: Final = 2.0
_LOOK_EVERY: Final = 0.1
_PIECE: Final = 1 << 20
_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
# RFC 9530 §3.
_REPR_DIGEST: Final = re.compile(r"(?:\A|,)\s*sha-256=:([A-Za-z0-9+/=]+):")


class StoppedError(MirrorError):
    """Whoever asked for it wants it no longer."""


@dataclass(frozen=True, slots=True)
class Came:
    """What has come: a whole, checked file at *path* in the working folder, not yet under its name."""

    path: Path
    sha256: str
    size: int
    etag: str


class Transfer:
    """Brings files from *endpoint* into *folder*, each call on the thread of its caller.

    *advance* hears of bytes as they come, of each once. *stop* ends all calls.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        folder: Path,
        *,
        advance: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self._endpoint = endpoint
        self._folder = folder
        self._advance = advance
        self._stop = stop

    def look(self, file: File) -> File:
        """*file* with what its head tells of it, where that is not known yet.

        Raises `MirrorError` for what the mirror refuses.
        """
        if file.etag:
            return file
        head = self._endpoint.head(file.source, restricted=file.restricted)
        digest = file.digest or told_digest(head)
        if digest is None and file.proven and _HEX.match(head.etag):
            digest = Digest(SHA256, head.etag)
        size = head.size if file.size is None else file.size
        return replace(file, etag=head.etag, size=size, digest=digest)

    def confirm(self, file: File, came: Came) -> None:
        """Hold *came* against the digest that the mirror knows now, where nobody publishes one.

        It knows it a moment after its client has the last byte. Raises `MirrorError`.
        """
        if file.digest is not None:
            return
        for _ in range(round(_PATIENCE / _LOOK_EVERY)):
            told = told_digest(self._endpoint.head(file.source, restricted=file.restricted))
            if told is not None and told.hex != came.sha256:
                durable.remove(came.path)
                raise _wrong(file, f"sha256:{came.sha256} instead of {told}")
            if told is not None or self._stop.wait(_LOOK_EVERY):
                return

    def bring(self, file: File, key: str) -> Came:
        """Fetch *file*, whose head is known, whole. Raises `MirrorError`; what came is kept if it helps.

        *key* says where it goes: one call at a time may be under way for each.
        """
        words = f"{file.source}\0{file.etag}\0{key}"
        path = self._folder / hashlib.sha256(words.encode()).hexdigest()[:32]
        meter, barren = _Meter(self._advance), 0
        while True:
            before = _length(path)
            try:
                return self._once(file, path, meter)
            except BrokenError:
                barren = 0 if _length(path) > before else barren + 1
                if barren >= MOST_BARREN:
                    raise
                if self._stop.wait(PAUSES[barren - 1] if barren else 0):
                    raise StoppedError("Stopped.") from None

    def _once(self, file: File, path: Path, meter: "_Meter") -> Came:
        """One answer of the mirror, from where *path* ends."""
        try:
            with path.open("r+b" if path.exists() else "w+b", buffering=0) as opened:
                taken = _Taken(file, meter)
                while file.etag and (chunk := opened.read(_PIECE)):
                    taken.take(chunk)
                if file.size is not None and taken.size > file.size:
                    taken = _Taken(file, meter)
                if taken.size == 0 or taken.size != file.size:
                    taken = self._receive(file, opened, taken)
                sha256 = taken.check(file, path)
        except OSError as error:
            raise durable.disk_error(error, f"{path} cannot be written") from error
        return Came(path, sha256, taken.size, file.etag)

    def _receive(self, file: File, opened: FileIO, taken: "_Taken") -> "_Taken":
        start = taken.size
        with self._endpoint.file(
            file.source, start=start, etag=file.etag, restricted=file.restricted
        ) as body:
            if body.head.status != 206:
                taken, start = _Taken(file, taken.meter), 0
            opened.seek(start)
            opened.truncate(start)
            for chunk in body.chunks():
                if self._stop.is_set():
                    raise StoppedError("Stopped.")
                taken.take(chunk)
                _write(opened, chunk)
        return taken


class _Meter:
    """Tells *advance* of each byte once, however often it has to come."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._reached = 0

    def reach(self, size: int) -> None:
        if size > self._reached:
            self._advance(size - self._reached)
            self._reached = size


class _Taken:
    """What has been taken of a file so far."""

    def __init__(self, file: File, meter: "_Meter | None" = None) -> None:
        self.size = 0
        self.meter = meter
        checks = (Check(SHA256_PREFIX, file.prefix),) if file.prefix else ()
        # git's header has the length of the whole, which is known for every file with such a digest.
        self._hasher = Hasher(file.size or 0, file.digest, checks)

    def take(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self.size += len(chunk)
        if self.meter is not None:
            self.meter.reach(self.size)

    @property
    def sha256(self) -> str:
        """Of what was taken, in hex."""
        return self._hasher.digest().hex

    def right(self, file: File) -> bool:
        """Whether what was taken is all of *file*, as far as is known."""
        return self.size == file.size and self._hasher.differs() is None

    def check(self, file: File, path: Path) -> str:
        """The sha256 of what was taken, if it is what it should be; else the file goes and this raises."""
        sha256, wrong = self._hasher.digest(), self._hasher.differs()
        if file.size is not None and self.size != file.size:
            said = f"{self.size} bytes long instead of {file.size}"
        elif wrong is not None:
            said = f"{wrong} instead of {file.digest or f'sha256:{file.prefix}…'}"
        else:
            return sha256.hex
        durable.remove(path)
        raise _wrong(file, said)


def _wrong(file: File, said: str) -> MirrorError:
    return MirrorError(
        f"What came for {file.source} is {said}. Nothing of it was kept.",
        hint="Try again; if it stays so, check the mirror's store with `modelmirror verify --data`.",
    )


def told_digest(head: Head) -> Digest | None:
    """The sha256 that an answer tells of the whole file (``Repr-Digest``, RFC 9530)."""
    found = _REPR_DIGEST.search(head.headers.get("repr-digest", ""))
    if found is None:
        return None
    try:
        return Digest(SHA256, base64.b64decode(found[1], validate=True).hex())
    except (binascii.Error, ValueError):
        return None


def sha256_if_right(path: Path, file: File) -> str:
    """The sha256 in hex of what lies at *path*, if it is *file* as far as is known, else ``""``.

    Raises `OSError`.
    """
    taken = _Taken(file)
    with path.open("rb", buffering=0) as opened:
        while chunk := opened.read(_PIECE):
            taken.take(chunk)
    return taken.sha256 if taken.right(file) else ""


def _length(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _write(opened: FileIO, chunk: bytes) -> None:
    """Write all of *chunk*: a raw file may take less than it is given."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[opened.write(rest) or 0 :]
