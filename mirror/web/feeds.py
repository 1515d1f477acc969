"""The blobs of one response: when each is opened, and how far ahead it will be read.

A response may interleave hundreds of literal bytes with spans of one blob (a Xet xorb has 8 bytes before
each 128 KiB chunk), or string together spans of many. Each blob is followed once, when its first byte is
due, and let go after its last: a bundle of a thousand blobs holds one descriptor at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from mirror.cache.keeper import Feed, Keeper
from mirror.credential import Credential
from mirror.digest import Digest
from mirror.errors import MirrorError
from mirror.messages import BlobRef, Segment

# Spans this close to each other are one run for the look-ahead: the disk would read across anyway.
_GAP: Final = 1 << 20

# Feeds of one response that the disk may fail before it is cut: one that fails again and again is left.
MAX_BROKEN: Final = 4


@dataclass(slots=True)
class Stretch:
    """Bytes *start* up to *end* of *blob*, to be sent as they stand.

    *horizon* is how far the run of spans goes that this one belongs to: bytes up to there will be
    wanted soon. *last* tells that nothing after it wants the blob.
    """

    blob: BlobRef
    start: int
    end: int
    horizon: int
    last: bool = False

    def __len__(self) -> int:
        return self.end - self.start


Part: TypeAlias = bytes | Stretch


def plan(segments: Sequence[Segment]) -> list[Part]:
    """Join what is adjacent, and mark for each stretch its horizon and whether it is its blob's last."""
    parts: list[Part] = []
    literals: list[bytes] = []
    for segment in segments:
        if not len(segment):
            continue
        if isinstance(segment, bytes):
            literals.append(segment)
            continue
        if literals:
            parts.append(b"".join(literals))
            literals = []
        before = parts[-1] if parts else None
        if (
            isinstance(before, Stretch)
            and before.end == segment.start
            and before.blob.digest == segment.blob.digest
        ):
            before.end = before.horizon = segment.end
        else:
            parts.append(Stretch(segment.blob, segment.start, segment.end, segment.end))
    if literals:
        parts.append(b"".join(literals))
    after: Stretch | None = None
    seen: set[Digest] = set()
    for part in reversed(parts):
        if isinstance(part, bytes):
            continue
        digest = part.blob.digest
        part.last = digest not in seen
        seen.add(digest)
        if (
            after is not None
            and after.blob.digest == digest
            and 0 <= after.start - part.end <= _GAP
        ):
            part.horizon = after.horizon
        after = part
    return parts


class Feeds:
    """The open feeds of one response; close it whatever happens."""

    __slots__ = ("_broken", "_credential", "_keeper", "_open", "changes", "whole")

    def __init__(self, keeper: Keeper, credential: Credential | None, *, whole: bool) -> None:
        self._keeper = keeper
        self._credential = credential
        self._open: dict[Digest, Feed] = {}
        self._broken: list[Feed] = []
        self.whole = whole
        self.changes = 0
        """How often a feed was opened, replaced or closed: while it stays, `get` gives what it gave."""

    def get(self, blob: BlobRef) -> Feed | None:
        """The feed of *blob*, if it is open."""
        return self._open.get(blob.digest)

    async def follow(self, blob: BlobRef) -> Feed:
        """Open the feed of *blob*; raises `MirrorError` when it cannot be had."""
        feed = self._open.get(blob.digest)
        if feed is None:
            feed = self._open[blob.digest] = await self._keeper.follow(blob, self._credential)
            self.changes += 1
        return feed

    async def until_ready(self, stretch: Stretch) -> Feed:
        """Wait until the first byte of *stretch* may leave: what fails before can still be worded."""
        feed = await self.follow(stretch.blob)
        if feed.ready(stretch.start, whole=self.whole) <= stretch.start:
            feed = await self.more(stretch.blob, stretch.start)
        return feed

    async def more(self, blob: BlobRef, offset: int) -> Feed:
        """Wait until the byte at *offset* of an open blob may leave; returns the feed that has it.

        It is another one than before when the disk failed the old one, which stays open: what was ready
        may still be on its way out. Raises `MirrorError` when the byte will never come.
        """
        while True:
            feed = self._open[blob.digest]
            try:
                await feed.more(offset, whole=self.whole)
            except MirrorError as error:
                if len(self._broken) >= MAX_BROKEN:
                    raise
                other = await self._keeper.resume(blob, self._credential, feed, error)
                self._broken.append(feed)
                self._open[blob.digest] = other
                self.changes += 1
            else:
                return feed

    def release(self, blob: BlobRef) -> None:
        """Close the feed of a blob that is not wanted again."""
        self.changes += 1
        feed = self._open.pop(blob.digest, None)
        if feed is not None:
            feed.close()

    def close(self) -> None:
        """Close every feed."""
        self.changes += 1
        while self._open:
            self._open.popitem()[1].close()
        while self._broken:
            self._broken.pop().close()
