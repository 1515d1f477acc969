"""The fast lane answers what the ordinary way would, byte for byte, and nothing once its lease broke."""

import asyncio
import json
import logging
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from math import inf
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror.clock import FixedClock
from mirror.events import Event, Served, ServedAlike
from mirror.messages import Answer, Relay, RequestHead, Terms
from mirror.web import wire
from mirror.web.connection import Connection
from mirror.web.plaintext import PlainTokens
from mirror.web.serve import Door
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper
from tests.web.client import Client
from tests.web.door import LOOPS, door, run, until

loops = pytest.mark.parametrize("loop", LOOPS)

ROOM = 1 << 20
REPO = "acme/tiny"
GET = b"GET /doc HTTP/1.1\r\nHost: m\r\nUser-Agent: t/1\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
END = b"GET /end HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"


class Open(ScriptedKeeper):
    """Answers every path with what it was asked, on terms that rest on `REPO`."""

    def __init__(self, clock: FixedClock, lifetime: float = inf) -> None:
        super().__init__()
        self.clock = clock
        self.lifetime = lifetime

    async def ask(self, head: RequestHead, body: bytes) -> Answer | Relay:
        """Tell what was asked; paths of ``/private`` without terms."""
        now = self.clock.wall()
        terms = Terms(frozenset({REPO}), self.leases.number, now, now + self.lifetime)
        if head.path in self.scripts:
            given = await super().ask(head, body)
            assert isinstance(given, Answer)
            return replace(given, terms=terms)
        self.asked.append(head)
        told = [head.method, head.path, head.query, head.base_url, body.decode("latin-1")]
        if head.path.startswith("/private"):
            who = head.credential.header if head.credential is not None else ""
            return Answer(200, (), (json.dumps([*told, who]).encode(),), found="hit", hub="h")
        kind = ("Content-Type", "application/json")
        data = json.dumps(told).encode()
        return Answer(200, (kind,), (data,), "0" * 40, ranges=True, hub="h", terms=terms)


async def exchange(client: Client, request: bytes) -> bytes:
    """Send a request in one piece and return its response as it came."""
    await client.send(request)
    return await one(client, head=request.startswith(b"HEAD"))


async def one(client: Client, *, head: bool = False) -> bytes:
    """Read one response as it comes."""
    top = await client.reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in top.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return top + (b"" if head else await client.reader.readexactly(length))


@loops
def test_lane_gives_the_same_bytes_without_asking(loop: str) -> None:
    """The second answer is the first, to the byte, and the keeper hears of one request only."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            for request in (GET, HEAD):
                first = await exchange(client, request)
                assert first.startswith(b"HTTP/1.1 200 OK\r\n")
                assert b"\r\nCache-Status: modelmirror; hit\r\n" in first
                assert [await exchange(client, request) for _ in range(3)] == [first] * 3
        assert [head.method for head in keeper.asked] == ["GET", "HEAD"]

    run(loop, main())


@loops
def test_lane_is_shared_by_connections_and_callers(loop: str) -> None:
    """What one caller was answered others are given, whatever token they bear and client they use."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        async with door(keeper, clock=clock, prepared=ROOM) as url:
            async with Client(url) as client:
                first = await exchange(client, GET)
            for fields in (
                b"Authorization: Bearer hf_x\r\n",
                b"authorization: Basic eA==\r\nAccept: */*\r\nconnection: keep-alive\r\n",
                b"X-Amzn-Trace-Id: 1-2-3\r\nAccept-Encoding: gzip, deflate\r\nUSER-AGENT:x y z\r\n",
            ):
                async with Client(url) as client:
                    request = b"GET /doc HTTP/1.1\r\nhost:m\r\n" + fields + b"\r\n"
                    assert await exchange(client, request) == first
        assert len(keeper.asked) == 1

    run(loop, main())


@loops
def test_prepared_answers_can_be_turned_off(loop: str) -> None:
    """Without room for them every request takes the ordinary way."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        async with door(keeper, clock=clock, prepared=0) as url, Client(url) as client:
            assert len({await exchange(client, GET) for _ in range(3)}) == 1
        assert len(keeper.asked) == 3

    run(loop, main())


def _breaking(keeper: Open, clock: FixedClock) -> dict[str, Callable[[], object]]:
    def change() -> None:
        with keeper.leases.changing({REPO}):
            pass

    return {
        "a fact of the repo": change,
        "a blob that went": lambda: keeper.leases.changed(REPO),
        "a grant": keeper.leases.break_all,
        "the end of a lifetime": lambda: clock.advance(30.0),
        "a clock set back": lambda: clock.advance(-1.0),
    }


@loops
@pytest.mark.parametrize("why", list(_breaking(Open(FixedClock()), FixedClock())))
def test_lane_drops_an_answer_for(loop: str, why: str) -> None:
    """Whatever an answer rests on ends its use, and the keeper is asked again."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock, lifetime=30.0)
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            await exchange(client, GET)
            await exchange(client, GET)
            assert len(keeper.asked) == 1
            _breaking(keeper, clock)[why]()
            await exchange(client, GET)
            assert len(keeper.asked) == 2
            await exchange(client, GET)
            assert len(keeper.asked) == 2

    run(loop, main())


@loops
def test_lane_keeps_nothing_for_longer_than_a_minute(loop: str) -> None:
    """An answer that is good for ever is looked at again after a minute."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            await exchange(client, GET)
            clock.advance(59.0)
            await exchange(client, GET)
            assert len(keeper.asked) == 1
            clock.advance(1.0)
            await exchange(client, GET)
            assert len(keeper.asked) == 2

    run(loop, main())


@loops
def test_what_changes_while_it_is_composed_is_not_kept(loop: str) -> None:
    """An answer composed across a change is given once and no second time."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        ask = keeper.ask

        async def changing(head: RequestHead, body: bytes) -> Answer | Relay:
            answer = await ask(head, body)
            keeper.leases.changed(REPO)
            return answer

        keeper.ask = changing  # type: ignore[method-assign]
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            for _ in range(3):
                await exchange(client, GET)
        assert len(keeper.asked) == 3

    run(loop, main())


@loops
def test_what_has_no_terms_is_asked_for_each_time(loop: str) -> None:
    """Nothing is kept of what is not open to everybody."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            for token in (b"a", b"b", b"a"):
                fields = b"Host: m\r\nAuthorization: Bearer " + token + b"\r\n\r\n"
                got = await exchange(client, b"GET /private HTTP/1.1\r\n" + fields)
                assert b'"Bearer ' + token + b'"' in got
        assert len(keeper.asked) == 3

    run(loop, main())


@loops
def test_hosts_have_answers_of_their_own(loop: str) -> None:
    """What one Host was answered, with its own base URL in it, no other is."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            for host in (b"m", b"evil.test", b"M", b"m:80", b"m", b"evil.test"):
                got = await exchange(client, GET.replace(b"Host: m", b"Host: " + host))
                assert b'"http://' + host + b'"' in got
        assert len(keeper.asked) == 4

    run(loop, main())


@loops
def test_answers_made_of_an_ignored_field_are_not_kept(loop: str) -> None:
    """Where a hub looks at who the client is, every client is asked for anew."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        ask = keeper.ask

        async def curious(head: RequestHead, body: bytes) -> Answer | Relay:
            answer = await ask(head, body)
            assert isinstance(answer, Answer)
            return replace(answer, body=(head.headers.get("user-agent", "").encode(),))

        keeper.ask = curious  # type: ignore[method-assign]
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            for agent in (b"one", b"two"):
                got = await exchange(client, GET.replace(b"t/1", agent))
                assert got.endswith(b"\r\n\r\n" + agent)

    run(loop, main())


@loops
def test_small_files_are_read_each_time_and_count_as_used(loop: str, tmp_path: Path) -> None:
    """Bytes in memory would hide that a blob rots; each answer counts as a use of it."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        blob = ScriptedBlob(tmp_path, b"x" * 5000)
        keeper.serve("/doc", blob, hub="h")
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            first = await exchange(client, GET)
            assert first.endswith(blob.data)
            assert keeper.touched == [blob.digest]
            assert await exchange(client, GET) == first
            assert keeper.touched == [blob.digest] * 2
        assert len(keeper.asked) == 1
        assert len(keeper.credentials) == 2

    run(loop, main())


@loops
def test_large_files_go_by_a_pump_with_the_prepared_head(loop: str, tmp_path: Path) -> None:
    """A large blob is read from its file each time, and is the same to the byte without being asked for."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        blob = ScriptedBlob(tmp_path, bytes(range(256)) * 2048)
        keeper.serve("/doc", blob, hub="h")
        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            first = await exchange(client, GET)
            assert first.endswith(blob.data)
            assert [await exchange(client, GET) for _ in range(3)] == [first] * 3
        assert len(keeper.asked) == 1
        assert len(keeper.credentials) == len(keeper.touched) == 4

    run(loop, main())


@loops
@pytest.mark.parametrize("as_json", [False, True])
def test_log_and_counters_tell_the_same(loop: str, *, as_json: bool) -> None:
    """Lines of the log, requests and bytes are those of the ordinary way."""

    async def told(room: int) -> tuple[list[str], dict[tuple[str, str, int], tuple[int, int]]]:
        clock, lines, events = FixedClock(), list[str](), list[Event]()
        counts: dict[tuple[str, str, int], tuple[int, int]] = {}
        settings = {"access": lines.append, "observe": events.append, "access_json": as_json}
        async with (
            door(Open(clock), clock=clock, prepared=room, **settings) as url,
            Client(url) as client,
        ):
            for _ in range(3):
                await exchange(client, GET.replace(b"/doc", b"/doc?sig=secret"))
                await exchange(client, HEAD.replace(b"/doc", b"/do'c?"))
            await exchange(client, END)
        for event in events:
            if isinstance(event, Served):
                event = ServedAlike(event.hub, event.found, event.status, 1, event.sent)  # noqa: PLW2901
            assert isinstance(event, ServedAlike)
            key = (event.hub, event.found, event.status)
            requests, sent = counts.get(key, (0, 0))
            counts[key] = requests + event.requests, sent + event.sent
        took = re.compile(r'(?<=\d )\d\.\d{3} |(?<="seconds": )[\d.]+')  # as long as it took
        return took.sub("-", "".join(lines)).splitlines(), counts

    async def main() -> None:
        ordinary, lane = await told(0), await told(ROOM)
        assert lane == ordinary
        assert len(lane[0]) == 7
        assert not any("secret" in line for line in lane[0])

    run(loop, main())


@loops
def test_counters_are_level_when_anything_else_is_asked(loop: str) -> None:
    """Whoever reads the metrics after an answer finds it counted."""

    async def main() -> None:
        clock, events = FixedClock(), list[Event]()
        keeper = Open(clock)
        async with (
            door(keeper, clock=clock, prepared=ROOM, observe=events.append) as url,
            Client(url) as client,
        ):
            for _ in range(5):
                await exchange(client, GET)
            await client.get("/-/live")
            assert ServedAlike("h", "hit", 200, 4, 4 * len(_body(keeper, "GET"))) in events

    run(loop, main())


def _body(keeper: Open, method: str) -> bytes:
    head = next(head for head in keeper.asked if head.method == method)
    return json.dumps([method, head.path, head.query, head.base_url, ""]).encode()


@loops
def test_tokens_in_the_clear_are_told_of(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that comes over plain HTTP is noted when the lane answers, too."""
    came: list[str] = []
    monkeypatch.setattr(PlainTokens, "came_from", lambda _, address: came.append(address))

    async def main() -> None:
        clock = FixedClock()
        async with door(Open(clock), clock=clock, prepared=ROOM) as url:
            async with Client(url) as client:
                await exchange(client, GET)
            assert not came
            async with Client(url) as client:
                await exchange(client, GET.replace(b"User-Agent", b"Authorization"))
            assert came == ["127.0.0.1"]

    run(loop, main())


@loops
def test_answers_keep_the_order_of_requests(loop: str) -> None:
    """A kept answer waits for the one before it, which the keeper takes its time for."""

    async def main() -> None:
        clock = FixedClock()
        keeper, gate = Open(clock), asyncio.Event()

        async def slowly(_head: RequestHead, _body: bytes) -> Answer:
            await gate.wait()
            return Answer(200, (), (b"slow",))

        async with door(keeper, clock=clock, prepared=ROOM) as url, Client(url) as client:
            kept = await exchange(client, GET)
            keeper.scripts["/slow"] = slowly
            await client.send(GET.replace(b"/doc", b"/slow"))
            await until(lambda: len(keeper.asked) == 2)
            await client.send(GET)
            await asyncio.sleep(0.02)
            gate.set()
            assert (await one(client)).endswith(b"slow")
            assert await one(client) == kept
            assert await exchange(client, GET) == kept
        assert len(keeper.asked) == 2

    run(loop, main())


@loops
def test_room_is_kept_and_what_is_asked_for_stays(loop: str) -> None:
    """Kept answers take no more than their room, whatever is asked for; one that is used outlives others."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        opened = Door(keeper, host="127.0.0.1", port=0, clock=clock, prepared=40_000, drain=0.0)
        url = await opened.start()
        async with Client(url) as client:
            await exchange(client, GET)
            for number in range(200):
                await exchange(client, GET.replace(b"/doc", b"/doc%d" % number))
                await exchange(client, GET)
                assert opened._lane.size <= 40_000
            assert 5 < len(opened._lane) < 25
        assert sum(head.path == "/doc" for head in keeper.asked) == 1
        await opened.stop()
        assert not opened._lane.size
        assert not keeper.leases._held

    run(loop, main())


@loops
def test_clients_that_take_nothing_are_cut(loop: str, tmp_path: Path) -> None:
    """Whoever asks for kept answers and never reads them does not fill memory: the connection is cut."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        keeper.serve("/doc", ScriptedBlob(tmp_path, b"x" * 60_000), hub="h")
        settings = {"clock": clock, "prepared": ROOM, "stall": 0.2}
        async with door(keeper, **settings) as url, Client(url, buffer=4096) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            with pytest.raises(ConnectionError):
                await _ask_on_and_on(client)

    run(loop, main())


async def _ask_on_and_on(client: Client) -> None:
    while True:
        await client.send(GET)
        await asyncio.sleep(0.001)


def _list(keeper: Open) -> bytes:
    """Let the keeper answer ``/doc`` with a document of 700 KB."""
    data = json.dumps(list(range(100_000))).encode()
    keeper.scripts["/doc"] = Answer(200, (), (data,), hub="h")
    return data


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel hold little of what is sent: by itself it takes a long document whole."""
    made = Connection.connection_made

    def narrowed(connection: Connection, transport: asyncio.BaseTransport) -> None:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        made(connection, transport)

    monkeypatch.setattr(Connection, "connection_made", narrowed)


@pytest.mark.usefixtures("narrow")
@loops
def test_long_documents_are_sent_from_memory(loop: str) -> None:
    """A list of many files goes out whole from memory, to readers fast and slow, and is counted whole."""

    async def main() -> None:
        clock, events = FixedClock(), list[Event]()
        keeper = Open(clock)
        data = _list(keeper)
        settings = {"clock": clock, "prepared": 2 << 20, "observe": events.append}
        async with door(keeper, **settings) as url:
            async with Client(url) as client:
                first = await exchange(client, GET)
                assert first.endswith(data)
                assert [await exchange(client, GET) for _ in range(3)] == [first] * 3
            async with Client(url, buffer=4096) as client:
                await client.send(GET)
                begin = await client.reader.readexactly(1000)
                await client.send(HEAD)
                assert begin + await client.reader.readexactly(len(first) - 1000) == first
                assert (await one(client, head=True)).startswith(b"HTTP/1.1 200")
        assert [head.method for head in keeper.asked] == ["GET", "HEAD"]
        alike = [event for event in events if isinstance(event, ServedAlike)]
        assert sum(event.sent for event in alike) == 4 * len(data)

    run(loop, main())


@pytest.mark.usefixtures("narrow")
@loops
def test_readers_that_stop_are_cut_and_logged_so(loop: str) -> None:
    """Who takes nothing more of a long document is cut in the end; the log tells how far it came."""

    async def main() -> None:
        clock, lines, events = FixedClock(), list[str](), list[Event]()
        keeper = Open(clock)
        data = _list(keeper)
        settings = {"clock": clock, "prepared": 2 << 20, "stall": 0.3, "access": lines.append}
        async with door(keeper, **settings, observe=events.append) as url:
            async with Client(url) as client:
                await exchange(client, GET)
            async with Client(url, buffer=4096) as client:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await client.send(GET)
                await until(
                    lambda: any(isinstance(e, Served) and 0 < e.sent < len(data) for e in events)
                )
        assert len(keeper.asked) == 1
        assert ' cut="the client takes nothing" modelmirror; hit' in "".join(lines)

    run(loop, main())


@pytest.mark.usefixtures("narrow")
@loops
def test_stop_waits_for_readers_of_long_documents(loop: str) -> None:
    """What the lane sent is taken to its end while a stop waits, as it is of running downloads."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        _list(keeper)
        settings = {"clock": clock, "prepared": 2 << 20, "drain": 20.0}
        opened = Door(keeper, host="127.0.0.1", port=0, **settings)  # type: ignore[arg-type]
        url = await opened.start()
        async with Client(url) as client:
            first = await exchange(client, GET)
        async with Client(url, buffer=4096) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET)
            await until(lambda: bool(opened._lane._going))
            stopping = asyncio.ensure_future(opened.stop())
            await asyncio.sleep(0.05)
            assert not stopping.done()
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert await one(client) == first
            await stopping
        assert len(keeper.asked) == 1

    run(loop, main())


@loops
def test_half_a_head_after_a_kept_answer_is_not_waited_for(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline for a head holds on a connection that the lane answered before."""
    monkeypatch.setitem(wire._LIMITS, "keepalive_timeout", 0.3)

    async def main() -> None:
        clock = FixedClock()
        async with door(Open(clock), clock=clock, prepared=ROOM) as url:
            async with Client(url) as client:
                first = await exchange(client, GET)
                assert await exchange(client, GET) == first
                await client.send(GET[:-3])
                assert await client.ended()
            async with Client(url) as client:
                assert await exchange(client, GET) == first
                assert await client.ended()

    run(loop, main())


@loops
def test_stopping_mirror_answers_nothing_more(loop: str) -> None:
    """A connection that the lane answered is closed by a stop like any other."""

    async def main() -> None:
        clock = FixedClock()
        keeper = Open(clock)
        opened = Door(keeper, host="127.0.0.1", port=0, clock=clock, prepared=ROOM)
        url = await opened.start()
        async with Client(url) as client:
            await exchange(client, GET)
            await exchange(client, GET)
            await opened.stop()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await exchange(client, GET)

    run(loop, main())


# ── whatever is sent ───────────────────────────────────────────────────────────────────────────

TAG = '"' + "0" * 40 + '"'
FIELDS = (
    "Host: m", "host:m", "HOST:  m", "Host: m ", "Host:\tm", "Host : m", " Host: m", "Host: evil.test",
    "Host: m:80", "Host:", "Host: m, m", "Host: a b", "Host: m/x", "Host\0: m", "User-Agent: x\x0by",
    "User-Agent:", "User-Agent: ", "User-Agent:x  y ", "User-Agent: \x80\xff", "Accept: a\0b",
    "Accept: a\x7fb", "Accept: text/html\r\n more", "Accept: a\nHost: evil.test",
    "Accept: a\rHost: evil.test", ": x", "Accept", "Authorization: Bearer x", "authorization:Bearer y",
    "Authorization:", "Authorization: Basic eA==", "Connection: keep-alive", "Connection: Keep-Alive",
    "Connection: close", "Connection: keep-alive, close", "Connection: upgrade", "Upgrade: h2c",
    "Upgrade: websocket", "HTTP2-Settings: AAA", "Connection: Host", "Connection: x-amzn-trace-id",
    "Proxy-Connection: close", "Keep-Alive: timeout=1", "Range: bytes=0-3", "Range: bytes=2-",
    "range:bytes=-2", "Range: bytes=9999-", "If-Range: " + TAG, "If-None-Match: " + TAG,
    "if-none-match: *", "If-Match: *", 'If-Match: "x"', "Cache-Control: only-if-cached",
    "Cache-Control: no-cache", "Pragma: no-cache", "Via: 1.1 x",
    "Via: 1.1 modelmirror (mm-0123456789abcdef)", "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https", "Forwarded: host=e", "Content-Length: 0",
    "Content-Length: 5", "content-length:5", "Content-Length: +5", "Content-Length : 5",
    "Content-Length: 5, 5", "Transfer-Encoding: chunked", "transfer-encoding:chunked",
    "Transfer-Encoding: x", "Transfer-Encoding : chunked", "Transfer-Encoding: identity",
    "X_Content-Length: 5", "Expect: 100-continue", "TE: trailers", "Trailer: Host",
    "X-Amzn-Trace-Id: 1-2", "Sec-Fetch-Mode: cors", "Cookie: a=b", "X: y", "Accept-Language: *",
    "Accept-Encoding: gzip", "Accept: " + "x" * 5000, "User-Agent: " + "x" * 9000,
)  # fmt: skip
LINES = (
    "HEAD /doc HTTP/1.1", "POST /doc HTTP/1.1", "OPTIONS /doc HTTP/1.1", "get /doc HTTP/1.1",
    "PUT /doc HTTP/1.1", "GET /doc HTTP/1.0", "GET /doc HTTP/1.2", "GET /doc HTTP/2.0",
    "GET /doc http/1.1", "GET /doc", "GET /doc HTTP/1.1 ", "GET  /doc HTTP/1.1", "GET /doc  HTTP/1.1",
    "GET\t/doc HTTP/1.1", " GET /doc HTTP/1.1", "\r\nGET /doc HTTP/1.1", "GET /doc? HTTP/1.1",
    "GET /doc?a HTTP/1.1", "GET /do%63 HTTP/1.1", "GET /%64oc HTTP/1.1", "GET //doc HTTP/1.1",
    "GET /./doc HTTP/1.1", "GET /x/../doc HTTP/1.1", "GET /doc/ HTTP/1.1", "GET http://m/doc HTTP/1.1",
    "GET http://evil.test/doc HTTP/1.1", "GET /doc#x HTTP/1.1", "GET /doc x HTTP/1.1",
    "GET /d\x00oc HTTP/1.1", "GET /doc\x80 HTTP/1.1", "GET /doc;x HTTP/1.1", "GET \\doc HTTP/1.1",
    "GET /-/live HTTP/1.1", "GET doc HTTP/1.1", "HEAD /private HTTP/1.1", "GET /private HTTP/1.1",
    "GET /doc HTTP/1.1\nX: y", "GET /doc HTTP/1.1\rX: y",
)  # fmt: skip
ENDS = ("\n", "\r", " \r\n", "\t\r\n", "\r\n ", "\r\n\t", "\r\r\n", "\r\n\r\n", "")
AFTER = (
    b"hello", GET, HEAD, GET + HEAD, b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"\r\n", b"\r\n\r\n",
    GET[:20], b"hello" + GET, b"\0",
)  # fmt: skip


@st.composite
def _requests(draw: st.DrawFn) -> Sequence[bytes]:
    """A request that is kept an answer for, but for one or a few things, in pieces as they are sent."""
    line, ends = "GET /doc HTTP/1.1", ["\r\n"] * 12
    fields = ["Host: m", "User-Agent: t/1"]
    after, pieces = b"", 1
    for what in draw(st.lists(st.integers(0, 9), min_size=1, max_size=4)):
        if what <= 4:
            fields.insert(draw(st.integers(0, len(fields))), draw(st.sampled_from(FIELDS)))
        elif what == 5:
            fields.pop(draw(st.integers(0, len(fields) - 1))) if fields else None
        elif what == 6:
            line = draw(st.sampled_from(LINES))
        elif what == 7:
            ends[draw(st.integers(0, len(fields) + 1))] = draw(st.sampled_from(ENDS))
        elif what == 8:
            after = draw(st.sampled_from(AFTER))
        else:
            pieces = 2
    text = "".join(part + end for part, end in zip([line, *fields, ""], ends, strict=False))
    data = text.encode("latin-1") + after
    place = draw(st.integers(1, len(data) - 1)) if pieces > 1 else len(data)
    return [piece for piece in (data[:place], data[place:]) if piece]


async def _conversation(url: str, pieces: Sequence[bytes], pause: float) -> bytes:
    """All that comes back for *pieces*, sent *pause* seconds apart behind answers that are kept by then."""
    async with Client(url) as client:
        for request in (GET, GET, HEAD, HEAD):
            await exchange(client, request)
        got = bytearray()

        async def listen() -> None:
            with suppress(ConnectionError):
                while more := await client.reader.read(1 << 16):
                    got.extend(more)

        listening = asyncio.ensure_future(listen())
        for piece in (*pieces, END, END):
            # What is sent to an end that is closed would take back what it said last.
            if b"\r\nConnection: close\r\n" in got or listening.done():
                break
            with suppress(ConnectionError):
                await client.send(piece)
            await asyncio.sleep(pause)
        await asyncio.wait({listening}, timeout=5)
        over = listening.done()
        listening.cancel()
    return bytes(got).replace(url.rpartition(":")[2].encode(), b"PORT") + b"|%d" % over


async def _differ(clock: FixedClock, asked: Sequence[Sequence[bytes]], pause: float) -> list[int]:
    """Which of *asked* the two ways answer differently."""
    lane, ordinary = Open(clock), Open(clock)
    async with (
        door(lane, clock=clock, prepared=ROOM) as one,
        door(ordinary, clock=clock, prepared=0) as other,
    ):
        odd = []
        for place, pieces in enumerate(asked):
            fast, slow = await asyncio.gather(
                _conversation(one, pieces, pause), _conversation(other, pieces, pause)
            )
            # Once more, on another connection, for what the first has left behind.
            if fast != slow or await _conversation(one, pieces, pause) != slow:
                odd.append(place)
    assert len(lane.asked) < 2 * len(ordinary.asked)
    return odd


def _compare(*asked: Sequence[bytes]) -> None:
    """Assert that both ways answer alike; what differs for a crowded machine is the same if it has time."""
    logging.disable(logging.CRITICAL)
    try:
        for pause in (0.002, 0.05, 0.5):
            odd = run("uvloop", _differ(FixedClock(), asked, pause))
            asked = tuple(asked[place] for place in odd)
            if not odd:
                return
    finally:
        logging.disable(logging.NOTSET)
    assert asked == ()


def test_both_ways_answer_alike_whatever_one_thing_is_odd() -> None:
    """A request that is kept an answer for, but for a field, its line, an end of line, or what follows it."""
    fields = [
        GET.replace(b"\r\n\r\n", f"\r\n{field}\r\n\r\n".encode("latin-1")) for field in FIELDS
    ]
    first = [
        GET.replace(b"Host: m", f"{field}\r\nHost: m".encode("latin-1")) for field in FIELDS[:12]
    ]
    alone = [GET.replace(b"Host: m", field.encode("latin-1")) for field in (*FIELDS[:12], "X: y")]
    lines = [GET.replace(b"GET /doc HTTP/1.1", line.encode("latin-1")) for line in LINES]
    ends = []
    for at, end in product(range(4), ENDS):
        parts = GET.split(b"\r\n")
        ends.append(b"\r\n".join(parts[: at + 1]) + end.encode() + b"\r\n".join(parts[at + 1 :]))
    after = [GET + more for more in AFTER]
    split = [[GET[:at], GET[at:]] for at in range(1, len(GET), 5)]

    _compare(*([piece] for piece in (*fields, *first, *alone, *lines, *ends, *after)), *split)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(_requests())
def test_both_ways_answer_alike_whatever_is_sent(pieces: Sequence[bytes]) -> None:
    """Whatever comes after kept answers on a connection, both ways say the same, to the byte."""
    _compare(pieces)
