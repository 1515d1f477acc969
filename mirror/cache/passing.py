"""The feed of a reader whose blob the store cannot take: straight from upstream, through a window.

A disk that fills up or fails under a fill must not cut those who read along. Each of them goes on from
the byte it has reached, on a connection of its own, and nothing is kept. What is promised stays: a
response that promised the blob's end gets its last bytes only once the digest of all of it matched.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

from mirror.cache.feed import WITHHELD
from mirror.cache.flights import Flights
from mirror.digest import Hasher
from mirror.errors import (
    DigestMismatchError,
    MirrorError,
    StoreError,
    TruncatedBodyError,
    UpstreamRefusedError,
)
from mirror.messages import BlobRef
from mirror.store.window import Window
from mirror.upstream.contract import Stream

# How far upstream is read ahead of the reader, in bytes: more than what is withheld, so that the digest
# is known before the reader wants the last bytes.
AHEAD: Final = 1 << 20

# How much stays behind what the reader asked for last: it asks while it still sends what is before.
BEHIND: Final = 2 << 20

# A reader that far ahead of what came is waited for; farther, upstream is asked anew from there.
NEAR: Final = 8 << 20

Open: TypeAlias = Callable[[int], AbstractAsyncContextManager[Stream]]
Prefix: TypeAlias = Callable[[Hasher, int], Awaitable[bool]]


class PassingFeed:
    """The bytes of *blob* as upstream sends them, for one reader in order.

    *open_at* asks upstream for the blob from an offset on; *prefix* hashes what the reader has been sent
    before an offset, or returns `False` where it cannot, and then upstream sends it once more;
    *flights* own the task that receives.
    """

    def __init__(
        self, blob: BlobRef, open_at: Open, prefix: Prefix, flights: Flights[object, None]
    ) -> None:
        self._blob = blob
        self._open_at = open_at
        self._prefix = prefix
        self._flights = flights
        self._window = Window()
        self._task: asyncio.Task[None] | None = None
        self._whole = False
        self._start = 0
        self._end = 0
        self._asked = 0
        self._verified = False
        self._error: MirrorError | None = None
        self._moved = asyncio.Event()  # bytes came, or the end
        self._room = asyncio.Event()  # the reader went on

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        return self._blob.size

    def fileno(self) -> int:
        """The window's descriptor."""
        return self._window.fileno()

    def ready(self, offset: int, *, whole: bool) -> int:
        """The end of the bytes from *offset* that may leave now."""
        if self._task is None or not self._start <= offset <= self._end:
            return offset
        if offset > self._asked:
            self._asked = offset
            self._window.forget(offset - BEHIND)
            self._room.set()
        whole = whole and not self._verified
        return max(offset, min(self._end, self.size - WITHHELD) if whole else self._end)

    async def more(self, offset: int, *, whole: bool) -> None:
        """Wait until bytes beyond *offset* may leave; raises why they never will."""
        near = max(self._start, self._asked - BEHIND) <= offset <= self._end + NEAR
        if self._task is None or not near or (whole and not self._whole):
            await self._begin(offset, whole=whole)
        while self.ready(offset, whole=whole) <= offset:
            if self._error is not None:
                raise self._error
            self._asked = max(self._asked, min(offset, self._end))
            self._room.set()
            self._moved.clear()
            await self._moved.wait()

    def close(self) -> None:
        """Hang up and let go of the window; may be called twice."""
        if self._task is not None:
            self._task.cancel()
        self._window.close()

    async def _begin(self, offset: int, *, whole: bool) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._window.clear()
        self._start = self._end = self._asked = offset
        self._whole, self._verified, self._error = whole, False, None
        self._task, _ = self._flights.launch(object(), self._receive)

    async def _receive(self) -> None:
        try:
            await self._pass()
        except MirrorError as error:
            self._error = error
        except OSError as error:
            self._error = StoreError(f"A file could not be passed through: {error.strerror}.")
        except Exception as error:  # noqa: BLE001 -- whatever it is, the reader waits for its end
            why = type(error).__name__
            self._error = StoreError(f"A file could not be passed through: {why}.")
        finally:
            self._moved.set()

    async def _pass(self) -> None:
        blob, at = self._blob, self._start
        hasher = Hasher(blob.size, blob.digest, blob.checks)
        if self._whole and not await self._prefix(hasher, at):
            hasher, at = Hasher(blob.size, blob.digest, blob.checks), 0
        async with self._open_at(at) as stream:
            _check(stream, at, blob.size)
            async for chunk in stream.chunks():
                if self._whole:
                    hasher.update(chunk)
                at += len(chunk)
                if at > self._start:
                    fresh = chunk[max(0, self._start - (at - len(chunk))) :]
                    self._window.write(at - len(fresh), fresh)
                    self._end = at
                    self._moved.set()
                while self._end - self._asked >= AHEAD:
                    self._room.clear()
                    await self._room.wait()
        if at != blob.size:
            raise TruncatedBodyError("Upstream broke off.", expected=blob.size, got=at)
        if self._whole:
            got = hasher.differs()
            if got is not None:
                raise DigestMismatchError(
                    f"The bytes that came for {blob.digest} are others.",
                    expected=blob.digest,
                    got=got,
                )
            self._verified = True


def _check(stream: Stream, at: int, size: int) -> None:
    """See that upstream sends bytes *at* up to *size*, and nothing else."""
    place = stream.headers.get("content-range", "")
    right = stream.status == (206 if at else 200) and stream.size == size - at
    if not right or (at and place != f"bytes {at}-{size - 1}/{size}"):
        raise UpstreamRefusedError(
            f"Upstream answered {stream.status} where bytes {at} to {size} of a file were wanted.",
            status=stream.status if stream.status >= 400 else 502,
            headers={},
        )
