"""Sending by copy, for connections that sendfile cannot reach: TLS, and anything that is no TCP socket.

256 KiB at a time through the transport: with TLS that is cheaper than a front server's own 16 KiB
records, and 200 slow clients hold 200 such pieces at most.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Final

from mirror.web.feeds import Feeds, Part
from mirror.web.trace import Trace
from mirror.web.wire import Exchange

CHUNK: Final = 256 << 10


async def send_copied(
    exchange: Exchange, parts: Sequence[Part], feeds: Feeds, trace: Trace, *, stall: float
) -> None:
    """Send *parts* through the transport, counting their bytes into *trace*.

    *stall* is how long a client may take nothing, in seconds.
    Raises `ConnectionError` when the client is gone or takes nothing, and `MirrorError` when the bytes
    will not come.
    """
    for part in parts:
        if isinstance(part, bytes):
            for start in range(0, len(part), CHUNK):
                piece = part[start : start + CHUNK]
                trace.size += len(piece)
                await put(exchange, piece, stall)
            continue
        feed = await feeds.until_ready(part)
        offset = part.start
        while offset < part.end:
            limit = min(part.end, feed.ready(offset, whole=feeds.whole))
            if limit <= offset:
                feed = await feeds.more(part.blob, offset)
                continue
            data = os.pread(feed.fileno(), min(CHUNK, limit - offset), offset)
            if not data:
                msg = "a stored blob is shorter than its size"
                raise EOFError(msg)
            offset += len(data)
            trace.size += len(data)
            await put(exchange, data, stall)
        if part.last:
            feeds.release(part.blob)


async def put(exchange: Exchange, data: bytes, stall: float) -> None:
    """Write *data* and wait until the transport can take more; raises `ConnectionError`."""
    exchange.write(data)
    if exchange.congested:
        try:
            async with asyncio.timeout(stall):
                await exchange.drain()
        except TimeoutError:
            raise ConnectionAbortedError("the client takes nothing") from None
