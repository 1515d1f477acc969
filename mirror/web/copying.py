"""Sending by copy, for connections that sendfile cannot reach: TLS, and anything that is no TCP socket.

256 KiB at a time through the transport: with TLS that is cheaper than a front server's own 16 KiB
records, and 200 slow clients hold 200 such pieces at most. Who takes one within 10 ms is sent larger ones:
at twice the size the calls around it cost half as much, and a machine can only have few clients that fast.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Final

from mirror.web.feeds import Feeds, Part, Stretch
from mirror.web.trace import Trace
from mirror.web.wire import Exchange

CHUNK: Final = 256 << 10
# The largest piece, and how soon one must be taken for the next to be twice as large, in seconds.
LARGE: Final = 512 << 10
QUICK: Final = 0.01
# What a client that takes everything at once gets before others have their turn: 0.8 ms of encryption.
TURN: Final = 1 << 20


async def send_copied(
    exchange: Exchange, parts: Sequence[Part], feeds: Feeds, trace: Trace, *, stall: float
) -> None:
    """Send *parts* through the transport, counting their bytes into *trace*.

    *stall* is how long a client may take nothing, in seconds.
    Raises `ConnectionError` when the client is gone or takes nothing, and `MirrorError` when the bytes
    will not come.
    """
    copying = _Copying(exchange, trace, stall)
    try:
        for part in parts:
            if isinstance(part, bytes):
                for start in range(0, len(part), CHUNK):
                    if copying.write(part[start : start + CHUNK]):
                        await copying.pause()
            else:
                await _send_stretch(part, feeds, copying)
    finally:
        copying.close()


async def _send_stretch(part: Stretch, feeds: Feeds, copying: "_Copying") -> None:
    feed = await feeds.until_ready(part)
    offset, limit = part.start, 0  # what may leave, as asked in this turn of the loop
    while offset < part.end:
        if limit <= offset:
            limit = min(part.end, feed.ready(offset, whole=feeds.whole))
            if limit <= offset:
                feed = await feeds.more(part.blob, offset)
                continue
        data = os.pread(feed.fileno(), min(copying.chunk, limit - offset), offset)
        if not data:
            msg = "a stored blob is shorter than its size"
            raise EOFError(msg)
        offset += len(data)
        if copying.write(data):
            await copying.pause()
            limit = 0
    if part.last:
        feeds.release(part.blob)


class _Copying:
    """One response on its way by copy: whose turn it is, and how long the client has taken nothing.

    One timer serves the whole response; one per piece would cost a tenth of what encrypting it does.
    """

    def __init__(self, exchange: Exchange, trace: Trace, stall: float) -> None:
        self._exchange = exchange
        self._trace = trace
        self._stall = stall
        self.chunk = CHUNK
        self._left = TURN
        self._loop = asyncio.get_running_loop()
        self._waits_since: float | None = None
        self._late = False
        self._watch = self._loop.call_later(stall / 4, self._look)

    def write(self, data: bytes) -> bool:
        """Write *data*, and tell whether to `pause` before there is more. Raises `ConnectionError`."""
        self._trace.size += len(data)
        self._exchange.write(data)
        self._left -= len(data)
        return self._left <= 0 or self._exchange.congested

    async def pause(self) -> None:
        """Wait until the transport can take more, and others had their turn. Raises `ConnectionError`."""
        self._left = TURN
        if not self._exchange.congested:
            self.chunk = min(2 * self.chunk, LARGE)
            await asyncio.sleep(0)
            return
        since = self._waits_since = self._loop.time()
        try:
            await self._exchange.drain()
        except ConnectionError:
            if self._late:
                raise ConnectionAbortedError(self._trace.cut) from None
            raise
        finally:
            self._waits_since = None
        quick = self._loop.time() - since < QUICK
        self.chunk = min(2 * self.chunk, LARGE) if quick else CHUNK

    def close(self) -> None:
        """End the watch."""
        self._watch.cancel()

    def _look(self) -> None:
        """Cut the response if the client has taken nothing for too long."""
        since = self._waits_since
        if since is not None and self._loop.time() - since >= self._stall:
            self._late = True
            self._trace.cut = "the client takes nothing"
            self._exchange.cut()  # which ends the wait
        else:
            self._watch = self._loop.call_later(self._stall / 4, self._look)


async def put(exchange: Exchange, data: bytes, stall: float) -> None:
    """Write *data* and wait until the transport can take more; raises `ConnectionError`."""
    exchange.write(data)
    if exchange.congested:
        try:
            async with asyncio.timeout(stall):
                await exchange.drain()
        except TimeoutError:
            raise ConnectionAbortedError("the client takes nothing") from None
