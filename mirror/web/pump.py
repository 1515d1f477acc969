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
import os
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from mirror.cache.keeper import Feed
from mirror.messages import BlobRef
from mirror.web.feeds import Feeds, Part, Stretch
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
# With less than this left that may go out at once, the next bytes are asked for.
LOOKAHEAD: Final = 1 << 20

_MSG_MORE: Final = getattr(
    socket, "MSG_MORE", 0
)  # Linux; elsewhere the head is a packet of its own


class _State(Enum):
    GOING = auto()
    BLOCKED = auto()
    """The socket takes no more; the client's turn."""
    STARVED = auto()
    """No byte may leave yet; the keeper's turn."""
    OVER = auto()


class Pumps:
    """The registry that owns every pump.

    *stall* is how long a client may take nothing, in seconds, before its response is cut.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, stall: float = 60.0) -> None:
        self.loop = loop
        self.turns = 0
        self._stall = stall
        self._pumps: set[_Pump] = set()
        self._ready: deque[_Pump] = deque()
        self._scheduled = False
        # uvloop reads its clock once per turn, so a new time is a new turn; asyncio's has to be called.
        self._clocked = not isinstance(loop, asyncio.BaseEventLoop)
        self._now = float("-inf")
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
        pump = _Pump(self, transport, parts, feeds, trace)
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

    def wake(self, pump: "_Pump") -> None:
        """Let *pump* send at once if this turn has bytes left and nobody waits for them; else queue it."""
        if self._clocked:
            now = self.loop.time()
            if now != self._now:
                self._now = now
                self._refill()
        if self._ready or self._left <= 0:
            self.queue(pump)
            return
        self._left -= self._serve(pump, min(self._share, self._left))
        if not self._clocked:
            self._schedule()

    def queue(self, pump: "_Pump") -> None:
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
        self._now = self.loop.time()
        self._refill()
        waiting = len(self._ready)
        if not waiting:
            return
        share = max(self._share, self._left // waiting)
        while waiting and self._left > 0:
            waiting -= 1
            pump = self._ready.popleft()
            pump.queued = False
            self._left -= self._serve(pump, min(share, self._left))
        if self._ready:
            self._schedule()

    def _serve(self, pump: "_Pump", allowance: int) -> int:
        sent = pump.step(allowance)
        if pump.state is _State.GOING and not pump.watched:
            self.queue(pump)
        return sent

    def _look(self) -> None:
        """Cut those whose clients take nothing; runs only while there are pumps."""
        self._watch = None
        if not self._pumps:
            return
        late = self.loop.time() - self._stall
        for pump in list(self._pumps):
            if pump.state is _State.BLOCKED and pump.moved < late:
                pump.cut("the client takes nothing")
        self._watch = self.loop.call_later(self._stall / 4, self._look)


class _Pump:
    """One response on its way: a place in its parts, a duplicate of its socket, and what it waits for."""

    __slots__ = (
        "_bell",
        "_blob",
        "_failure",
        "_fd",
        "_feeds",
        "_file",
        "_limit",
        "_low",
        "_offset",
        "_parts",
        "_place",
        "_registry",
        "_socket",
        "_trace",
        "_transport",
        "_wish",
        "moved",
        "queued",
        "state",
        "watched",
    )

    def __init__(
        self,
        registry: Pumps,
        transport: asyncio.Transport,
        parts: Sequence[Part],
        feeds: Feeds,
        trace: Trace,
    ) -> None:
        original = transport.get_extra_info("socket")
        self._socket = socket.socket(
            original.family, original.type, original.proto, fileno=os.dup(original.fileno())
        )
        self._socket.settimeout(0)
        self._fd = self._socket.fileno()
        self._registry = registry
        self._transport = transport
        self._parts = parts
        self._feeds = feeds
        self._trace = trace
        self._place = -1
        self._offset = 0
        # What of the current blob may leave, as asked in this step.
        self._low = self._limit = 0
        self._blob: BlobRef | None = None
        self._file: Feed | None = None
        self._wish: tuple[Stretch, int] | None = None
        self._bell: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self.state = _State.GOING
        self.queued = False
        self.watched = False
        self.moved = registry.loop.time()
        self._advance()

    async def run(self) -> None:
        """See the response through: fetch what the steps wish for until they are done.

        The wish is granted while the steps go on sending what they have, so no byte waits for another.
        """
        while self.state is not _State.OVER:
            if self._wish is None:
                self._bell = self._registry.loop.create_future()
                await self._bell
                continue
            stretch, offset = self._wish
            feed = self._feeds.get(stretch.blob)
            if feed is None:
                await self._feeds.until_ready(stretch)
            else:
                await self._feeds.more(stretch.blob, offset)
            self._wish = None
            if self.state is _State.STARVED:
                self.state = _State.GOING
                self.moved = self._registry.loop.time()
                self._registry.queue(self)
        if self._failure is not None:
            raise self._failure

    def step(self, allowance: int) -> int:
        """Send at most *allowance* bytes, as many as socket and keeper allow; return how many."""
        if self.state is _State.OVER or self.state is _State.STARVED:
            return 0
        self.state = _State.GOING
        self._low = self._limit = 0
        left = allowance
        try:
            while left > 0 and self.state is _State.GOING:
                part = self._parts[self._place]
                if isinstance(part, bytes):
                    left -= self._send_literal(part, left)
                else:
                    left -= self._send_stretch(part, left)
        except BlockingIOError:
            self.state = _State.BLOCKED
        except OSError as error:
            self._fail(ConnectionResetError(f"the client hung up: {error.strerror}"))
        except Exception as error:  # noqa: BLE001 -- a feed that breaks its promise must not break the loop
            self._fail(error)
        if left < allowance:
            self.moved = self._registry.loop.time()
            self._trace.size += allowance - left
        self._settle()
        return allowance - left

    def cut(self, reason: str) -> None:
        """End the response now, unfinished."""
        if self.state is not _State.OVER:
            self._fail(ConnectionAbortedError(reason))
            self._settle()

    def close(self) -> None:
        """Free everything; a response that is not complete loses its connection."""
        complete = self.state is _State.OVER and self._failure is None
        self.state = _State.OVER
        self._disarm()
        if self._fd >= 0:
            self._fd = -1
            if not complete:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _send_literal(self, part: bytes, allowance: int) -> int:
        end = min(len(part), self._offset + allowance)
        rest = memoryview(part)[self._offset : end]
        sent = self._socket.send(rest, _MSG_MORE if end == len(part) and self._goes_on() else 0)
        self._offset += sent
        if sent < len(rest):
            self.state = _State.BLOCKED
        elif end == len(part):
            self._advance()
        return sent

    def _goes_on(self) -> bool:
        """Tell whether bytes follow the current literal at once, so that it may wait for them."""
        if self._place + 1 >= len(self._parts):
            return False
        following = self._parts[self._place + 1]
        if isinstance(following, bytes):
            return True
        feed = self._feeds.get(following.blob)
        if feed is None:
            return False
        if feed is self._file and self._low <= following.start < self._limit:
            return True
        return feed.ready(following.start, whole=self._feeds.whole) > following.start

    def _send_stretch(self, part: Stretch, allowance: int) -> int:
        offset, limit = self._offset, self._limit
        feed = self._file
        if feed is None or not self._low <= offset < limit:
            # The feed may have been replaced: what its window held had to go out first.
            feed = self._file = self._feeds.get(part.blob)
            if feed is None:
                self._starve(part)
                return 0
            self._low, self._limit = offset, feed.ready(offset, whole=self._feeds.whole)
            limit = self._limit
            if limit <= offset:
                self._starve(part)
                return 0
        wanted = min(min(part.end, limit) - offset, allowance)
        sent = os.sendfile(self._fd, feed.fileno(), offset, wanted)
        if not sent:
            raise EOFError("a stored blob is shorter than its size")
        self._offset = offset = offset + sent
        if self._wish is None and limit < part.horizon and limit - offset < LOOKAHEAD:
            self._look_ahead(part, feed, limit)
        if sent < wanted:
            self.state = _State.BLOCKED
        elif offset == part.end:
            if part.last and self._wish is None:
                self._feeds.release(part.blob)
                self._blob = None
            self._advance()
        return sent

    def _advance(self) -> None:
        """Go to the next part, and note when there is none."""
        self._place += 1
        self._offset = 0
        if self._place >= len(self._parts):
            self.state = _State.OVER
            return
        part = self._parts[self._place]
        if isinstance(part, Stretch):
            self._offset = part.start
            if self._blob is None or self._blob.digest != part.blob.digest:
                self._blob, self._file, self._limit = part.blob, None, 0

    def _look_ahead(self, part: Stretch, feed: Feed, limit: int) -> None:
        """Ask for the bytes from *limit* before they are due, unless they are there by now."""
        if feed.ready(limit, whole=self._feeds.whole) <= limit:
            self._ask(part, limit)

    def _starve(self, part: Stretch) -> None:
        self.state = _State.STARVED
        if self._wish is None:
            self._ask(part, self._offset)

    def _ask(self, part: Stretch, offset: int) -> None:
        self._wish = (part, offset)
        self._ring()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.state = _State.OVER
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._trace.cut = str(error)
        self._ring()
        # `run` may be waiting for the keeper instead: the lost connection cancels it.
        self._transport.abort()

    def _settle(self) -> None:
        """Watch the socket while the client is to move, and only then."""
        if self.state is _State.BLOCKED:
            self._arm()
        elif self.state is not _State.GOING:
            self._disarm()
        if self.state is _State.OVER:
            self._ring()

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    def _arm(self) -> None:
        if not self.watched:
            self.watched = True
            self._registry.loop.add_writer(self._fd, self._registry.wake, self)

    def _disarm(self) -> None:
        if self.watched:
            self.watched = False
            self._registry.loop.remove_writer(self._fd)
