"""Pumps: bytes from files to sockets by sendfile, fairly, without ever blocking the loop.

uvloop has no ``loop.sendfile`` and asyncio's hands the kernel a whole file per call, which stalls every
other request for 300 ms; writing copies through the transport costs five times the CPU. So a pump calls
``os.sendfile`` on a duplicate of the socket (an event loop refuses to watch a transport's own one) and
sends what the kernel takes. All pumps belong to one registry, which shares a budget of bytes per turn of
the loop among those that can send: small while small requests are being served, large otherwise.

A duplicate keeps its connection open after the transport is gone, so whoever ends a pump early shuts the
connection down through it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from mirror.web.feeds import Feeds, Part
from mirror.web.outflow import BLOCKED, GOING, Pump
from mirror.web.trace import Trace

# Bytes all pumps together send per turn of the loop. At 4 MiB a turn costs the CPU of nginx and delays
# a small request by up to 14 ms; at 512 KiB by 3 ms, for 1.4 times the CPU: so small only when needed.
IDLE_BUDGET: Final = 4 << 20
BUSY_BUDGET: Final = 512 << 10
# How long after a small request the budget stays small, in seconds.
BUSY_FOR: Final = 0.05
# The least a pump gets when its turn has come; below it the system calls outweigh the bytes. A step finds
# the caches of the processor full of other things and costs 50 us before the first byte, so more is given
# where nobody waits: 16 ranges of a file cost 1700 steps per GiB at 512 KiB, and 600 at 2 MiB.
SLICE: Final = 512 << 10
IDLE_SHARE: Final = 2 << 20


class Pumps:
    """The registry that owns every pump.

    *stall* is how long a client may take nothing, in seconds, before its response is cut.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, stall: float = 60.0) -> None:
        self.loop = loop
        self.turns = 0
        self._stall = stall
        self._pumps: set[Pump] = set()
        self._ready: deque[Pump] = deque()
        self._scheduled = False
        # uvloop reads its clock once per turn, so a new time is a new turn. With asyncio a turn that is
        # called for tells that the one before is over.
        self._clocked = not isinstance(loop, asyncio.BaseEventLoop)
        self.now = loop.time()
        self._left = IDLE_BUDGET
        self._share = IDLE_SHARE
        self._small_at = float("-inf")
        self._watch: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._pumps)

    def note_small(self) -> None:
        """Note that a small request was served: turns stay short for a moment."""
        self._small_at = self.loop.time()

    @property
    def budget(self) -> int:
        """The bytes that this turn of the loop may send."""
        quiet = self.loop.time() - self._small_at >= BUSY_FOR
        return IDLE_BUDGET if quiet else BUSY_BUDGET

    async def send(
        self, transport: asyncio.Transport, parts: Sequence[Part], feeds: Feeds, trace: Trace
    ) -> None:
        """Send *parts* to the peer of *transport*, whose own buffer must be empty.

        The bytes are counted into *trace* as the kernel takes them. Raises `ConnectionError` when the
        client is gone or takes nothing, and `MirrorError` when the bytes will not come. After any of
        them the connection is shut down; so is it on cancellation.
        """
        pump = Pump(self, transport, parts, feeds, trace)
        self._pumps.add(pump)
        if self._watch is None:
            self._watch = self.loop.call_later(self._stall / 4, self._look)
        try:
            self.wake(pump)
            await pump.run()
        finally:
            pump.close()
            self._pumps.discard(pump)

    def cut_all(self) -> None:
        """Cut every response that is under way."""
        for pump in list(self._pumps):
            pump.cut("the mirror stops")

    def wake(self, pump: Pump) -> None:
        """Let *pump* send at once if this turn has bytes left and nobody waits for them; else queue it."""
        now = self.loop.time()
        if self._clocked and now != self.now:
            self._refill()
        self.now = now
        if self._ready or self._left <= 0:
            self.queue(pump)
            return
        self._left -= pump.step(min(self._share, self._left))
        if pump.state is GOING and not pump.watched:
            self.queue(pump)
        if not self._clocked:
            self._schedule()

    def queue(self, pump: Pump) -> None:
        """Give *pump* a share of the next turn."""
        if not pump.queued:
            pump.queued = True
            self._ready.append(pump)
            self._schedule()

    def _refill(self) -> None:
        """Begin the accounts of a turn."""
        self._left = budget = self.budget
        self._share = IDLE_SHARE if budget >= IDLE_SHARE else SLICE

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Share one budget among the pumps that can send; who gets nothing is first next time."""
        self._scheduled = False
        self.turns += 1
        self.now = self.loop.time()
        self._refill()
        waiting = len(self._ready)
        if not waiting:
            return
        share = max(self._share, self._left // waiting)
        while waiting and self._left > 0:
            waiting -= 1
            pump = self._ready.popleft()
            pump.queued = False
            self._left -= pump.step(min(share, self._left))
            if pump.state is GOING and not pump.watched:
                self.queue(pump)
        if self._ready:
            self._schedule()

    def _look(self) -> None:
        """Cut those whose clients take nothing; runs only while there are pumps."""
        self._watch = None
        if not self._pumps:
            return
        late = self.loop.time() - self._stall
        for pump in list(self._pumps):
            if pump.state is BLOCKED and pump.moved < late:
                pump.cut("the client takes nothing")
        self._watch = self.loop.call_later(self._stall / 4, self._look)
