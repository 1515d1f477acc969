"""An answer that the lane handed over whole and whose client has yet to take it.

The ordinary way waits for its client and cuts one that takes nothing; nobody waits here, so somebody looks.
"""

import asyncio
from collections.abc import Callable


class Going:
    """One such answer, on *transport*, which takes it from memory that all of its readers share.

    *over* is told once how many bytes were not taken, and why, "" where all were; *stall* is how long a
    client may take nothing, in seconds.
    """

    __slots__ = ("_left", "_loop", "_over", "_stall", "_timer", "_transport", "_why")

    def __init__(
        self,
        transport: asyncio.Transport,
        over: Callable[["Going", int, str], None],
        stall: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._over = over
        self._stall = stall
        self._loop = loop
        self._why = "the client hung up"
        self._left = transport.get_write_buffer_size()
        self._timer = loop.call_later(stall, self._look)

    def done(self) -> None:
        """Note that it has gone out."""
        self._timer.cancel()
        self._over(self, 0, "")

    def lost(self) -> None:
        """Note that its connection is no more."""
        self._timer.cancel()
        self._over(self, max(1, self._transport.get_write_buffer_size()), self._why)

    def cut(self, why: str) -> None:
        """End it now, unfinished."""
        self._why = why
        self._transport.abort()

    def _look(self) -> None:
        """Cut a client that took nothing since it was last looked at."""
        left = self._transport.get_write_buffer_size()
        if left >= self._left:
            self.cut("the client takes nothing")
        else:
            self._left = left
            self._timer = self._loop.call_later(self._stall, self._look)
