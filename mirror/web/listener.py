"""Where connections come in: counted, limited, and put out when the mirror stops."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from mirror.web.connection import Connection, exchange_of
from mirror.web.lane import Lane
from mirror.web.turnedaway import TurnedAway
from mirror.web.wire import Exchange, Sent, address_of


class Listener(web.Server):
    """Makes a protocol of every connection that comes in.

    *handle* answers an `Exchange`; *refuse* words what the parser refused, given its status; *full* is
    the ready answer for connections beyond *limit*, and *full_for_one* for those of one address beyond
    *per_address* (0: no such limit), which does not hold for addresses that *exempt* names. What the *lane*
    has an answer for is not handled. A lost connection cancels its handler, so that whatever it waits for is
    let go at once.
    """

    def __init__(  # noqa: PLR0913 -- what the door decides of connections, by keyword
        self,
        handle: Callable[[Exchange], Awaitable[Sent]],
        refuse: Callable[[Exchange, int], bytes],
        *,
        limit: int,
        full: bytes,
        per_address: int = 0,
        full_for_one: bytes = b"",
        exempt: Callable[[str], bool] = bool,
        lane: Lane | None = None,
    ) -> None:
        super().__init__(
            cast("Any", handle), request_factory=cast("Any", exchange_of), handler_cancellation=True
        )
        self._refuse = refuse
        self._lane = lane
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
            return TurnedAway(self._full)
        return Connection(self, self._refuse, self._turns_away, self._lane)

    def _turns_away(self, transport: asyncio.Transport) -> bool:
        """Tell whether a new connection is one too many from its address; it is answered then."""
        address = address_of(transport.get_extra_info("peername"))
        if not self._per_address or self._from[address] < self._per_address:
            return False
        if not address or self._exempt(address):
            return False
        turned = TurnedAway(self._full_for_one)
        transport.set_protocol(turned)
        turned.connection_made(transport)
        return True

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection in."""
        self._open += 1
        if self._per_address:
            self._from[address_of(handler.peername)] += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Count a connection out."""
        self._open -= 1
        if self._per_address:
            address = address_of(handler.peername)
            self._from[address] -= 1
            if self._from[address] <= 0:
                del self._from[address]
        super().connection_lost(handler, exc)

    def retire(self) -> None:
        """Close idle connections now and the others after the response under way."""
        for connection in self.connections:
            cast("Connection", connection).retire()
