"""The scrub: everything that is stored is read again within a period, whether or not anybody wants it.

Reads are checked when they happen, but a blob that nobody has read for a year may have rotted for as long,
and by then upstream may have it no longer. So pieces are read in the order of their digests, at the pace
that the period asks for, with at most a tenth of the time: a spinning disk is slow for everybody else
while it seeks for us. How far it is survives a restart.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mirror.clock import Clock
from mirror.digest import SHA256, Digest
from mirror.errors import StoreCorruptError
from mirror.events import Observer, Scrubbed
from mirror.store import durable
from mirror.store.blobs import Blob, DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.sums import PIECE

# Bytes between two pauses: 10 ms of a core, and one seek of a spinning disk in ten is ours.
STEP: Final = 8 << 20

# The share of the time that reading takes, at most.
DUTY: Final = 0.1

# No pause is longer, in seconds, so that a store that grows is not met with the pace of an empty one.
PAUSE: Final = 600.0

# How often the position is written down, in seconds: what a crash may cost is read again.
SAVE_EVERY: Final = 300.0

# What opening a blob costs, as bytes: a step over a thousand small files is no smaller than one over a large.
_OPENING: Final = 64 << 10


@dataclass(slots=True)
class Position:
    """Where the scrub is: *offset* bytes into the blob *name* (hexadecimal), those before it done."""

    name: str = ""
    offset: int = 0

    @classmethod
    def read(cls, path: Path) -> "Position":
        """Read it back; the beginning where there is none that can be read."""
        try:
            fields = json.loads(path.read_bytes())
            name, offset = fields["name"], fields["offset"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return cls()
        sound = isinstance(name, str) and isinstance(offset, int) and offset >= 0
        hexadecimal = sound and not name.strip("0123456789abcdef")
        return cls(name, offset // PIECE * PIECE) if hexadecimal else cls()

    def encode(self) -> bytes:
        """The file's content."""
        return json.dumps({"name": self.name, "offset": self.offset}).encode("ascii") + b"\n"


class Scrub:
    """Reads *store* again, once every *period* seconds; a job of `mirror.upkeep.house.House`.

    *ledger* tells how much there is to read; *observe* hears how much was. What is damaged the store itself
    sets aside and raises the alarm about.
    """

    def __init__(
        self,
        store: DiskStore,
        layout: Layout,
        ledger: Ledger,
        period: float,
        clock: Clock,
        observe: Observer,
    ) -> None:
        self._store = store
        self._layout = layout
        self._ledger = ledger
        self._period = period
        self._clock = clock
        self._observe = observe
        self._at: Position | None = None
        self._saved = clock.monotonic()
        self._ahead: Iterator[Blob] = iter(())
        self._ended: float | None = None
        self._took = 0.0
        self._size = 0

    def step(self) -> float:
        """Read some of what is next; returns after how many seconds to go on. Blocks on the disk."""
        if self._at is None:
            self._at = Position.read(self._layout.scrub)
            self._ahead = self._store.walk(self._at.name)
        began = self._clock.monotonic()
        if began < self._due():
            return min(self._due() - began, PAUSE)
        size, damaged = self._read(self._at)
        now = self._clock.monotonic()
        if size or damaged:
            self._observe(Scrubbed(size, damaged))
        if now - self._saved >= SAVE_EVERY:
            self.save()
        self._ended, self._took, self._size = now, now - began, size
        return min(self._due() - now, PAUSE)

    def save(self) -> None:
        """Write the position down. Raises `StoreError`."""
        self._saved = self._clock.monotonic()
        if self._at is not None:
            durable.write(self._layout.temporary(), self._layout.scrub, self._at.encode())

    def _due(self) -> float:
        """When to read on: at the pace of the period, and after nine times as long as the last step took.

        Reckoned anew each time, so that a store that has grown meanwhile is read at its own pace.
        """
        if self._ended is None:
            return self._saved
        pace = self._period * max(self._size, 1) / max(self._ledger.used, 1) - self._took
        return self._ended + max(pace, self._took * (1 / DUTY - 1))

    def _read(self, at: Position) -> tuple[int, int]:
        """Read up to `STEP` bytes from *at* on, moving it; returns bytes read and blobs found damaged."""
        size = damaged = cost = 0
        while cost < STEP:
            digest = self._current(at)
            if digest is None:
                at.name, at.offset = "", 0  # the end: the next step begins anew
                self._ahead = self._store.walk()
                break
            try:
                read = self._read_blob(digest, at, STEP - cost)
            except StoreCorruptError:
                damaged, read = damaged + 1, 0
                at.name, at.offset = digest.hex, 0
            size, cost = size + read, cost + read + _OPENING
        return size, damaged

    def _current(self, at: Position) -> Digest | None:
        """The blob to go on with: the one half read, else the first beyond the position."""
        if at.offset:
            return Digest(SHA256, at.name)
        return next((blob.digest for blob in self._ahead), None)

    def _read_blob(self, digest: Digest, at: Position, most: int) -> int:
        blob = self._store.open(digest)
        if blob is None:  # evicted or set aside meanwhile
            at.name, at.offset = digest.hex, 0
            return 0
        start = offset = at.offset
        try:
            while offset < blob.size and offset - start < most:
                offset = blob.reread(offset)
        finally:
            blob.close()
        done = offset >= blob.size
        at.name, at.offset = digest.hex, 0 if done else offset
        return offset - start
