"""What the cache relies on when it asks upstream: held by the real clients and by the double alike."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from mirror.clock import SystemClock
from mirror.credential import Credential
from mirror.errors import (
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.messages import Response, UpstreamRequest
from mirror.upstream.addresses import Addresses
from mirror.upstream.client import Client
from mirror.upstream.contract import Asker, Fetcher, TransferHead
from mirror.upstream.failures import RestartNeededError, StoppedError
from mirror.upstream.policy import Policy
from mirror.upstream.standing import Standing
from mirror.upstream.stopping import StopToken
from mirror.upstream.transfer import Transfers
from mirror.upstream.trust import tls_context
from tests.doubles.scripted_upstream import Scripted, ScriptedUpstream
from tests.unit.upstream.listener import Listener, Seen, ranged, reply

HUB = "huggingface"
TOKEN = Credential("Bearer hf_token")
DATA = os.urandom(1000)


class World(Protocol):
    """An upstream whose answers a test writes, and the two ways of asking it."""

    fetcher: Fetcher

    def script(self, target: str, answer: Scripted) -> None:
        """Answer so at *target* from now on."""
        ...

    def go_down(self) -> None:
        """Refuse connections from now on."""
        ...

    def asker(self) -> AbstractAsyncContextManager[Asker]:
        """Open the asynchronous side."""
        ...


class _RealWorld:
    """The real clients before a real socket."""

    def __init__(self) -> None:
        self._answers: dict[str, Scripted] = {}
        self._listener = Listener(self._handle)
        clock = SystemClock()
        policy = Policy({HUB: (self._listener.url,)})
        self._addresses = Addresses(policy.named, clock)
        trust = tls_context()
        standing = Standing(clock)
        self._client = Client(
            policy,
            self._addresses,
            trust=trust,
            clock=clock,
            observe=lambda _: None,
            standing=standing,
        )
        self.fetcher: Fetcher = Transfers(
            policy, self._addresses, trust=trust, clock=clock, standing=standing
        )
        self._listener.__enter__()
        self._up = True

    def script(self, target: str, answer: Scripted) -> None:
        self._answers[target] = answer

    def go_down(self) -> None:
        self._up = False
        self._listener.stop()

    @asynccontextmanager
    async def asker(self) -> AsyncIterator[Asker]:
        await self._client.open()
        try:
            yield self._client
        finally:
            await self._client.close()

    def close(self) -> None:
        self.fetcher.close()
        self._addresses.close()
        if self._up:
            self._listener.stop()

    def _handle(self, seen: Seen, connection: socket.socket) -> bool:
        answer = self._answers.get(seen.target, Scripted(404, b"nothing here"))
        if answer.ranges and answer.cut is None:
            return ranged(answer.body, dict(answer.headers)["ETag"])(seen, connection)
        cut = len(answer.body) if answer.cut is None else answer.cut
        reply(
            connection, answer.status, answer.body[:cut], *answer.headers, length=len(answer.body)
        )
        return answer.cut is None


class _DoubledWorld:
    """The double."""

    def __init__(self) -> None:
        self._double = ScriptedUpstream()
        self.fetcher: Fetcher = self._double

    def script(self, target: str, answer: Scripted) -> None:
        self._double.answers[target] = answer

    def go_down(self) -> None:
        self._double.down = True

    @asynccontextmanager
    async def asker(self) -> AsyncIterator[Asker]:
        yield self._double


@contextmanager
def _real() -> Iterator[World]:
    world = _RealWorld()
    try:
        yield world
    finally:
        world.close()


@contextmanager
def _doubled() -> Iterator[World]:
    yield _DoubledWorld()


@pytest.fixture(params=[_real, _doubled], ids=["real", "double"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each implementation in turn."""
    make: Callable[[], AbstractContextManager[World]] = request.param
    with make() as made:
        yield made


@dataclass
class Taken:
    """What a transfer handed over, in order."""

    data: bytearray = field(default_factory=bytearray)
    heads: list[TransferHead] = field(default_factory=list)


def _ask(world: World, *, limit: int = 10_000) -> Response:
    async def run() -> Response:
        async with world.asker() as asker:
            return await asker.ask(HUB, UpstreamRequest("GET", "/a"), TOKEN, limit=limit)

    return asyncio.run(run())


def _stream(world: World) -> tuple[int, int | None, bytes]:
    async def run() -> tuple[int, int | None, bytes]:
        request = UpstreamRequest("POST", "/a")
        async with world.asker() as asker, asker.stream(HUB, request, TOKEN) as stream:
            body = b"".join([chunk async for chunk in stream.chunks()])
            return stream.status, stream.size, body

    return asyncio.run(run())


def _fetch(
    world: World,
    taken: Taken | None = None,
    *,
    offset: int = 0,
    end: int | None = None,
    validator: str | None = None,
    size: int = len(DATA),
    stop: StopToken | None = None,
) -> Taken:
    taken = Taken() if taken is None else taken
    returned = world.fetcher.fetch(
        HUB,
        UpstreamRequest("GET", "/a"),
        TOKEN,
        offset=offset,
        size=size,
        validator=validator,
        sink=taken.data.extend,
        head=taken.heads.append,
        stop=stop or StopToken(),
        end=end,
    )
    assert taken.heads == [returned]
    return taken


BLOB = Scripted(body=DATA, headers=(("ETag", '"v1"'),), ranges=True)


def test_ask_returns_whole_answers(world: World) -> None:
    """Status, lower-case headers, body, and who answered; a 404 is an answer."""
    world.script("/a", Scripted(404, b"{}", (("X-Error-Code", "EntryNotFound"),)))
    response = _ask(world)
    assert (response.status, response.body) == (404, b"{}")
    assert response.headers["x-error-code"] == "EntryNotFound"
    assert response.url == f"{response.base}/a"


def test_ask_raises_for_what_is_no_answer(world: World) -> None:
    """5xx, a broken body, one beyond the limit, no connection."""
    world.script("/a", Scripted(503))
    with pytest.raises(UpstreamUnreachableError):
        _ask(world)
    world.script("/a", Scripted(body=DATA, cut=500))
    with pytest.raises(TruncatedBodyError):
        _ask(world)
    world.script("/a", BLOB)
    assert _ask(world, limit=len(DATA)).body == DATA
    assert (_ask(world, limit=0).status, _ask(world, limit=0).body) == (200, b"")
    with pytest.raises(UpstreamUnavailableError):
        _ask(world, limit=len(DATA) - 1)
    world.go_down()
    with pytest.raises(UpstreamUnreachableError):
        _ask(world)


@pytest.mark.parametrize("way", [_ask, _stream, _fetch])
def test_a_429_says_when_to_come_back(world: World, way: Callable[[World], object]) -> None:
    """However it was met."""
    world.script("/a", Scripted(429, headers=(("Retry-After", "5"),)))
    with pytest.raises(UpstreamBusyError) as caught:
        way(world)
    assert caught.value.retry_after == 5.0


def test_stream_hands_on_and_breaks_with_upstream(world: World) -> None:
    """Any answer streams; a body that breaks off raises; 5xx and no connection raise on entry."""
    world.script("/a", Scripted(401, DATA))
    assert _stream(world) == (401, len(DATA), DATA)
    world.script("/a", Scripted(200, DATA, cut=500))
    with pytest.raises(TruncatedBodyError):
        _stream(world)
    world.script("/a", Scripted(502))
    with pytest.raises(UpstreamUnreachableError):
        _stream(world)
    world.go_down()
    with pytest.raises(UpstreamUnreachableError):
        _stream(world)


@pytest.mark.parametrize(
    ("offset", "end"), [(0, None), (300, None), (300, 400), (0, 400), (999, 1000)]
)
def test_fetch_hands_over_exactly_what_was_asked_for(
    world: World, offset: int, end: int | None
) -> None:
    """Whole blobs, rests and parts, with their head told once and before."""
    world.script("/a", BLOB)
    taken = _fetch(world, offset=offset, end=end, validator='"v1"')
    assert bytes(taken.data) == DATA[offset:end]
    head = taken.heads[0]
    assert (head.start, head.size, head.validator) == (offset, len(DATA), '"v1"')
    assert head.status == (200 if (offset, end) == (0, None) else 206)


def test_fetch_an_empty_blob(world: World) -> None:
    """Nothing is handed over, and that is no error."""
    world.script("/a", Scripted())
    assert _fetch(world, size=0).data == b""


def test_fetch_needs_a_restart_where_it_cannot_continue(world: World) -> None:
    """No ranges, or another version: not one byte is handed over."""
    for answer, validator in ((Scripted(body=DATA), None), (BLOB, '"v0"'), (Scripted(416), None)):
        world.script("/a", answer)
        taken = Taken()
        with pytest.raises(RestartNeededError):
            _fetch(world, taken, offset=300, validator=validator)
        assert taken == Taken()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_fetch_refusals_keep_what_the_hub_said(world: World, status: int) -> None:
    """The hub's clients choose their exception by these."""
    world.script("/a", Scripted(status, b"no", (("X-Error-Code", "GatedRepo"),)))
    with pytest.raises(UpstreamRefusedError) as caught:
        _fetch(world)
    assert (caught.value.status, caught.value.body) == (status, b"no")
    assert caught.value.headers["x-error-code"] == "GatedRepo"


def test_fetch_raises_for_what_is_not_the_blob(world: World) -> None:
    """5xx, another size, another status, no connection: nothing is handed over."""
    taken = Taken()
    world.script("/a", Scripted(500))
    with pytest.raises(UpstreamUnreachableError):
        _fetch(world, taken)
    for answer in (Scripted(body=DATA[:-1]), Scripted(body=DATA + b"x"), Scripted(204)):
        world.script("/a", answer)
        with pytest.raises(UpstreamUnavailableError):
            _fetch(world, taken)
    world.go_down()
    with pytest.raises(UpstreamUnreachableError):
        _fetch(world, taken)
    assert taken == Taken()


def test_fetch_what_came_before_a_break_is_good(world: World) -> None:
    """The prefix is handed over, the break is an error that counts it."""
    world.script("/a", Scripted(body=DATA, cut=500))
    taken = Taken()
    with pytest.raises(TruncatedBodyError) as caught:
        _fetch(world, taken)
    assert bytes(taken.data) == DATA[:500]
    assert caught.value.got == 500


def test_fetch_obeys_a_stop(world: World) -> None:
    """A stop before the start asks nothing; one from the sink ends it before the next bytes."""
    world.script("/a", BLOB)
    stop = StopToken()
    stop.set()
    with pytest.raises(StoppedError):
        _fetch(world, stop=stop)
    stop, pieces = StopToken(), []

    def sink(view: memoryview) -> None:
        pieces.append(len(view))
        stop.set()

    request = UpstreamRequest("GET", "/a")
    size = 1 << 20
    world.script("/a", Scripted(body=bytes(size)))
    with pytest.raises(StoppedError):
        world.fetcher.fetch(
            HUB, request, None, offset=0, size=size, validator=None, sink=sink, head=None, stop=stop
        )
    assert len(pieces) == 1


def test_fetch_the_sinks_errors_go_through(world: World) -> None:
    """The disk's faults are the caller's business."""
    world.script("/a", BLOB)

    def sink(_: memoryview) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        world.fetcher.fetch(
            HUB, UpstreamRequest("GET", "/a"), None, offset=0, size=len(DATA), validator=None,
            sink=sink, head=None, stop=StopToken(),
        )  # fmt: skip
