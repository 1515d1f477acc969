"""One pump: the bytes of one response on their way from files to a socket.

It sends what the kernel takes, from where it is in the parts of the response, and waits for the client or
for the keeper otherwise. When it may send, and how much at a time, says its registry (`mirror.web.pump`).
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import Final, Protocol

from mirror.cache.keeper import Feed
from mirror.messages import BlobRef
from mirror.web.feeds import Feeds, Part, Stretch
from mirror.web.trace import Trace

# With less than this left that may go out at once, the next bytes are asked for. The socket itself holds
# some MiB more that the client has not taken yet.
LOOKAHEAD: Final = 512 << 10

# Linux; elsewhere the head is a packet of its own.
_MSG_MORE: Final = getattr(socket, "MSG_MORE", 0)


class State(Enum):
    """Whose turn it is."""

    GOING = auto()
    BLOCKED = auto()
    """The socket takes no more; the client's turn."""
    STARVED = auto()
    """No byte may leave yet; the keeper's turn."""
    OVER = auto()


# Names of the module: a step looks them up more often than anything else.
GOING: Final = State.GOING
BLOCKED: Final = State.BLOCKED
STARVED: Final = State.STARVED
OVER: Final = State.OVER


class Registry(Protocol):
    """What owns a pump: its *loop*, and the time *now* on it when this turn's pumps began to send."""

    loop: asyncio.AbstractEventLoop
    now: float

    def wake(self, pump: "Pump") -> None:
        """Let *pump* send: its client takes bytes again."""
        ...

    def queue(self, pump: "Pump") -> None:
        """Let *pump* send in the next turn."""
        ...


class Pump:
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
        "_part",
        "_parts",
        "_place",
        "_registry",
        "_seen",
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
        registry: Registry,
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
        self._part: Part = b""
        self._feeds = feeds
        self._seen = feeds.changes
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
        self.state = GOING
        self.queued = False
        self.watched = False
        self.moved = registry.loop.time()
        self._advance()

    async def run(self) -> None:
        """See the response through: fetch what the steps wish for until they are done.

        The wish is granted while the steps go on sending what they have, so no byte waits for another.
        """
        while self.state is not OVER:
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
            if self.state is STARVED:
                self.state = GOING
                self.moved = self._registry.loop.time()
                self._registry.queue(self)
        if self._failure is not None:
            raise self._failure

    def step(self, allowance: int) -> int:
        """Send at most *allowance* bytes, as many as socket and keeper allow; return how many.

        It runs some 600 times per GiB with everything it touches out of the processor's caches, so it calls
        little.
        """
        if self.state is OVER or self.state is STARVED:
            return 0
        self.state = GOING
        self._low = self._limit = 0
        left = allowance
        try:
            while left > 0 and self.state is GOING:
                part = self._part
                if isinstance(part, bytes):
                    left -= self._send_literal(part, left)
                else:
                    left -= self._send_stretch(part, left)
        except BlockingIOError:
            self.state = BLOCKED
        except OSError as error:
            self._fail(ConnectionResetError(f"the client hung up: {error.strerror}"))
        except Exception as error:  # noqa: BLE001 -- a feed that breaks its promise must not break the loop
            self._fail(error)
        if left < allowance:
            self.moved = self._registry.now
            self._trace.size += allowance - left
        if self.state is not GOING:
            self._settle()
        return allowance - left

    def cut(self, reason: str) -> None:
        """End the response now, unfinished."""
        if self.state is not OVER:
            self._fail(ConnectionAbortedError(reason))
            self._settle()

    def close(self) -> None:
        """Free everything; a response that is not complete loses its connection."""
        complete = self.state is OVER and self._failure is None
        self.state = OVER
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
            self.state = BLOCKED
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
            feeds = self._feeds
            if feed is None or self._seen != feeds.changes:
                # It may have been replaced: what its window held had to go out first.
                self._seen = feeds.changes
                feed = self._file = feeds.get(part.blob)
                if feed is None:
                    self._starve(part)
                    return 0
            self._low = offset
            self._limit = limit = feed.ready(offset, whole=feeds.whole)
            if limit <= offset:
                self._starve(part)
                return 0
        wanted = min(part.end - offset, limit - offset, allowance)
        sent = os.sendfile(self._fd, feed.fileno(), offset, wanted)
        if not sent:
            raise EOFError("a stored blob is shorter than its size")
        self._offset = offset = offset + sent
        if self._wish is None and limit < part.horizon and limit - offset < LOOKAHEAD:
            self._look_ahead(part, feed, limit)
        if sent < wanted:
            self.state = BLOCKED
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
            self.state = OVER
            return
        part = self._part = self._parts[self._place]
        if isinstance(part, Stretch):
            self._offset = part.start
            if self._blob is None or self._blob.digest != part.blob.digest:
                self._blob, self._file, self._limit = part.blob, None, 0

    def _look_ahead(self, part: Stretch, feed: Feed, limit: int) -> None:
        """Ask for the bytes from *limit* before they are due, unless they are there by now."""
        if feed.ready(limit, whole=self._feeds.whole) <= limit:
            self._ask(part, limit)

    def _starve(self, part: Stretch) -> None:
        self.state = STARVED
        if self._wish is None:
            self._ask(part, self._offset)

    def _ask(self, part: Stretch, offset: int) -> None:
        self._wish = (part, offset)
        self._ring()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.state = OVER
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._trace.cut = str(error)
        self._ring()
        # `run` may be waiting for the keeper instead: the lost connection cancels it.
        self._transport.abort()

    def _settle(self) -> None:
        """Watch the socket while the client is to move, and only then."""
        if self.state is BLOCKED:
            self._arm()
        elif self.state is not GOING:
            self._disarm()
        if self.state is OVER:
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
