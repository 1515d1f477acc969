"""The fast lane: what was answered a moment ago is answered again from prepared bytes.

A connection shows the lane what came in before the parser sees it. Where that is one whole request of the
plainest kind, and its answer is kept and still good (`mirror.leases`), the answer goes out at once: no
parser, no task, no look-up. Everything else takes the ordinary way, which loses nothing by it, and an answer
that came that way and is good for everybody is kept for whoever sends the same line to the same Host.

Nothing is parsed here. A request is known by a pattern that leaves no two readings: one chunk that holds a
GET or HEAD of HTTP/1.1 and ends with its empty line, fields of visible ASCII with one colon and no folding,
each name one of `IGNORED` or Host, and none twice. None of those names the length of a body, another meaning
of the connection, a condition, a range or a way the request came. So whatever reads these bytes finds one
request in them and no other; the tests compare it with the parser's own reading.

What is kept is bounded, and for a minute at most. It is what everybody may have: `Authorization` is not
looked at, for nothing is kept of a repo that is not open to all, and nothing at all where callers have to
say who they are.
"""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from mirror.cache.keeper import Keeper
from mirror.clock import Clock
from mirror.events import Observer, Served, ServedAlike
from mirror.leases import Lease
from mirror.messages import RequestHead, Terms
from mirror.web.accesslog import AccessLog
from mirror.web.feeds import Part
from mirror.web.fields import Fields
from mirror.web.going import Going
from mirror.web.heads import Heads
from mirror.web.plaintext import PlainTokens
from mirror.web.pump import Pumps
from mirror.web.trace import Trace

# What a request may say beside its Host without a word of it meaning anything to an answer: what clients of
# hubs send (huggingface_hub, requests, curl, Go, Node's fetch), each with every request.
IGNORED: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "connection",
        "sec-fetch-mode",
        "user-agent",
        "x-amzn-trace-id",
        "x-hf-download-counter",
    }
)

# The longest request that the lane looks at, in bytes: clients send 300 to 700. No limit of the parser is
# as low, so none is passed by.
LONGEST: Final = 4096

# No answer is given again for longer than this, in seconds, whatever else holds: then the ordinary way looks
# at everything once more, what somebody did to the data folder by hand included.
KEPT_FOR: Final = 60.0

# Up to here one write of head and body together beats everything: no descriptor, no system call more.
SMALL: Final = 64 << 10

# The largest body of literal bytes that is kept: a page of 1000 entries is a quarter of it, and larger ones
# are better read from their blobs.
LARGEST: Final = 1 << 20

# What one answer takes beside its bytes: the objects, the key, the line for the log.
OVERHEAD: Final = 2048

# How soon what went out is counted, in seconds, if nothing else is asked before.
TOLD_WITHIN: Final = 0.1

# Requests differ in their first line, the fields of one client hardly ever: so many are remembered as read.
_BLOCKS: Final = 512

_TEXT: Final = rb" ?[!-~][ -~]*"
_PLAIN: Final = re.compile(
    rb"\r\n(?:(?:(?i:accept(?:-encoding|-language)?|sec-fetch-mode|user-agent|x-hf-download-counter):%b"
    rb"|(?i:host): ?([!-~]+)|(?i:connection): ?(?i:keep-alive))\r\n)+\r\n\Z" % _TEXT
)
# What is another one in each request, or must not be remembered: a line, up to the end of it.
_VARYING: Final = re.compile(
    rb"\r\n(x-amzn-trace-id|authorization):%b(?=\r\n)" % _TEXT, re.IGNORECASE
)
_NAMES: Final = re.compile(rb"\r\n([a-z-]+):")
_LINE: Final = re.compile(rb"(?:GET|HEAD) /[!-~]* HTTP/1\.1")
_WHOLE: Final = re.compile(
    rb"(?:GET|HEAD) /[!-~]* HTTP/1\.1\r\n(?:[A-Za-z0-9-]+:%b\r\n)+\r\n\Z" % _TEXT
)

Key: TypeAlias = tuple[bytes, bytes]


class Asked(NamedTuple):
    """One whole request: *key* is its line and its Host, `None` if other fields matter or may matter.

    *token* tells whether it bears a credential.
    """

    key: Key | None
    token: bool = False


_OTHERWISE: Final = Asked(None)


@dataclass(frozen=True, slots=True)
class Offer:
    """An answer on its ordinary way: *head* was read, with *asked*, and it may be kept on *terms*.

    *top* is its head up to the lines that every head ends with; *trace* knows its status.
    """

    asked: Asked
    head: RequestHead
    terms: Terms
    top: bytes
    trace: Trace


@dataclass(slots=True, eq=False)
class Prepared:
    """An answer as it goes out: *top* up to the lines that every head ends with, then *body*.

    With *parts* the body is sent from blobs instead. *rest* is its line in the log behind the client,
    *size* the length of *body* in bytes.
    """

    top: bytes
    body: bytes
    parts: Sequence[Part] | None
    size: int
    trace: Trace
    rest: str
    lease: Lease
    tally: "_Tally"
    used: bool = True

    @property
    def cost(self) -> int:
        """The bytes of memory it takes, about."""
        return OVERHEAD + len(self.top) + len(self.body) + len(self.rest)


@dataclass(slots=True, eq=False)
class _Tally:
    """What went out and was not told yet, of one hub, outcome and status."""

    requests: int = 0
    sent: int = 0


class Lane:
    """Keeps answers, and gives them again.

    *room* is how many bytes of memory they may take, *stall* how long a client may take nothing, in seconds;
    the parts are those of the door.
    """

    def __init__(  # noqa: PLR0913 -- the parts of the door, by keyword
        self,
        keeper: Keeper,
        *,
        room: int,
        clock: Clock,
        heads: Heads,
        access: AccessLog,
        observe: Observer,
        pumps: Pumps,
        tokens: PlainTokens,
        stall: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._keeper = keeper
        self._room = room
        self._clock = clock
        self._heads = heads
        self._access = access
        self._observe = observe
        self._pumps = pumps
        self._tokens = tokens
        self._stall = stall
        self._loop = loop
        self._going: set[Going] = set()
        self._sent = asyncio.Event()
        self._now = 0.0  # when an answer was last found: it is sent and counted at once
        self._kept: dict[Key, Prepared] = {}
        self._blocks: dict[bytes, bytes] = {}
        self._tallies: dict[tuple[str, str, int], _Tally] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, data: bytes) -> Asked | None:
        """Read *data*, which came in while nothing of an earlier request was missing.

        `None` unless it is one whole request without a body, beyond doubt.
        """
        if len(data) > LONGEST:
            return None
        end = data.find(b"\r\n")
        line, block = data[:end], data[end:]
        host, token = self._blocks.get(block), False
        if host is None:
            varying = _VARYING.findall(block)
            if varying:
                names = {name.lower() for name in varying}
                if len(names) < len(varying):
                    return _OTHERWISE if _WHOLE.match(data) else None
                token, block = b"authorization" in names, _VARYING.sub(b"", block)
                host = self._blocks.get(block)
            if host is None and (host := self._learn(block)) is None:
                return _OTHERWISE if _WHOLE.match(data) else None
        key = (line, host)
        # What is before the block is the request's line alone.
        return Asked(key, token) if key in self._kept or _LINE.fullmatch(line) else None

    def _learn(self, block: bytes) -> bytes | None:
        """The Host of a block of fields, which is known from here on; `None` if it is not a plain one."""
        found, names = _PLAIN.match(block), _NAMES.findall(block.lower())
        if found is None or found[1] is None or len(set(names)) != len(names):
            return None  # some fields may come once only
        if len(self._blocks) >= _BLOCKS:
            self._blocks.clear()
        self._blocks[block] = host = found[1]
        return host

    def find(self, asked: Asked) -> Prepared | None:
        """The answer that is kept for a request, if it may be given now."""
        key = asked.key
        if key is None:
            return None
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._now = now = self._clock.wall()
        if not kept.lease.good(now):
            self._drop(key)
            return None
        kept.used = True
        return kept

    def send(self, kept: Prepared, transport: asyncio.Transport) -> None:
        """Send an answer to a client whose *transport* holds nothing."""
        if kept.size <= SMALL:
            transport.write(b"".join((kept.top, self._heads.common(self._now), kept.body)))
        else:
            transport.writelines((kept.top + self._heads.common(self._now), kept.body))
        self._pumps.note_small()

    def watch(self, kept: Prepared, transport: asyncio.Transport, client: str) -> Going:
        """See to an answer that *client* has yet to take; it is counted when that is over."""

        def over(going: Going, left: int, why: str) -> None:
            self._going.discard(going)
            self._sent.set()
            if not why:
                self._now = self._clock.wall()
                self.count(kept, client)
                return
            told, sent = kept.trace, max(0, kept.size - left)
            self._access.note(replace(told, client=client, size=sent, cut=why), 0.0)
            self._observe(Served(told.hub, told.found, told.status, sent, 0.0))

        going = Going(transport, over, self._stall, self._loop)
        self._going.add(going)
        return going

    def count(self, kept: Prepared, client: str) -> None:
        """Count an answer that *client* was given, and log it."""
        self._access.add(client, kept.rest, self._now)
        tally = kept.tally
        tally.requests += 1
        tally.sent += kept.size
        if self._timer is None:
            self._timer = self._loop.call_later(TOLD_WITHIN, self.tell)

    def client(self, address: str) -> str:
        """The client at *address* as its lines in the log show it."""
        return self._access.client(address or "-")

    async def until_sent(self, seconds: float) -> None:
        """Wait until clients have what was sent, at most so long; cut those that do not by then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._going:
                    self._sent.clear()
                    await self._sent.wait()
        self.cut()

    def cut(self) -> None:
        """Cut what clients have yet to take."""
        for going in list(self._going):
            going.cut("the mirror stops")

    def close(self) -> None:
        """Count what was not yet, and let everything go."""
        self.tell()
        for key in list(self._kept):
            self._drop(key)

    def warn(self, client: str) -> None:
        """Say that a token came from *client* in the clear."""
        self._tokens.came_from(client)

    def tell(self) -> None:
        """Count what went out since this was last done; whoever reads a counter next finds it there."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        for (hub, found, status), tally in self._tallies.items():
            if tally.requests:
                requests, sent = tally.requests, tally.sent
                tally.requests = tally.sent = 0
                self._observe(ServedAlike(hub, found, status, requests, sent))

    def keep(
        self,
        offer: Offer,
        body: bytes = b"",
        parts: Sequence[Part] | None = None,
    ) -> None:
        """Keep an answer that the ordinary way gives, as far as its terms allow, and there is room.

        Not one that was made of anything that `IGNORED` names, whatever its terms say.
        """
        key, terms, headers = offer.asked.key, offer.terms, offer.head.headers
        if key is None or len(body) > LARGEST:
            return
        if not isinstance(headers, Fields) or headers.heard & IGNORED:
            return
        until = min(terms.until, terms.since + KEPT_FOR)
        lease = self._keeper.lease(replace(terms, until=until))
        if lease is None:
            return
        trace = replace(offer.trace, size=len(body))
        tally = self._tallies.setdefault((trace.hub, trace.found, trace.status), _Tally())
        rest = self._access.rest(trace, 0.0)
        kept = Prepared(offer.top, body, parts, len(body), trace, rest, lease, tally)
        self._drop(key)
        self.size += kept.cost
        self._kept[key] = kept
        while self.size > self._room:
            # The oldest goes, but for what was asked for since it was last looked at.
            first, oldest = next(iter(self._kept.items()))
            if oldest.used and not oldest.lease.broken and oldest is not kept:
                oldest.used = False
                del self._kept[first]
                self._kept[first] = oldest
            else:
                self._drop(first)

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= kept.cost
            kept.lease.end()
