"""One connection of a client: aiohttp's, with the fast lane before its parser."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from mirror.web.going import Going
from mirror.web.lane import Asked, Lane, Prepared
from mirror.web.wire import Exchange, Sent, address_of, options


class Connection(RequestHandler):
    """One client connection of *server*.

    *refuse* words what its parser refuses; *turns_away* tells of a new one whether it is one too many, and
    has it answered then. What the *lane* has an answer for is not parsed.
    """

    __slots__ = (
        "_asked",
        "_client",
        "_going",
        "_lane",
        "_owed",
        "_refuse",
        "_turns_away",
        "_warned",
    )

    def __init__(
        self,
        server: web.Server,
        refuse: Callable[[Exchange, int], bytes],
        turns_away: Callable[[asyncio.Transport], bool],
        lane: Lane | None = None,
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options())
        self._refuse = refuse
        self._turns_away = turns_away
        # None from the first byte on that is not of whole, plain requests: the parser may hold half of one.
        self._lane = lane
        self._asked: deque[Asked] = deque()
        self._owed = 0  # answers that the ordinary way has yet to give
        self._client = ""
        self._warned = False
        self._going: Going | None = None

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
        lane.send(kept, transport)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self.writing_paused:
            self._going = lane.watch(kept, transport, self._client)
        else:
            lane.count(kept, self._client)
        return True

    def resume_writing(self) -> None:
        """Whatever the lane sent has gone out."""
        super().resume_writing()
        going, self._going = self._going, None
        if going is not None:
            going.done()
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the lane, too, if what it sent is not all out."""
        going, self._going = self._going, None
        if going is not None:
            going.lost()
        super().connection_lost(exc)

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


def exchange_of(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: Any,
    task: Any,
) -> Exchange:
    """Make an `Exchange` of what `Connection` read: the request factory of its server."""
    return Exchange(message, payload, protocol, writer, task, *cast("Connection", protocol).take())
