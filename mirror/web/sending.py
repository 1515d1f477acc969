"""From an answer to bytes on the wire: the cheapest way that keeps its promises.

Three ways lead out. What is small and here goes as one write. What is larger goes by a pump, or by copy
where sendfile cannot reach. What upstream is still saying is relayed. Whatever fails before the head is
out can still be worded; after it, the connection is cut and never ended cleanly.
"""

import os
import socket
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from secrets import token_hex

from mirror.cache.keeper import Keeper
from mirror.messages import Answer, Relay, RequestHead, Segment
from mirror.web.body import compose
from mirror.web.copying import put, send_copied
from mirror.web.feeds import Feeds, Part, Stretch, plan
from mirror.web.heads import Heads
from mirror.web.lane import SMALL, Lane, Offer, Prepared
from mirror.web.pump import Pumps
from mirror.web.trace import Trace
from mirror.web.wire import Exchange


@dataclass(slots=True, eq=False)
class _Outgoing:
    """A response about to go out: its head is *lines*, and what all heads end with; the lane may keep it."""

    exchange: Exchange
    trace: Trace
    status: int
    lines: bytes
    offer: Offer | None = None


class Sender:
    """Sends answers.

    With *strict*, ranges of a cold blob wait for its digest as whole bodies do; *stall* is how long a
    client may take nothing, in seconds. The *lane* is shown what it may keep.
    """

    def __init__(
        self,
        keeper: Keeper,
        pumps: Pumps,
        heads: Heads,
        *,
        strict: bool,
        stall: float,
        lane: Lane,
    ) -> None:
        self._keeper = keeper
        self._pumps = pumps
        self._heads = heads
        self._strict = strict
        self._stall = stall
        self._lane = lane

    async def answer(
        self,
        exchange: Exchange,
        head: RequestHead,
        answer: Answer,
        extra: Sequence[tuple[str, str]],
        trace: Trace,
    ) -> None:
        """Send *answer* with the *extra* headers.

        Raises `MirrorError` while nothing was sent (``trace.status`` is 0 then), afterwards too when
        the rest will not come; `ConnectionError` when the client is gone.
        """
        sending = compose(
            answer, head.method, head.headers, strict=self._strict, boundary=_boundary
        )
        lines = self._heads.lines(
            sending.status, (*sending.headers, *extra, *_connection(exchange, trace))
        )
        # Only what would go out again as it is: nothing cut to a range, nor what ends its connection.
        out = _Outgoing(exchange, trace, sending.status, lines)
        if answer.terms and exchange.asked and trace.keep and sending.status == answer.status:
            told = replace(trace, status=sending.status)
            out.offer = Offer(exchange.asked, head, answer.terms, lines, told)
        data = _literal(sending.body)
        if data is not None and out.offer is not None:
            self._lane.keep(out.offer, data)
        if data is not None and len(data) <= SMALL:
            await self._write(out, data)
        else:
            feeds = Feeds(self._keeper, answer.credential, whole=sending.whole)
            await self._deliver(out, plan(sending.body), feeds)

    async def again(self, exchange: Exchange, kept: Prepared, trace: Trace) -> None:
        """Send what is *kept*; raises as `answer` does."""
        out = _Outgoing(exchange, trace, kept.trace.status, kept.top)
        if kept.size <= SMALL and kept.parts is None:
            await self._write(out, kept.body)
        else:
            parts = [kept.body] if kept.parts is None else kept.parts
            await self._deliver(out, parts, Feeds(self._keeper, None, whole=True))

    async def relay(
        self,
        exchange: Exchange,
        head: RequestHead,
        relay: Relay,
        extra: Sequence[tuple[str, str]],
        trace: Trace,
    ) -> None:
        """Pass *relay* on as it comes; raises what its chunks raise, and `EOFError` for a wrong size."""
        headers = [*relay.headers, *extra]
        bodiless = head.method == "HEAD" or relay.status in {204, 304}
        chunked = relay.size is None and not bodiless and not exchange.http10
        if relay.size is not None and relay.status not in {204, 304}:
            headers.append(("Content-Length", str(relay.size)))
        elif chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif not bodiless:
            trace.keep = False  # HTTP/1.0 without a length: the end of the connection is the end
        top = self._heads.write(relay.status, [*headers, *_connection(exchange, trace)])
        try:
            trace.status = relay.status
            await put(exchange, top, self._stall)
            if bodiless:
                return
            async for chunk in relay.chunks:
                if not chunk:
                    continue
                trace.size += len(chunk)
                if relay.size is not None and trace.size > relay.size:
                    raise EOFError("upstream sent more than it promised")
                await put(
                    exchange,
                    b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk,
                    self._stall,
                )
            if relay.size is not None and trace.size != relay.size:
                raise EOFError("upstream sent less than it promised")
            if chunked:
                await put(exchange, b"0\r\n\r\n", self._stall)
        finally:
            await _close(relay)

    async def _deliver(self, out: "_Outgoing", parts: Sequence[Part], feeds: Feeds) -> None:
        """Send *parts*, at once where they are small and here."""
        stretches = [part for part in parts if isinstance(part, Stretch)]
        try:
            if stretches:
                await feeds.until_ready(stretches[0])
                for blob in {part.blob.digest: part.blob for part in stretches}.values():
                    self._keeper.touch(blob.digest)
            if out.offer is not None and all(isinstance(part, Stretch) for part in parts):
                # Read from their blobs each time: bytes kept in memory would hide that a blob rots.
                self._lane.keep(out.offer, parts=parts)
            if sum(map(len, parts)) <= SMALL and (data := _gather(parts, feeds)) is not None:
                await self._write(out, data)
                return
            await self._pour(out, parts, feeds)
        finally:
            feeds.close()

    async def _write(self, out: "_Outgoing", data: bytes) -> None:
        self._pumps.note_small()
        out.trace.status = out.status
        out.trace.size = len(data)
        await put(out.exchange, out.lines + self._heads.common() + data, self._stall)

    async def _pour(self, out: "_Outgoing", body: Sequence[Part], feeds: Feeds) -> None:
        exchange, trace, top = out.exchange, out.trace, out.lines + self._heads.common()
        await exchange.flush()
        transport = exchange.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client hung up")
        trace.status = out.status
        trace.size = -len(top)
        parts: list[Part] = [top, *body]
        raw = transport.get_extra_info("socket")
        if exchange.secure or raw is None or raw.family not in {socket.AF_INET, socket.AF_INET6}:
            await send_copied(exchange, parts, feeds, trace, stall=self._stall)
        else:
            await self._pumps.send(transport, parts, feeds, trace)


def _boundary() -> str:
    return token_hex(16)


def _literal(body: Sequence[Segment]) -> bytes | None:
    """Join a body that needs no blob; an empty span needs none."""
    pieces = [segment for segment in body if isinstance(segment, bytes)]
    if len(pieces) == len(body) or all(isinstance(s, bytes) or not len(s) for s in body):
        return b"".join(pieces)
    return None


def _gather(parts: Sequence[Part], feeds: Feeds) -> bytes | None:
    """Read a small body whole, if all of it may leave at once."""
    pieces: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            pieces.append(part)
            continue
        feed = feeds.get(part.blob)
        if feed is None or feed.ready(part.start, whole=feeds.whole) < part.end:
            return None
        piece = os.pread(feed.fileno(), part.end - part.start, part.start)
        if len(piece) < part.end - part.start:
            raise EOFError("a stored blob is shorter than its size")
        pieces.append(piece)
    return b"".join(pieces)


def _connection(exchange: Exchange, trace: Trace) -> tuple[tuple[str, str], ...]:
    if not trace.keep:
        return (("Connection", "close"),)
    return (("Connection", "keep-alive"),) if exchange.http10 else ()


async def _close(relay: Relay) -> None:
    """Let go of upstream at once when the body was not read to its end."""
    if hasattr(relay.chunks, "aclose"):
        async with aclosing(relay.chunks):  # type: ignore[type-var]
            pass
