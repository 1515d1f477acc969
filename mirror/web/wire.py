"""The one place that knows aiohttp's private parts.

The door takes from aiohttp its C parser, its connection handling and its keep-alive, and writes every
response itself. What it relies on beyond the documented interface is gathered here, and
``tests/web/test_wire.py`` fails when an upgrade moves any of it:

* `web.Server` calls its request factory with six arguments and hands the product to the handler;
* of a request, `RequestHandler` uses ``_finish``, ``_cancel``, ``_task`` and nothing else;
* of a response, it uses ``prepare``, ``write_eof`` and ``keep_alive``;
* `RequestHandler.handle_error` makes the response to what the parser refused;
* ``_messages``, ``_current_request`` and ``_force_close`` tell an idle connection from a busy one;
* ``data_received`` puts what it reads into ``_messages``, a request without a body with `EMPTY_PAYLOAD`;
  one by one their responses go out by ``finish_response``, before the next is taken;
* a connection that waits for a request is closed at ``_next_keepalive_close_time``.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import http_parser, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from mirror.errors import ConfigError
from mirror.web.lane import Asked, Lane, Prepared

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
    """One request on its connection, as the door sees it.

    *asked* is how the lane read it, `None` where it did not; *kept* is the answer that the lane has for it.
    """

    __slots__ = ("_message", "_payload", "_protocol", "_task", "_writer", "asked", "kept")

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: Any,
        task: Any,
        asked: Asked | None = None,
        kept: Prepared | None = None,
    ) -> None:
        self.asked = asked
        self.kept = kept
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
        return address_of(self._protocol.peername)

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


class Connection(RequestHandler):
    """One client connection of *server*.

    *refuse* words what its parser refuses; *turns_away* tells of a new one whether it is one too many, and
    has it answered then. What the *lane* has an answer for is not parsed.
    """

    __slots__ = ("_asked", "_client", "_lane", "_owed", "_refuse", "_turns_away", "_warned")

    def __init__(
        self,
        server: web.Server,
        refuse: Callable[[Exchange, int], bytes],
        turns_away: Callable[[asyncio.Transport], bool],
        lane: Lane | None = None,
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **_LIMITS)  # type: ignore[arg-type]
        self._refuse = refuse
        self._turns_away = turns_away
        # None from the first byte on that is not of whole, plain requests: the parser may hold half of one.
        self._lane = lane
        self._asked: deque[Asked] = deque()
        self._owed = 0  # answers that the ordinary way has yet to give
        self._client = ""
        self._warned = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or hand it to whoever says that it is one too many."""
        if not self._turns_away(cast("asyncio.Transport", transport)):
            super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Let the lane answer, where all that came in so far were whole requests, and all were answered."""
        lane = self._lane
        asked = None if lane is None else lane.read(data)
        if lane is None or asked is None:
            self._lane = None
            super().data_received(data)
            return
        if not self._owed and not self._close and not self._force_close:
            kept = lane.find(asked)
            if kept is not None and kept.parts is None and self._answer(lane, asked, kept):
                return
        before = len(self._messages)
        super().data_received(data)
        if self._agrees(asked, before):
            self._owed += 1
            self._asked.append(asked)
        else:
            self._lane = None

    async def finish_response(self, request: Any, resp: Any, start_time: float | None) -> Any:
        """See a response out: the next may follow, unless it was the last of its connection."""
        done = await super().finish_response(request, resp, start_time)
        self._owed -= 1
        if not resp.keep_alive:
            self._lane = None
        return done

    def _answer(self, lane: Lane, asked: Asked, kept: Prepared) -> bool:
        """Send what is kept, unless the client has yet to take what it was sent before."""
        transport = self.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if not self._client:
            self._client = lane.client(address_of(self.peername))
        if asked.token and not self._warned and self.ssl_context is None:
            self._warned = True
            lane.warn(address_of(self.peername) or "-")
        lane.send(kept, transport, self._client)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def _agrees(self, asked: Asked, before: int) -> bool:
        """Whether the parser found one request more than *before*, without a body, as the lane read it."""
        if len(self._messages) != before + 1 or self._upgraded:
            return False
        message, payload = self._messages[-1]
        if not isinstance(message, RawRequestMessage) or payload is not EMPTY_PAYLOAD:
            return False
        if asked.key is None:
            return True
        line, host = asked.key
        return (
            f"{message.method} {message.path} HTTP/1.1".encode("utf-8", "surrogateescape") == line
            and message.version == (1, 1)
            and message.headers.getall("Host", ()) == [host.decode()]
            and not message.should_close
        )

    def take(self) -> tuple[Asked | None, Prepared | None]:
        """How the lane read the request whose turn has come, and what it has for it."""
        # All that came in before the lane was left were read by it, so they are in step.
        asked = self._asked.popleft() if self._asked else None
        if asked is None or self._lane is None:
            return None, None
        return asked, self._lane.find(asked)

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


def address_of(peername: Any) -> str:
    """The address of a connection's other end, empty if it has none."""
    return str(peername[0]) if isinstance(peername, tuple) and peername else ""


def exchange_of(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: Any,
    task: Any,
) -> Exchange:
    """Make an `Exchange` of what `Connection` read: the request factory of its server."""
    return Exchange(message, payload, protocol, writer, task, *cast("Connection", protocol).take())
