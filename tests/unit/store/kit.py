"""A whole store in a folder, opened as the running program would, and residency on command."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from mirror.digest import Digest, sha256_of
from mirror.events import Alarm, Event
from mirror.store.blobs import DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partial, Partials
from mirror.store.residency import PAGE, Residency
from mirror.store.stored import DiskBlob
from mirror.store.sums import PIECE

ROOMY = 1 << 50


class ScriptedResidency:
    """Residency that a test decides: every page is in memory but those of the pieces in *absent*."""

    name = "scripted"

    def __init__(self, *, exact: bool = True) -> None:
        self.exact = exact
        self.absent: set[int] = set()
        self.asked = 0

    def resident(self, _fd: int, start: int, end: int) -> bool:
        """Answer from the script."""
        assert start % PAGE == 0
        self.asked += 1
        return not any(start < (piece + 1) * PIECE and piece * PIECE < end for piece in self.absent)


class Kit:
    """Layout, ledger, partials and store of one data folder."""

    def __init__(
        self,
        data: Path,
        *,
        quota: int | None = None,
        residency: Residency | None = None,
        capacity: int = 256,
        disk: int | None = ROOMY,
    ) -> None:
        self.residency = residency or ScriptedResidency()
        self.layout = Layout(data)
        self.layout.prepare()
        free = self.layout.free if disk is None else lambda: disk
        self.ledger = Ledger(quota, 0, self.layout.measure(), free)
        self.partials = Partials(self.layout, self.ledger, residency=self.residency)
        self.events: list[Event] = []
        self.store = DiskStore(
            self.layout,
            self.ledger,
            residency=self.residency,
            observe=self.events.append,
            capacity=capacity,
        )

    @property
    def alarms(self) -> list[Alarm]:
        """What the store raised the alarm about."""
        return [event for event in self.events if isinstance(event, Alarm)]

    def finished(self, data: bytes, expected: Digest | None = None) -> Partial:
        """A finished partial that holds *data*."""
        partial = self.partials.begin(expected or sha256_of(data), len(data))
        partial.append(data)
        partial.finish()
        return partial

    def fill(self, *blobs: bytes) -> Digest:
        """Publish blobs in one batch; returns the digest of the first."""
        partials = [self.finished(data) for data in blobs]
        stored = self.store.put(partials)
        for partial in partials:
            partial.close()
        return stored[0].digest

    def file(self, digest: Digest) -> Path:
        """Where the bytes of a blob are."""
        return self.layout.blob(digest)

    def fresh(self) -> DiskStore:
        """The same folder as a process that has just started sees it."""
        return DiskStore(
            self.layout, self.ledger, residency=self.residency, observe=self.events.append
        )

    def names(self) -> list[str]:
        """Every file of the store but the empty fan-out folders, as paths below the version folder."""
        return sorted(
            str(path.relative_to(self.layout.root))
            for path in self.layout.root.rglob("*")
            if not path.is_dir()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.close()
        self.partials.close()


def read(blob: DiskBlob, start: int = 0, end: int | None = None, *, step: int = 2 << 20) -> bytes:
    """Read a blob as the door does: send what is ready, load what is not."""
    end = blob.size if end is None else end
    got = bytearray()
    while start < end:
        ready = blob.ready(start, min(end, start + step))
        if ready == start:
            blob.load(start)
            continue
        got += os.pread(blob.fileno(), ready - start, start)
        start = ready
    return bytes(got)


def flip(path: Path, offset: int, *, quietly: bool = True) -> None:
    """Flip a bit of a stored file; *quietly* as a disk rots, without a trace in its status."""
    status = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    path.chmod(0o444)
    if quietly:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
