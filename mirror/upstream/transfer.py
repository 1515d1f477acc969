"""Fetching a blob in a thread: one connection, received straight into the buffer that is written out.

Measured over TLS with writing and sha256, this costs 1.7 CPU s per GiB where an asyncio client with a
writer thread takes 2.5: no turn of the event loop for every piece, no copies between buffers, and the
interpreter lock is free while the thread receives, writes and hashes.
"""

import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Final, TypeAlias

from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import (
    ForbiddenTargetError,
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from mirror.messages import UpstreamRequest
from mirror.upstream.addresses import Addresses
from mirror.upstream.bodies import Body, UntilClose, body_of
from mirror.upstream.contract import Sink, Timeouts, TransferHead
from mirror.upstream.failures import RestartNeededError, unreachable
from mirror.upstream.heads import REDIRECTS, outgoing, strong_etag
from mirror.upstream.policy import Policy, Step
from mirror.upstream.pool import Pool
from mirror.upstream.proxies import Proxies
from mirror.upstream.standing import Standing
from mirror.upstream.stopping import StopToken
from mirror.upstream.verdicts import Wanted, check_fits, refusal
from mirror.upstream.wire import Head, Wire, dial

# What is written and hashed at a time at most, and what is waited for some milliseconds. Every hand-over of
# the interpreter lock costs, and there are five for each of these; 256 KiB took a tenth more.
BUFFER: Final = 1 << 20
GATHER: Final = 512 << 10
# Up to here a transfer is one of many that run at once, and has half the buffer.
PART: Final = 16 << 20
# The first bytes of an answer go on as they come: somebody waits for them.
EAGER: Final = 256 << 10
# A refusal's page is read this far; what it says is in its headers anyway.
_MAX_REFUSAL: Final = 16 << 10
_MAX_REDIRECT_BODY: Final = 64 << 10

# How a kept connection shows that upstream had closed it.
_STALE: Final = (EOFError, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
# What sockets, TLS, look-ups and the parser of heads raise; `ssl.SSLError`, `socket.gaierror`,
# `TimeoutError` and `ConnectionError` are `OSError`s.
_FOREIGN: Final = (OSError, EOFError, ValueError, HTTPException)


# How long the way to a blob, found by asking the hub, is believed for its further ranges, in seconds: a
# blob of 10 GB in ranges of 8 MiB would otherwise ask the hub 1200 times where to find it.
ROUTE_LIFETIME: Final = 60.0
MAX_ROUTES: Final = 256

_Key: TypeAlias = tuple[str, str, Credential | None]


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer that holds the wanted bytes, its body unread; *hub_headers* are the first answer's.

    *step* is the request that it answers.
    """

    step: Step
    wire: Wire
    head: Head
    body: Body
    hub_headers: Mapping[str, str]


class Transfers:
    """Fetches blobs for any number of threads, which share idle connections.

    *policy* says what may be asked, *addresses* what may be dialled and *proxies* through whom; *trust*
    is the TLS context; *standing* is shared with the asynchronous client.
    """

    def __init__(
        self,
        policy: Policy,
        addresses: Addresses,
        *,
        trust: ssl.SSLContext,
        clock: Clock,
        standing: Standing,
        timeouts: Timeouts | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._policy = policy
        self._standing = standing
        self._addresses = addresses
        self._trust = trust
        self._clock = clock
        self._timeouts = timeouts or Timeouts()
        self._proxies = proxies or Proxies()
        self._pool = Pool(clock)
        self._routes: OrderedDict[_Key, tuple[float, Step, Mapping[str, str]]] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close idle connections; a running transfer closes its own when it ends."""
        self._pool.close()

    def fetch(  # noqa: PLR0913 -- one call tells the whole transfer
        self,
        hub: str,
        request: UpstreamRequest,
        credential: Credential | None,
        *,
        offset: int,
        size: int,
        validator: str | None,
        sink: Sink,
        head: Callable[[TransferHead], object] | None,
        stop: StopToken,
        end: int | None = None,
        source: str | None = None,
    ) -> TransferHead:
        """Fetch a blob or a part of it; see `mirror.upstream.contract.Fetcher`."""
        wanted = Wanted(offset, size if end is None else end, size, validator)
        found = self._find(hub, request, credential, wanted, stop, source)
        answer = TransferHead(
            found.head.status,
            offset,
            size,
            strong_etag(found.head.headers),
            found.head.headers,
            found.hub_headers,
            found.wire.origin.authority,
            found.step.base,
        )
        reusable = False
        try:
            if head is not None:
                head(answer)
            self._pour(found, wanted.end - wanted.start, sink, stop)
        except TruncatedBodyError as error:
            self._forget((hub, request.target, credential))
            self._standing.failed(found.step, error)
            raise
        else:
            self._standing.did_well(found.step)
            reusable = found.body.ended and found.head.keeps_open
        finally:
            self._leave(found.wire, reusable=reusable)
        return answer

    def _find(
        self,
        hub: str,
        request: UpstreamRequest,
        credential: Credential | None,
        wanted: Wanted,
        stop: StopToken,
        source: str | None,
    ) -> _Found:
        """Ask the hub's upstreams in order until one has the wanted bytes.

        Another upstream than *source* knows nothing of its validators: there the blob's size and digest
        must do.
        """

        def from_step(step: Step) -> Wanted:
            return wanted if source in (None, step.base) else replace(wanted, validator=None)

        key = (hub, request.target, credential)
        trouble: UpstreamUnavailableError | UpstreamRefusedError | None = None
        known = self._route(key) if wanted.ranged else None
        if known is not None:
            step, hub_headers = known
            try:
                return self._walk(step, request, credential, from_step(step), stop, hub_headers)
            except UpstreamBusyError:
                raise
            except UpstreamUnavailableError:
                self._forget(key)  # A signed URL that expired, for one: the hub knows the new one.
        steps = self._policy.steps(hub, request.target, *request.others)
        for step in self._standing.order(steps):
            try:
                found = self._walk(step, request, credential, from_step(step), stop)
            except RestartNeededError:
                raise
            except (UpstreamBusyError, UpstreamRefusedError) as error:
                if not request.others:
                    raise
                trouble = error
            except UpstreamUnavailableError as error:
                self._standing.failed(step, error)
                trouble = error
            else:
                if found.step is not step:
                    self._remember(key, found)
                return found
        raise trouble or ForbiddenTargetError(f"The hub {hub} has no upstream.")

    def _walk(
        self,
        step: Step,
        request: UpstreamRequest,
        credential: Credential | None,
        wanted: Wanted,
        stop: StopToken,
        hub_headers: Mapping[str, str] | None = None,
    ) -> _Found:
        """Ask, and follow redirects to the answer that holds the bytes.

        With *hub_headers* the hub was asked before, and *step* is where it redirected to.
        """
        home = step.origin if hub_headers is None else None
        while True:
            wire, head = self._exchange(step, request, credential, wanted, stop)
            hub_headers = head.headers if hub_headers is None else hub_headers
            following: Step | None = None
            with self._held(wire, stop):
                body = body_of(wire, head, request.method)
                if head.status in REDIRECTS and "location" in head.headers:
                    following = self._policy.follow(step, head.headers["location"])
                    _read(body, _MAX_REDIRECT_BODY)
                else:
                    sent = credential if step.trusted else None
                    self._standing.judge(step, sent, head.status, head.headers)
                    self._judge(head, body, wanted, wire, own=step.origin == home)
            if following is None:
                return _Found(step, wire, head, body, hub_headers)
            self._leave(wire, reusable=body.ended and head.keeps_open)
            step = following

    def _route(self, key: _Key) -> tuple[Step, Mapping[str, str]] | None:
        with self._lock:
            known = self._routes.get(key)
        if known is None or self._clock.monotonic() >= known[0]:
            return None
        return known[1:]

    def _remember(self, key: _Key, found: _Found) -> None:
        with self._lock:
            until = self._clock.monotonic() + ROUTE_LIFETIME
            self._routes[key] = (until, found.step, found.hub_headers)
            self._routes.move_to_end(key)
            if len(self._routes) > MAX_ROUTES:
                self._routes.popitem(last=False)

    def _forget(self, key: _Key) -> None:
        with self._lock:
            self._routes.pop(key, None)

    def _judge(self, head: Head, body: Body, wanted: Wanted, wire: Wire, *, own: bool) -> None:
        """Raise unless the answer holds the wanted bytes."""
        host = wire.origin.authority
        if 400 <= head.status < 500 and not (wanted.ranged and head.status == 416):
            raise refusal(head.status, head.headers, _read(body, _MAX_REFUSAL), host, own=own)
        check_fits(head.status, head.headers, wanted, host)

    def _exchange(
        self,
        step: Step,
        request: UpstreamRequest,
        credential: Credential | None,
        wanted: Wanted,
        stop: StopToken,
    ) -> tuple[Wire, Head]:
        """Send one request and read the head of its answer, on a kept connection if one is alive."""
        sent = credential if step.trusted else None
        self._standing.check(step, sent)
        headers = outgoing(request, sent, wanted.headers())
        proxy = self._proxies.of(step.origin)
        try:
            kept = self._pool.take(step.origin)
            if kept is not None:
                try:
                    return kept, self._ask(kept, step, request, headers, stop)
                except _STALE:
                    stop.check()  # Upstream let go of it before it answered: once more, on a new one.
            wire = dial(step.origin, self._addresses, self._trust, self._timeouts, stop, proxy)
            return wire, self._ask(wire, step, request, headers, stop)
        except _FOREIGN as error:
            stop.check()
            raise unreachable(step.origin.authority, error, proxy) from None

    def _ask(
        self,
        wire: Wire,
        step: Step,
        request: UpstreamRequest,
        headers: list[tuple[str, str]],
        stop: StopToken,
    ) -> Head:
        try:
            with stop.cutting(wire.cut):
                wire.send(request.method, step.target, headers, request.body)
                return wire.read_head(self._clock, self._timeouts.stall)
        except BaseException:
            wire.close()
            raise

    def _pour(self, found: _Found, total: int, sink: Sink, stop: StopToken) -> None:
        """Hand exactly *total* bytes of the body to *sink*."""
        buffer = memoryview(bytearray(min(BUFFER if total > PART else BUFFER // 2, total)))
        got = 0
        with stop.cutting(found.wire.cut):
            # In smaller steps towards the end: a client's last bytes wait for all.
            while got < total:
                trouble: Exception | None = None
                size = 0
                try:
                    if got >= EAGER:
                        left = total - got
                        found.wire.gather(min(GATHER, left if total <= PART else max(left // 4, 1)))
                    size = found.body.receive(buffer[: total - got])
                except _FOREIGN as error:
                    trouble = error
                stop.check()
                if size == 0:
                    raise _truncated(found.wire.origin.authority, total, got, trouble) from None
                # Outside the `try`: an OSError of the sink is the disk's and not upstream's.
                sink(buffer[:size])
                got += size

    @contextmanager
    def _held(self, wire: Wire, stop: StopToken) -> Iterator[None]:
        """Close *wire* if the block raises, and let no foreign error out."""
        try:
            with stop.cutting(wire.cut):
                yield
        except _FOREIGN as error:
            wire.close()
            stop.check()
            raise unreachable(wire.origin.authority, error) from None
        except BaseException:
            wire.close()
            raise

    def _leave(self, wire: Wire, *, reusable: bool) -> None:
        if reusable:
            self._pool.give(wire)
        else:
            wire.close()


def _read(body: Body, most: int) -> bytes:
    """Read a short body: a redirect's, so that its connection can be used again, or a refusal's."""
    if isinstance(body, UntilClose):
        return b""  # Its end may be 30 s of silence away, and nothing in it is needed.
    text = bytearray()
    view = memoryview(bytearray(most))
    while len(text) < most:
        size = body.receive(view[: most - len(text)])
        if size == 0:
            break
        text += view[:size]
    return bytes(text)


def _truncated(host: str, expected: int, got: int, error: Exception | None) -> TruncatedBodyError:
    why = "stalled" if isinstance(error, TimeoutError) else "broke off"
    return TruncatedBodyError(
        f"{host} {why} after {got} of {expected} bytes.", expected=expected, got=got
    )
