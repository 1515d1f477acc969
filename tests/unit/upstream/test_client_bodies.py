"""The bodies of metadata and tunnels: whole, bounded, or an error."""

import asyncio
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable

import pytest

from mirror.errors import (
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.messages import UpstreamRequest
from mirror.upstream.contract import Timeouts
from tests.unit.upstream.conftest import HUB, Upstream
from tests.unit.upstream.listener import (
    Listener,
    Seen,
    raw,
    says,
)

Make = Callable[..., Upstream]
CANARY = "X-Amz-Signature=canary"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort",
    ],
)
def test_ask_a_short_body_is_truncated(make: Make, answer: bytes) -> None:
    """A body that breaks off is no answer, whatever its framing."""
    with Listener(raw(answer)) as hub, pytest.raises(TruncatedBodyError):
        asyncio.run(make(hub.url).ask())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
def test_ask_nonsense_is_unavailable(make: Make, answer: bytes) -> None:
    """What is no HTTP never leaves the package as an error of another library."""
    with Listener(raw(answer)) as hub, pytest.raises(UpstreamUnavailableError):
        asyncio.run(make(hub.url).ask())


def test_ask_surplus_is_not_part_of_the_answer_or_of_the_next_one(make: Make) -> None:
    """Bytes beyond Content-Length are dropped with their connection."""
    surplus = raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", keep=True
    )

    async def run(upstream: Upstream) -> list[bytes]:
        await upstream.client.open()
        request = UpstreamRequest("GET", "/")
        bodies = [(await upstream.client.ask(HUB, request, None, limit=100)).body for _ in range(3)]
        await upstream.client.close()
        return bodies

    with Listener(surplus) as hub:
        assert asyncio.run(run(make(hub.url))) == [b"ok"] * 3
        assert hub.connections == 3


def test_ask_a_body_beyond_the_limit_is_refused(make: Make) -> None:
    """The limit holds to the byte, with and without an announced length."""
    endless = threading.Event()

    def pour(_: Seen, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while not endless.is_set():
                connection.sendall(b"x" * 65536)
        finally:
            endless.set()
        return False

    with Listener(says(200, b"x" * 100)) as hub:
        assert len(asyncio.run(make(hub.url).ask(limit=100)).body) == 100
        with pytest.raises(UpstreamUnavailableError, match="more than 99 bytes"):
            asyncio.run(make(hub.url).ask(limit=99))
    with Listener(pour) as hub:
        with pytest.raises(UpstreamUnavailableError, match="more than"):
            asyncio.run(make(hub.url).ask())
        assert endless.wait(10)


def test_ask_decodes_gzip_within_the_limit(make: Make) -> None:
    """An encoding that was not asked for is undone; its headers go with it."""
    for encoding, body in (("gzip", gzip.compress(b"{}")), ("deflate", zlib.compress(b"{}"))):
        header = ("Content-Encoding", encoding)
        with Listener(says(200, body, header)) as hub:
            response = asyncio.run(make(hub.url).ask())
        assert response.body == b"{}"
        assert "content-encoding" not in response.headers
        assert "content-length" not in response.headers


def test_ask_refuses_a_gzip_bomb(make: Make) -> None:
    """64 MiB of zeros in 64 KiB stop at the limit and never fill memory."""
    bomb = gzip.compress(bytes(64 << 20), 9)
    with (
        Listener(says(200, bomb, ("Content-Encoding", "gzip"))) as hub,
        pytest.raises(UpstreamUnavailableError, match="more than"),
    ):
        asyncio.run(make(hub.url).ask())


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"x"),
        ("gzip, gzip", b"x"),
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(b"a" * 99)[:-4]),
        ("gzip", gzip.compress(b"a") + b"b"),
    ],
    ids=["br", "twice", "none", "short", "surplus"],
)
def test_ask_refuses_other_and_broken_encodings(make: Make, encoding: str, body: bytes) -> None:
    """What cannot be undone safely is no answer."""
    header = ("Content-Encoding", encoding)
    with Listener(says(200, body, header)) as hub, pytest.raises(UpstreamUnavailableError):
        asyncio.run(make(hub.url).ask())


def test_ask_gives_up_on_silence(make: Make) -> None:
    """Before the head and within the body, silence ends in the stall time."""
    release = threading.Event()

    def silent(seen: Seen, connection: socket.socket) -> bool:
        if seen.target == "/body":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        release.wait(20)
        return False

    with Listener(silent) as hub:
        began = time.monotonic()
        with pytest.raises(UpstreamUnreachableError, match="in time"):
            asyncio.run(make(hub.url, timeouts=Timeouts(stall=0.2)).ask("/head"))
        with pytest.raises(TruncatedBodyError, match="stalled after 3"):
            asyncio.run(make(hub.url, timeouts=Timeouts(stall=0.2)).ask("/body"))
        assert time.monotonic() - began < 10
        release.set()


def test_stream_hands_the_body_on_as_it_comes(make: Make) -> None:
    """The head is here before the body is; encoded bytes stay as they are; 401 is an answer."""
    go = threading.Event()

    def slow(_: Seen, connection: socket.socket) -> bool:
        connection.sendall(
            b"HTTP/1.1 401 No\r\nContent-Length: 6\r\nWWW-Authenticate: Basic\r\n\r\nabc"
        )
        assert go.wait(10)
        connection.sendall(b"def")
        return True

    async def run(upstream: Upstream) -> bytes:
        await upstream.client.open()
        try:
            async with upstream.client.stream(HUB, UpstreamRequest("GET", "/"), None) as stream:
                assert (stream.status, stream.size) == (401, 6)
                assert stream.headers["www-authenticate"] == "Basic"
                chunks = stream.chunks()
                first = await anext(chunks)
                go.set()
                return first + b"".join([chunk async for chunk in chunks])
        finally:
            await upstream.client.close()

    with Listener(slow) as hub:
        assert asyncio.run(run(make(hub.url))) == b"abcdef"


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
def test_stream_a_broken_body_raises(make: Make, framing: bytes) -> None:
    """A tunnel whose upstream breaks off says so; its reader must cut too."""
    body = b"abc" if b"Length" in framing else b"3\r\nabc\r\n"

    async def run(upstream: Upstream) -> bytes:
        await upstream.client.open()
        try:
            async with upstream.client.stream(HUB, UpstreamRequest("GET", "/"), None) as stream:
                chunks = stream.chunks()
                got = await anext(chunks)
                with pytest.raises(TruncatedBodyError) as caught:
                    await anext(chunks)
                assert caught.value.got == 3
                return got
        finally:
            await upstream.client.close()

    with Listener(raw(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body)) as hub:
        assert asyncio.run(run(make(hub.url))) == b"abc"


def test_stream_left_early_breaks_its_connection(make: Make) -> None:
    """A client that goes away does not make the mirror read a pack to its end."""
    broken = threading.Event()

    def endless(_: Seen, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            broken.set()
        return False

    async def run(upstream: Upstream) -> None:
        await upstream.client.open()
        async with upstream.client.stream(HUB, UpstreamRequest("GET", "/"), None) as stream:
            async for _ in stream.chunks():
                break
        await asyncio.to_thread(broken.wait, 10)
        assert broken.is_set()
        await upstream.client.close()

    with Listener(endless) as hub:
        asyncio.run(run(make(hub.url)))


def test_stream_refuses_on_entry_what_is_no_answer(make: Make) -> None:
    """429 and 5xx raise before anything is passed on; the next upstream is tried first."""

    async def run(upstream: Upstream) -> bytes:
        await upstream.client.open()
        try:
            async with upstream.client.stream(HUB, UpstreamRequest("POST", "/"), None) as stream:
                return b"".join([chunk async for chunk in stream.chunks()])
        finally:
            await upstream.client.close()

    with (
        Listener(says(502)) as down,
        Listener(says(429)) as busy,
        Listener(says(200, b"pack")) as good,
    ):
        assert asyncio.run(run(make(down.url, good.url))) == b"pack"
        with pytest.raises(UpstreamUnreachableError):
            asyncio.run(run(make(down.url)))
        with pytest.raises(UpstreamBusyError):
            asyncio.run(run(make(busy.url)))
