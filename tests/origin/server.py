"""A small HTTP/1.1 server that can also misbehave.

It is written by hand because its subject is the wire itself: raw request targets, exact byte
counts, a ``Content-Length`` that lies, a reset in the middle of a body. A framework forbids most of
that, and the one that the mirror is built on would hide its own bugs from a test that used it on
both sides.
"""

import asyncio
import socket
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.origin.faults import Faults
from tests.origin.log import Line, Log
from tests.origin.sending import Channel, GoneError, plan, send
from tests.origin.wire import Refusal, Reply, Request, text_reply

Handler = Callable[[Request], Awaitable[Reply]]
_head_limit = 256 << 10
_body_limit = 256 << 20


class BadRequestError(Exception):
    """The bytes on the connection are no request that this server understands."""


class Host:
    """One of the origin's hosts: its listeners, its handler and its live connections."""

    def __init__(self, name: str, handler: Handler, log: Log, faults: Faults) -> None:
        self.name = name
        self.handler = handler
        self.log = log
        self.faults = faults
        self.connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Accept connections on bound ``sockets``, which belong to the host from now on."""
        loop = asyncio.get_running_loop()
        for one in sockets:
            listener = await loop.create_server(
                lambda: Connection(self, loop), sock=one, backlog=1024
            )
            self._listeners.append(listener)

    async def close(self, *, reset: bool) -> None:
        """Stop accepting and end every connection, by RST if ``reset``."""
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        ending = list(self.connections)
        await asyncio.gather(
            *(connection.end(reset=reset) for connection in ending), return_exceptions=True
        )
        for connection in ending:
            await connection.lost.wait()


class Connection(asyncio.StreamReaderProtocol):
    """One client connection: reads requests one after the other, and answers each."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self._reader = asyncio.StreamReader(limit=_head_limit, loop=loop)
        super().__init__(self._reader, loop=loop)
        self._host = host
        self._running_on = loop
        self._gone = asyncio.Event()
        self._reset = False
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving the connection."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        address = transport.get_extra_info("peername")
        self._client = f"{address[0]}:{address[1]}"
        writer = asyncio.StreamWriter(transport, self, self._reader, self._running_on)
        # Bytes count as sent once the kernel has them.
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._channel = Channel(writer, self._gone)
        self._host.connections.add(self)
        self._serving = self._running_on.create_task(self._serve())

    def eof_received(self) -> bool:
        """Note that the client sends no more: a fault that holds its answer back lets go."""
        self._gone.set()
        return bool(super().eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        """Let go of everything that waits for this connection."""
        self._gone.set()
        self.lost.set()
        self._host.connections.discard(self)
        super().connection_lost(error)

    def end(self, *, reset: bool) -> asyncio.Task[None]:
        """End the connection now and return the task that is ending."""
        self._gone.set()
        self._reset = reset
        self._serving.cancel()
        return self._serving

    async def _serve(self) -> None:
        try:
            while await self._exchange():
                pass
        except (GoneError, ConnectionError, asyncio.IncompleteReadError):
            pass
        except (BadRequestError, asyncio.LimitOverrunError):
            self._channel.writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        finally:
            if self._reset:
                self._channel.reset()
            elif self._serving.cancelling():
                # A stopped server does not linger over bytes that the client is slow to take.
                self._channel.writer.transport.abort()
            else:
                self._channel.writer.close()

    async def _exchange(self) -> bool:
        """Serve one request; False when the connection is to be closed."""
        request, keep_alive = await self._read_request()
        line = self._host.log.open(
            request.server, request.method, request.target, request.headers, request.client
        )
        try:
            return await self._answer(request, line, keep_alive=keep_alive)
        finally:
            line.done = True

    async def _answer(self, request: Request, line: Line, *, keep_alive: bool) -> bool:
        reply: Reply | None = None
        for fault in self._host.faults.claim_request(request):
            if fault.action == "delay":
                await self._channel.hold(fault.seconds, line)
            elif fault.action == "no-range":
                kept = {
                    name: value
                    for name, value in request.headers.items()
                    if name not in {"range", "if-range"}
                }
                request = replace(request, headers=kept)
            else:
                headers = {"Content-Type": "text/plain", **fault.headers}
                reply = Reply(fault.status, headers, (fault.body,))
        if reply is None:
            reply = await self._handle(request)
        faults = self._host.faults.claim_reply(request, reply)
        what = plan(request, reply, faults, keep_alive=keep_alive)
        await send(self._channel, what, line)
        return what.keep_alive

    async def _handle(self, request: Request) -> Reply:
        try:
            return await self._host.handler(request)
        except Refusal as refusal:
            return refusal.reply
        except Exception:  # noqa: BLE001  a bug of the origin must show in the test, not hang it
            traceback.print_exc()
            return text_reply(traceback.format_exc(), status=500)

    async def _read_request(self) -> tuple[Request, bool]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        # llama.cpp sends paths unencoded: raw UTF-8 and spaces stand in the request line.
        first, *rows = head.decode("utf-8", "surrogateescape").strip("\r\n").split("\r\n")
        method, _, rest = first.partition(" ")
        target, _, version = rest.rpartition(" ")
        if not target or version not in {"HTTP/1.1", "HTTP/1.0"}:
            raise BadRequestError
        headers: dict[str, str] = {}
        for row in rows:
            name, colon, value = row.partition(":")
            if not colon:
                raise BadRequestError
            key = name.strip().lower()
            held = headers.get(key)
            headers[key] = value.strip() if held is None else f"{held}, {value.strip()}"
        if target.startswith("http://"):
            target = "/" + target[7:].partition("/")[2]
        body = await self._read_body(headers)
        wish = headers.get("connection", "").lower()
        keep_alive = wish != "close" and (version == "HTTP/1.1" or wish == "keep-alive")
        request = Request(self._host.name, method, target, headers, body, self._client)
        return request, keep_alive

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = int(headers.get("content-length", "0") or 0)
        if not chunked and not length:
            return b""
        if headers.get("expect", "").lower() == "100-continue":
            await self._channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not chunked:
            if length > _body_limit:
                raise BadRequestError
            return await self._reader.readexactly(length)
        parts: list[bytes] = []
        while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
            if sum(map(len, parts)) > _body_limit:
                raise BadRequestError
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return b"".join(parts)
