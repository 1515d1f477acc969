"""The one place that knows aiohttp's private parts.

The door takes from aiohttp its C parser, its connection handling and its keep-alive, and writes every
response itself. What it relies on beyond the documented interface is gathered here, and
``tests/web/test_wire.py`` fails when an upgrade moves any of it:

* `web.Server` calls its request factory with six arguments and hands the product to the handler;
* of a request, `RequestHandler` uses ``_finish``, ``_cancel``, ``_task`` and nothing else;
* of a response, it uses ``prepare``, ``write_eof`` and ``keep_alive``;
* `RequestHandler.handle_error` makes the response to what the parser refused;
* ``_messages``, ``_current_request`` and ``_force_close`` tell an idle connection from a busy one.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import http_parser, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from mirror.errors import ConfigError

# What reading a request body may raise when the client breaks its framing.
BODY_ERRORS: Final = (RequestPayloadError, HttpProcessingError)

_LIMITS: Final = {
    "max_line_size": 8190,
    "max_field_size": 8190,
    "max_headers": 128,
    # Also the end of connections that send nothing, half a head, or one byte a minute.
    "keepalive_timeout": 75.0,
    # A client that was refused while it uploads may send this long, so that it can read why.
    "lingering_time": 3.0,
    "auto_decompress": False,
    "access_log": None,
}
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def check_parser() -> None:
    """Refuse to serve with the pure-Python parser: it is lenient where smuggling begins.

    Raises `ConfigError` with what to do.
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ConfigError(
            "aiohttp runs without its compiled HTTP parser, which the mirror depends on.",
            hint="Install aiohttp from a wheel, and unset AIOHTTP_NO_EXTENSIONS.",
        )


class Sent:
    """What the handler returns to aiohttp: the response is on its way already.

    *keep_alive* tells whether the connection may carry another request; *data* is written first.
    """

    __slots__ = ("_data", "keep_alive")

    def __init__(self, *, keep_alive: bool, data: bytes = b"") -> None:
        self.keep_alive = keep_alive
        self._data = data

    async def prepare(self, request: "Exchange") -> None:
        """Write what was handed over, if anything."""
        if self._data and not request.closing:
            request.write(self._data)

    async def write_eof(self) -> None:
        """Do nothing: the response ended itself."""


class Exchange:
    """One request on its connection, as the door sees it."""

    __slots__ = ("_message", "_payload", "_protocol", "_task", "_writer")

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: Any,
        task: Any,
    ) -> None:
        self._message = message
        self._payload = payload
        self._protocol = protocol
        self._writer = writer
        self._task = task

    def _finish(self) -> None:
        """Called by aiohttp when the handler is done."""

    def _cancel(self, exc: BaseException) -> None:
        """Called by aiohttp when the connection is lost: whoever reads the body must know."""
        self._payload.set_exception(exc)

    @property
    def method(self) -> str:
        """The request's method."""
        return self._message.method

    @property
    def target(self) -> str:
        """The raw request target."""
        return self._message.path

    @property
    def headers(self) -> Any:
        """The request's headers as they came: a multidict."""
        return self._message.headers

    @property
    def head_size(self) -> int:
        """The size of the request's header fields in bytes."""
        size = 0
        for name, value in self._message.raw_headers:
            size += len(name) + len(value) + 4
        return size

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to use the connection again, and can.

        After an offer to switch protocols the parser takes nothing for a request any more.
        """
        return not self._message.should_close and not self._message.upgrade

    @property
    def transfer_encoding(self) -> str | None:
        """How the body is framed, in lower case; `None` if nothing is said."""
        value = self._message.headers.get("Transfer-Encoding")
        return None if value is None else str(value).strip().lower()

    @property
    def http10(self) -> bool:
        """Whether the client speaks HTTP/1.0, which knows no chunks."""
        return self._message.version == (1, 0)

    @property
    def http1(self) -> bool:
        """Whether the client speaks HTTP/1 at all: the parser takes a line without a version for 0.9."""
        return self._message.version[0] == 1

    @property
    def announces_body(self) -> bool:
        """Whether the request's head says that a body follows."""
        headers = self._message.headers
        return self._message.chunked or headers.get("Content-Length", "0").strip("0") != ""

    @property
    def body_begun(self) -> bool:
        """Whether any of the body is here, so that nobody waits for a 100."""
        return self._payload.total_raw_bytes > 0 or self._payload.is_eof()

    @property
    def body_whole(self) -> bool:
        """Whether the body was read to its end, so that the next request can follow."""
        return self._payload.is_eof()

    async def read(self) -> bytes:
        """The next bytes of the body; empty at its end. Raises one of `BODY_ERRORS`."""
        return await self._payload.readany()

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection's transport, `None` once it is lost."""
        return self._protocol.transport

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""
        transport = self._protocol.transport
        return transport is None or transport.is_closing()

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self._protocol.ssl_context is not None

    @property
    def peer(self) -> str:
        """The address of the other end, empty if there is none."""
        return _address(self._protocol.peername)

    @property
    def local(self) -> str:
        """Our own end as host:port, for clients that send no Host."""
        name = self._protocol.sockname
        if not isinstance(name, tuple):
            return "localhost"
        host, port = name[0], name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def write(self, data: bytes) -> None:
        """Hand *data* to the transport. Raises `ConnectionError` when it is gone."""
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client hung up")
        transport.write(data)

    @property
    def congested(self) -> bool:
        """Whether the transport holds more than it wants to."""
        return self._protocol.writing_paused

    async def drain(self) -> None:
        """Wait until the transport can take more."""
        await self._writer.drain()

    async def flush(self) -> None:
        """Wait until the transport holds nothing: then the socket may be written to beside it."""
        transport = self._protocol.transport
        if transport is None or not transport.get_write_buffer_size():
            return
        transport.set_write_buffer_limits(0)
        try:
            await self._writer.drain()
        finally:
            transport.set_write_buffer_limits()

    def cut(self) -> None:
        """Break the connection so that the client cannot take what it has for the whole.

        A reset, not a close: for HTTP/1.0 without a length a close would be a normal end.
        """
        transport = self._protocol.transport
        if transport is None:
            return
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()


class _Connection(RequestHandler):
    """One client connection; what its parser refuses is worded by the door."""

    __slots__ = ("_refuse", "_turns_away")

    def __init__(self, manager: "Listener") -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **_LIMITS)  # type: ignore[arg-type]
        self._refuse = manager.refuse
        self._turns_away = manager.turns_away

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or hand it to whoever says that it is one too many."""
        if not self._turns_away(cast("asyncio.Transport", transport)):
            super().connection_made(transport)

    def handle_error(
        self,
        request: Any,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- the parser's words quote the request
    ) -> Any:
        """Word an error that no handler saw; aiohttp would name its version and log a traceback."""
        long = isinstance(exc, LineTooLong) or "Too many headers" in str(exc)
        data = self._refuse(request, 431 if status == 400 and long else status)
        return Sent(keep_alive=False, data=data)

    def retire(self) -> None:
        """Close when idle; otherwise after the response that is under way."""
        if self._current_request is None and not self._messages:
            self.force_close()
        else:
            self.close()


class _TurnedAway(asyncio.Protocol):
    """A connection beyond the limit: it is told so and closed, once its request has come in.

    Closing before the request was read would reset the connection and take the answer with it.
    """

    def __init__(self, answer: bytes, patience: float = 5.0) -> None:
        self._answer = answer
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 -- whatever it asked
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._answer)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- gone is gone
        if self._timer is not None:
            self._timer.cancel()


class Listener(web.Server):
    """Makes a protocol of every connection that comes in.

    *handle* answers an `Exchange`; *refuse* words what the parser refused, given its status; *full* is
    the ready answer for connections beyond *limit*, and *full_for_one* for those of one address beyond
    *per_address* (0: no such limit), which does not hold for addresses that *exempt* names. A lost
    connection cancels its handler, so that whatever it waits for is let go at once.
    """

    def __init__(
        self,
        handle: Callable[[Exchange], Awaitable[Sent]],
        refuse: Callable[[Exchange, int], bytes],
        *,
        limit: int,
        full: bytes,
        per_address: int = 0,
        full_for_one: bytes = b"",
        exempt: Callable[[str], bool] = bool,
    ) -> None:
        super().__init__(
            cast("Any", handle), request_factory=cast("Any", _exchange), handler_cancellation=True
        )
        self.refuse = refuse
        self._limit = limit
        self._full = full
        self._per_address = per_address
        self._full_for_one = full_for_one
        self._exempt = exempt
        self._open = 0
        self._from: Counter[str] = Counter()

    def __call__(self) -> Any:
        """Make the protocol of a new connection."""
        if self._open >= self._limit:
            return _TurnedAway(self._full)
        return _Connection(self)

    def turns_away(self, transport: asyncio.Transport) -> bool:
        """Tell whether a new connection is one too many from its address; it is answered then."""
        address = _address(transport.get_extra_info("peername"))
        if not self._per_address or self._from[address] < self._per_address:
            return False
        if not address or self._exempt(address):
            return False
        turned = _TurnedAway(self._full_for_one)
        transport.set_protocol(turned)
        turned.connection_made(transport)
        return True

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection in."""
        self._open += 1
        if self._per_address:
            self._from[_address(handler.peername)] += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Count a connection out."""
        self._open -= 1
        if self._per_address:
            address = _address(handler.peername)
            self._from[address] -= 1
            if self._from[address] <= 0:
                del self._from[address]
        super().connection_lost(handler, exc)

    def retire(self) -> None:
        """Close idle connections now and the others after the response under way."""
        for connection in self.connections:
            cast("_Connection", connection).retire()


def _address(peername: Any) -> str:
    return str(peername[0]) if isinstance(peername, tuple) and peername else ""


def _exchange(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: Any,
    task: Any,
) -> Exchange:
    return Exchange(message, payload, protocol, writer, task)
