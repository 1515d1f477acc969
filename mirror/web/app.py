"""The life of a request at the door.

1. `Targets` reads its head, or refuses it.
2. One of our own pages answers it, or its body is read and the keeper is asked.
3. `Sender` sends the answer, or relays what upstream says.
4. Whatever goes wrong before the head is out is worded; after it the connection is cut.
5. One line is logged, one event observed.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from secrets import token_hex
from typing import Final

from mirror.cache.keeper import Keeper
from mirror.errors import MalformedQuestionError, MirrorError, QuestionError
from mirror.events import Observer, Served
from mirror.messages import Answer, Relay, RequestHead
from mirror.web import warm
from mirror.web.accesslog import AccessLog
from mirror.web.foreign import walled
from mirror.web.heads import Heads
from mirror.web.intake import read_body
from mirror.web.lane import Lane, Prepared
from mirror.web.operations import Operations
from mirror.web.recalled import Recalled
from mirror.web.refusals import HeadTooLargeError, fault, foreseen, refusal, refuse
from mirror.web.sending import Sender
from mirror.web.targets import METHODS, Targets
from mirror.web.trace import Trace
from mirror.web.wire import Exchange, Sent

# Eight lines of 8 KiB, as front servers have it.
MAX_HEAD: Final = 64 << 10

_PREFLIGHT: Final = Answer(
    204,
    (
        ("Allow", "GET, HEAD, POST, OPTIONS"),
        ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
        (
            "Access-Control-Allow-Headers",
            "Authorization, Content-Type, Range, If-Range, If-Match, If-None-Match",
        ),
        ("Access-Control-Max-Age", "86400"),
    ),
    found="own",
)

_HUNG_UP: Final = "the client hung up"

_log = logging.getLogger("mirror.web")


class App:
    """Answers exchanges, one call each; `running` holds those under way."""

    def __init__(  # noqa: PLR0913 -- the parts of the door, by keyword
        self,
        keeper: Keeper,
        *,
        targets: Targets,
        sender: Sender,
        operations: Operations,
        heads: Heads,
        access: AccessLog,
        observe: Observer,
        lane: Lane,
        recalled: Recalled,
    ) -> None:
        self._keeper = keeper
        self._targets = targets
        self._sender = sender
        self._operations = operations
        self._heads = heads
        self._access = access
        self._observe = observe
        self._lane = lane
        self._recalled = recalled
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        self.running: set[Exchange] = set()

    async def handle(self, exchange: Exchange) -> Sent:
        """Answer one exchange and say whether its connection may go on; raises nothing but cancellation."""
        begun = self._loop.time()
        self._lane.tell()
        trace = Trace(
            exchange.method,
            exchange.keep_alive and not self._operations.stopping,
            client=exchange.peer or "-",
        )
        self.running.add(exchange)
        self._idle.clear()
        try:
            await self._answer(exchange, trace)
        except ConnectionError as error:
            trace.cut = trace.cut or str(error) or _HUNG_UP
        except MirrorError as error:
            trace.cut = error.message
            _log.warning("A response was cut: %s", error)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client must see a cut
            trace.cut = type(error).__name__
            _log.exception("A response was cut by an unforeseen error")
        except asyncio.CancelledError:
            trace.cut = trace.cut or _HUNG_UP
            raise
        finally:
            if trace.cut:
                trace.keep = False
                exchange.cut()
            self.running.discard(exchange)
            if not self.running:
                self._idle.set()
            self._note(trace, self._loop.time() - begun)
        return Sent(keep_alive=trace.keep)

    def refuse_unparsed(self, exchange: Exchange, status: int) -> bytes:
        """Word what the parser refused; the connection closes after it."""
        del exchange
        message = {
            400: "The request is not valid HTTP.",
            431: "The request has a line longer than 8 KiB, or too many headers.",
        }.get(status, "The mirror failed on this request.")
        self._note(Trace("-", keep=False, status=status), 0.0)
        return self._plain(refusal(status, message))

    def full(self, *, of_one: bool = False) -> bytes:
        """The answer for connections beyond the limit, or beyond that of one address."""
        message = "The mirror has as many connections as it can serve. Try again in a moment."
        if of_one:
            message = "The mirror serves no more connections of one address at once. Try again in a moment."
        return self._plain(refusal(503, message, [("Retry-After", "5")]))

    async def until_idle(self, seconds: float) -> bool:
        """Wait until no response is under way; tell whether that came within *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return not self.running

    async def _answer(self, exchange: Exchange, trace: Trace) -> None:
        head = RequestHead(exchange.method, "/", "", {}, None, "")
        own = False
        try:
            trace.path = exchange.target.partition("?")[0] if exchange.target[:1] == "/" else "-"
            if exchange.kept is not None and trace.keep:
                await self._again(exchange, exchange.kept, trace)
                return
            ranged = self._recalled.suits(exchange.method, exchange.headers.keys())
            head = self._read(exchange, trace, ranged=ranged)
            found = None if head.method == "OPTIONS" else await self._operations.answer(head)
            own = found is not None
            reply = found or await self._ask(exchange, head, trace, ranged=ranged)
            if not exchange.body_whole:
                trace.keep = False
            await self._send(exchange, head, reply, trace, own=own)
        except ConnectionError:
            raise
        except Exception as error:
            if trace.status:
                raise
            worded = self._word(error, trace)
        else:
            return
        trace.keep = trace.keep and exchange.body_whole
        await self._send(exchange, head, worded, trace, own=own)

    async def _again(self, exchange: Exchange, kept: Prepared, trace: Trace) -> None:
        """Give the answer that is kept, where the lane itself could not."""
        told = kept.trace
        trace.path, trace.query, trace.hub, trace.found = (
            told.path,
            told.query,
            told.hub,
            told.found,
        )
        if exchange.asked is not None and exchange.asked.token and not exchange.secure:
            self._lane.warn(trace.client)
        await self._sender.again(exchange, kept, trace)

    def _word(self, error: Exception, trace: Trace) -> Answer:
        """Word what went wrong before the head was out: the one place where errors become answers."""
        # What could not be read may hide another request behind it; so may what a CONNECT would tunnel.
        unread = isinstance(error, MalformedQuestionError | HeadTooLargeError)
        trace.keep = trace.keep and not unread and trace.method in METHODS
        if isinstance(error, MirrorError) and foreseen(error):
            if not isinstance(error, QuestionError):
                _log.warning("A request failed: %s", error)
            return refuse(error)
        name = token_hex(6)
        if isinstance(error, MirrorError):
            _log.warning("%s: %s %s failed: %s", name, trace.method, trace.path, error)
        else:
            trace.keep = False
            _log.exception("%s: %s %s failed, unforeseen", name, trace.method, trace.path)
        return fault(error, name)

    def _read(self, exchange: Exchange, trace: Trace, *, ranged: bool) -> RequestHead:
        if not exchange.http1:
            raise MalformedQuestionError("The mirror speaks HTTP/1.1 and HTTP/1.0.")
        if exchange.transfer_encoding not in {None, "chunked"}:
            # An empty one is ignored by some parsers and ends the framing for others (RFC 9112 §6.1).
            raise MalformedQuestionError("The Transfer-Encoding is another than chunked.")
        if exchange.transfer_encoding is not None and exchange.http10:
            raise MalformedQuestionError("HTTP/1.0 has no Transfer-Encoding.")
        if exchange.head_size > MAX_HEAD:
            raise HeadTooLargeError(f"The request has more than {MAX_HEAD} bytes of headers.")
        head = self._targets.read(
            exchange.method,
            exchange.target,
            exchange.headers.items(),
            exchange,
            again=ranged or (exchange.asked is not None and exchange.asked.key is not None),
        )
        trace.path, trace.query = head.path, bool(head.query)
        trace.client = self._targets.client(head.headers, trace.client)
        if head.credential is not None and not self._targets.secure(head.headers, exchange):
            self._lane.warn(trace.client)
        return head

    async def _ask(
        self, exchange: Exchange, head: RequestHead, trace: Trace, *, ranged: bool
    ) -> Answer | Relay:
        if head.method == "OPTIONS":
            return _PREFLIGHT
        body = b""
        if head.method == "POST":
            body = await read_body(exchange)
        elif exchange.announces_body:
            trace.keep = False
            if head.method in {"GET", "HEAD"}:
                raise MalformedQuestionError(f"A {head.method} has no body.")
        if head.path == warm.PATH:
            return warm.answer(self._keeper, head, body)
        if not ranged:
            return await self._keeper.ask(head, body)
        kept = self._recalled.find(head)
        if kept is not None:
            return kept
        reply = await self._keeper.ask(head, body)
        self._recalled.keep(head, reply)
        return reply

    async def _send(
        self,
        exchange: Exchange,
        head: RequestHead,
        reply: Answer | Relay,
        trace: Trace,
        *,
        own: bool,
    ) -> None:
        trace.hub = reply.hub
        trace.found = reply.found if isinstance(reply, Answer) else "bypass"
        extra = [("Cache-Status", trace.cache_status)]
        if not own and (headers := walled(reply.headers)) is not reply.headers:
            reply = replace(reply, headers=headers)
        if isinstance(reply, Answer):
            await self._sender.answer(exchange, head, reply, extra, trace)
        else:
            await self._sender.relay(exchange, head, reply, extra, trace)

    def _plain(self, answer: Answer) -> bytes:
        headers = [*answer.headers, ("Content-Length", str(answer.size)), ("Connection", "close")]
        body = b"".join(part for part in answer.body if isinstance(part, bytes))
        return self._heads.write(answer.status, headers) + body

    def _note(self, trace: Trace, seconds: float) -> None:
        self._access.note(trace, seconds)
        self._observe(Served(trace.hub, trace.found, trace.status, max(0, trace.size), seconds))
