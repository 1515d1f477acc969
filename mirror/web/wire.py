"""The one place that knows aiohttp's private parts, with `mirror.web.connection`.

The door takes from aiohttp its C parser, its connection handling and its keep-alive, and writes every
response itself. What it relies on beyond the documented interface is gathered in the two, and
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
from contextlib import suppress
from typing import Any, Final

from aiohttp import http_parser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from mirror.errors import ConfigError
from mirror.web.lane import Asked, Prepared

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


def options() -> dict[str, Any]:
    """What a connection is told when it is made."""
    return _LIMITS


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


def address_of(peername: Any) -> str:
    """The address of a connection's other end, empty if it has none."""
    return str(peername[0]) if isinstance(peername, tuple) and peername else ""
