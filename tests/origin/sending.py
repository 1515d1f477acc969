"""How a reply reaches the socket: whole and fast, or spoiled the way a fault says.

Undisturbed spans of a file go out by ``sendfile``; whatever a fault touches goes through memory in
small blocks, so that the byte where it strikes is exact.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from tests.origin.faults import Fault
from tests.origin.log import Line
from tests.origin.wire import Reply, Request, Segment, Span, length_of

_block = 1 << 20
_fault_block = 16 << 10
_sendfile_block = 8 << 20
_sendfile_from = 256 << 10


class GoneError(Exception):
    """The connection has ended, by the client's will, a fault's or the server's stop."""


class Channel:
    """The sending side of one connection; ``gone`` is set when the client has left."""

    def __init__(self, writer: asyncio.StreamWriter, gone: asyncio.Event) -> None:
        self.writer = writer
        self.gone = gone

    async def send(self, data: bytes) -> None:
        """Hand ``data`` to the kernel."""
        if self.writer.transport.is_closing():
            raise GoneError
        self.writer.write(data)
        await self.writer.drain()

    async def send_file(self, span: Span, line: Line) -> None:
        """Hand a span of a file to the kernel without copying it, booking bytes on ``line``."""
        loop = asyncio.get_running_loop()
        with span.path.open("rb") as file:
            done = 0
            while done < span.length:
                if self.writer.transport.is_closing():
                    raise GoneError
                start = span.start + done
                count = min(_sendfile_block, span.length - done)
                try:
                    await loop.sendfile(self.writer.transport, file, start, count, fallback=False)
                finally:
                    # The position is moved past what was sent, also when the connection broke.
                    sent = max(0, os.lseek(file.fileno(), 0, os.SEEK_CUR) - start)
                    line.bytes_sent += sent
                done += sent
                if sent < count:
                    raise GoneError

    async def hold(self, seconds: float | None, line: Line) -> None:
        """Wait ``seconds`` (for ever if None), but no longer than the client does."""
        line.parked = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), seconds)
        line.parked = False
        if self.gone.is_set():
            raise GoneError

    async def finish(self) -> None:
        """Wait (2 s at most) until the peer has everything, so that a reset takes no byte back."""
        connection = self.writer.get_extra_info("socket")
        for _ in range(400):
            waiting = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
            if struct.unpack("i", waiting)[0] == 0 or self.gone.is_set():
                return
            await asyncio.sleep(0.005)

    def reset(self) -> None:
        """End the connection by RST."""
        connection = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent: the final head, the body, its framing, and the faults on the way."""

    status: int
    headers: dict[str, str]
    body: Sequence[Segment]
    chunked: bool
    spoil: Fault | None
    rate: float | None
    keep_alive: bool


def plan(request: Request, reply: Reply, faults: Sequence[Fault], *, keep_alive: bool) -> Plan:
    """Return how ``reply`` to ``request`` is to be sent under ``faults``."""
    headers = dict(reply.headers)
    length = length_of(reply.body)
    chunked = reply.chunked
    spoil: Fault | None = None
    rate: float | None = None
    for fault in faults:
        rate = fault.rate or rate
        if fault.action in {"etag", "weak-etag"}:
            _spoil_etags(headers, weak=fault.action == "weak-etag")
        elif fault.action == "headers":
            headers.update(fault.headers)
        elif fault.action == "bad-range":
            headers["Content-Range"] = _late(headers["Content-Range"])
        else:
            spoil = fault
            chunked = chunked or fault.action in {"chunked", "bad-chunk"}
    headers = {name: value for name, value in headers.items() if value}
    bodiless = reply.status in {204, 304} or 100 <= reply.status < 200
    if not chunked and not bodiless:
        headers.setdefault("Content-Length", str(length))
    if spoil is not None and spoil.action == "short-length":
        headers["Content-Length"] = str(spoil.offset(length))
        keep_alive = False
    if spoil is not None and spoil.action == "long-length":
        more = spoil.at if isinstance(spoil.at, int) else max(1, round(spoil.at * length))
        headers["Content-Length"] = str(length + more)
        keep_alive = False
    if chunked and request.method != "HEAD":
        headers["Transfer-Encoding"] = "chunked"
    headers.setdefault("Date", formatdate(usegmt=True))
    headers["Connection"] = "keep-alive" if keep_alive else "close"
    body = () if request.method == "HEAD" or bodiless else reply.body
    return Plan(reply.status, headers, body, chunked, spoil, rate, keep_alive)


def _spoil_etags(headers: dict[str, str], *, weak: bool) -> None:
    for name in ("ETag", "X-Linked-ETag"):
        if name in headers:
            value = headers[name]
            opaque = value.removeprefix("W/").strip('"')
            other = value if value.startswith("W/") else f"W/{value}"
            headers[name] = other if weak else f'"{opaque[::-1]}"'


def _late(content_range: str) -> str:
    unit, _, rest = content_range.partition(" ")
    span, _, total = rest.partition("/")
    first, _, last = span.partition("-")
    if not last:
        return content_range
    return f"{unit} {int(first) + 1}-{int(last) + 1}/{total}"


async def send(channel: Channel, what: Plan, line: Line) -> None:
    """Send one reply; GoneError when the connection did not survive it."""
    reason = HTTPStatus(what.status).phrase if what.status in list(HTTPStatus) else "Unknown"
    rows = "".join(f"{name}: {value}\r\n" for name, value in what.headers.items())
    head = f"HTTP/1.1 {what.status} {reason}\r\n{rows}\r\n".encode("utf-8", "surrogateescape")
    line.status = what.status
    if what.spoil is None and what.rate is None:
        await _send_plain(channel, what, line, head)
    else:
        await channel.send(head)
        await _send_spoiled(channel, what, line)


async def _send_plain(channel: Channel, what: Plan, line: Line, head: bytes) -> None:
    pending = head
    for piece in _pieces(what.body):
        if isinstance(piece, Span) and not what.chunked:
            if pending:
                await channel.send(pending)
                pending = b""
            await channel.send_file(piece, line)
            continue
        for block in [piece] if isinstance(piece, bytes) else _read(piece, _block):
            line.bytes_sent += len(block)
            await channel.send(pending + (_chunk(block) if what.chunked else block))
            pending = b""
    if what.chunked and "Transfer-Encoding" in what.headers:
        pending += b"0\r\n\r\n"
    if pending:
        await channel.send(pending)


async def _send_spoiled(channel: Channel, what: Plan, line: Line) -> None:
    spoil = what.spoil
    action = spoil.action if spoil else ""
    length = length_of(what.body)
    strike = spoil.offset(length) if spoil else -1
    if action == "flip":
        strike = min(strike, length - 1)
    size = _fault_block if what.rate is None else max(1, min(_fault_block, int(what.rate / 20)))
    at = 0
    for block in _blocks(what.body, size):
        data = block
        start = at
        at += len(block)
        if start <= strike < at or (strike == length == at):
            head, tail = data[: strike - start], data[strike - start :]
            if action == "flip":
                data = head + bytes([tail[0] ^ 0xFF]) + tail[1:]
            elif action in {"cut", "rst", "stall", "bad-chunk"}:
                await _emit(channel, what, line, head)
                await _strike(channel, spoil, line)
                data = tail
        await _emit(channel, what, line, data)
    if what.chunked:
        await channel.send(b"0\r\n\r\n")
    if action in {"short-length", "long-length"}:
        raise GoneError


async def _emit(channel: Channel, what: Plan, line: Line, data: bytes) -> None:
    if not data:
        return
    line.bytes_sent += len(data)
    await channel.send(_chunk(data) if what.chunked else data)
    if what.rate is not None:
        await channel.hold(len(data) / what.rate, line)


async def _strike(channel: Channel, spoil: Fault | None, line: Line) -> None:
    if spoil is None:
        return
    if spoil.action == "stall":
        await channel.hold(spoil.seconds, line)
        return
    if spoil.action == "bad-chunk":
        await channel.send(b"zz\r\n")
    await channel.finish()
    if spoil.action == "rst":
        channel.reset()
    raise GoneError


def _chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


def _pieces(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Join small segments into blocks of about a MiB, and leave long spans whole."""
    gathered = bytearray()
    for segment in segments:
        if isinstance(segment, Span) and segment.length >= _sendfile_from:
            if gathered:
                yield bytes(gathered)
                gathered.clear()
            yield segment
            continue
        for block in [segment] if isinstance(segment, bytes) else _read(segment, _block):
            gathered += block
            if len(gathered) >= _block:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)


def _blocks(segments: Sequence[Segment], size: int) -> Iterator[bytes]:
    """Return all bytes in blocks of at most ``size``."""
    for segment in segments:
        for block in [segment] if isinstance(segment, bytes) else _read(segment, _block):
            for start in range(0, len(block), size):
                yield block[start : start + size]


def _read(span: Span, size: int) -> Iterator[bytes]:
    with span.path.open("rb") as file:
        for start in range(span.start, span.start + span.length, size):
            count = min(size, span.start + span.length - start)
            yield os.pread(file.fileno(), count, start)
