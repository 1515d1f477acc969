"""Reading a blob: one that is stored, or one that is still being written.

Everyone reads the same file at their own pace, by sendfile from a descriptor, so a slow reader holds up
nobody and memory stays flat. A stored blob's pieces go out only while they are known to be what was
published; a growing one's only up to where the fill has written, and its end only once its digest matched.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, Protocol

from mirror.errors import MirrorError
from mirror.store.blobs import StoredBlob
from mirror.store.partial import Partial

# What a response that promises the blob's end holds back until the digest matches (design: 64 KiB). A
# client that lost it can tell: its Content-Length was never reached.
WITHHELD: Final = 64 << 10

# How far one look at the page cache reaches. A reader looks before each step that it sends, of up to 2 MiB,
# and asks for more with less than 512 KiB ahead; the rest of a look is for nothing, at 5 us per MiB.
LOOK_AHEAD: Final = 5 << 19


class StoredFeed:
    """The bytes of a stored blob, each piece checked once per residency.

    *stored* is an open reader of the blob, *disk* the pool for reads that may block, *corrupt* is told
    when a piece is not what was published.
    """

    def __init__(
        self, stored: StoredBlob, disk: Executor, corrupt: Callable[[MirrorError], None]
    ) -> None:
        self._stored = stored
        self._disk = disk
        self._corrupt = corrupt
        self._closed = False

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        return self._stored.size

    def fileno(self) -> int:
        """The blob's descriptor, shared by all its readers."""
        return self._stored.fileno()

    def ready(self, offset: int, *, whole: bool) -> int:  # noqa: ARG002 -- the digest matched long ago
        """The end of the checked, resident bytes from *offset*."""
        return self._stored.ready(offset, offset + LOOK_AHEAD)

    async def more(self, offset: int, *, whole: bool) -> None:  # noqa: ARG002
        """Read and check the piece at *offset* in the disk pool; raises `StoreCorruptError`."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._stored.load, offset)
        except MirrorError as error:
            self._corrupt(error)
            raise

    def close(self) -> None:
        """Let go of the blob; may be called twice."""
        if not self._closed:
            self._closed = True
            self._stored.close()


class Growth(Protocol):
    """What a growing feed may know of the fill it follows."""

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        ...

    @property
    def bound(self) -> int:
        """No byte from here on may be read: lower than the size while bytes are being replaced."""
        ...

    @property
    def verified(self) -> bool:
        """Whether the whole blob is there and its digest matched."""
        ...

    @property
    def error(self) -> MirrorError | None:
        """Why the fill ended without a blob."""
        ...

    def subscribe(self, waiter: asyncio.Future[None]) -> None:
        """Have *waiter* resolved at the next change of any of the above."""
        ...

    def want(self, offset: int, *, whole: bool) -> None:
        """Say that a reader waits for the byte at *offset*."""
        ...

    def leave(self, feed: "GrowingFeed") -> None:
        """Say that one reader is gone."""
        ...


class GrowingFeed:
    """The bytes of a blob on its way in.

    *partial* is the file; its descriptor stays valid after the blob is published, because publishing
    renames the file and does not replace it. *disk* is the pool for reads that may block. With *strict*
    nothing leaves before the digest matched.
    """

    def __init__(self, growth: Growth, partial: Partial, disk: Executor, *, strict: bool) -> None:
        self._growth = growth
        self._partial = partial
        self._disk = disk
        self._strict = strict
        self._closed = False
        self._wished: tuple[int, bool] | None = None
        self._given = 0  # how far its reader was ever let
        self._error: MirrorError | None = None

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        return self._growth.size

    def fileno(self) -> int:
        """The descriptor of the growing file, shared by all its readers."""
        return self._partial.fileno()

    def ready(self, offset: int, *, whole: bool) -> int:
        """The end of the bytes from *offset* that may leave now."""
        limit = self._limit(whole=whole)
        if limit <= offset:
            return offset
        end = self._partial.ready(offset, limit)
        self._given = max(self._given, end)
        return end

    async def more(self, offset: int, *, whole: bool) -> None:
        """Wait until bytes beyond *offset* may leave; raises why they never will."""
        loop = asyncio.get_running_loop()
        while self.ready(offset, whole=whole) <= offset:
            error = self._error or self._growth.error
            if error is not None:
                raise error
            if self._limit(whole=whole) > offset and self._partial.end_at(offset) > offset:
                # Received, and out of memory since: a slow reader far behind.
                await loop.run_in_executor(self._disk, self._partial.load, offset)
                continue
            if self._wished != (offset, whole):
                self._wished = (offset, whole)
                self._growth.want(offset, whole=whole)
            waiter: asyncio.Future[None] = loop.create_future()
            self._growth.subscribe(waiter)
            await waiter

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if not self._closed:
            self._closed = True
            self._growth.leave(self)

    def holds(self, end: int) -> bool:
        """Whether the file has every byte before *end*."""
        return end <= self._partial.end_at(0)

    def rewound(self, keep: int, error: MirrorError) -> None:
        """From byte *keep* on others will come: a reader that may have sent those before is cut."""
        if self._given > keep and self._error is None:
            self._error = error

    def _limit(self, *, whole: bool) -> int:
        """How far bytes are known to be what they should be, as far as that is asked."""
        growth = self._growth
        if self._error is not None:
            return 0
        if growth.verified:
            return growth.size
        if growth.error is not None or self._strict:
            return 0
        return min(growth.bound, growth.size - WITHHELD) if whole else growth.bound
