"""A connection beyond the limit: it is told so and closed, once its request has come in."""

import asyncio
from typing import cast


class TurnedAway(asyncio.Protocol):
    """Sends *answer* for whatever was asked, or hangs up after *patience* seconds.

    Closing before the request was read would reset the connection and take the answer with it.
    """

    def __init__(self, answer: bytes, patience: float = 5.0) -> None:
        self._answer = answer
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, but not for ever."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 -- whatever it asked
        """Answer and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._answer)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- gone is gone
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
