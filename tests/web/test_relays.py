"""What is passed through as it comes: whole, or visibly broken."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from mirror.errors import TruncatedBodyError
from mirror.messages import Answer, Relay, RequestHead
from tests.doubles.scripted_keeper import ScriptedKeeper, chunks
from tests.web.client import Client, get
from tests.web.door import LOOPS, door, run

pytestmark = pytest.mark.parametrize("loop", LOOPS)

HEADERS = (("Content-Type", "text/x"), ("X-Repo-Commit", "c"))


def test_relay_passes_the_body_on(loop: str) -> None:
    """A body of known length has its length, one of unknown length is chunked; both stay on the line."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url, Client(url) as client:
            for size in (6, None):
                keeper.scripts["/x"] = Relay(203, HEADERS, size, chunks(b"abc", b"", b"def"))
                got = await client.get("/x")
                assert (got.status, got.body, got.clean) == (203, b"abcdef", True)
                assert got.headers["x-repo-commit"] == "c"
                assert got.headers["cache-status"] == "modelmirror; fwd=bypass"
                assert got.headers.get("content-length") == (None if size is None else "6")

    run(loop, main())


@pytest.mark.parametrize("size", [6, None])
def test_broken_relay_is_cut(loop: str, size: int | None, caplog: pytest.LogCaptureFixture) -> None:
    """When upstream breaks off, no normal end is sent: length unmet, or last chunk missing."""
    caplog.set_level(logging.CRITICAL)
    broken = TruncatedBodyError("Broke off.", expected=6, got=3)

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/x"] = Relay(200, HEADERS, size, chunks(b"abc", error=broken))
        async with door(keeper) as url, Client(url) as client:
            got = await client.get("/x")
            assert not got.clean
            assert await client.ended()

    run(loop, main())


@pytest.mark.parametrize("pieces", [(b"abc",), (b"abc", b"defg")])
def test_relay_of_the_wrong_size_is_cut(
    loop: str, pieces: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Fewer or more bytes than promised are never a whole response, and none runs into the next."""
    caplog.set_level(logging.CRITICAL)

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/x"] = Relay(200, HEADERS, 6, chunks(*pieces))
        async with door(keeper) as url, Client(url) as client:
            got = await client.get("/x")
            assert not got.clean
            assert len(got.body) < 6

    run(loop, main())


def test_relay_to_http10_ends_with_the_connection_or_a_reset(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """HTTP/1.0 knows no chunks: a good end is a close, a bad one is a reset."""
    caplog.set_level(logging.CRITICAL)
    broken = TruncatedBodyError("Broke off.", expected=6, got=3)

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url:
            async with Client(url) as client:
                keeper.scripts["/x"] = Relay(200, HEADERS, None, chunks(b"abc"))
                await client.send(b"GET /x HTTP/1.0\r\n\r\n")
                got = await client.response()
                assert (got.body, got.clean) == (b"abc", True)
                assert got.headers["connection"] == "close"
            async with Client(url) as client:
                keeper.scripts["/x"] = Relay(200, HEADERS, None, chunks(b"abc", error=broken))
                await client.send(b"GET /x HTTP/1.0\r\n\r\n")
                with pytest.raises(ConnectionResetError):
                    await client.reader.read()

    run(loop, main())


def test_relay_of_a_head_reads_nothing(loop: str) -> None:
    """HEAD passes the headers on and leaves the body alone."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url, Client(url) as client:
            keeper.scripts["/x"] = Relay(200, HEADERS, 6, chunks(b"abcdef"))
            got = await client.get("/x", method="HEAD")
            assert got.headers["content-length"] == "6"
            assert (await client.get("/none")).status == 404

    run(loop, main())


def test_client_that_leaves_a_relay_lets_upstream_go(loop: str) -> None:
    """The body's source is closed as soon as its reader is gone, or takes nothing for too long."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        closed = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(1 << 16)
                    await asyncio.sleep(0)
            finally:
                closed.set()

        async def stream(_head: RequestHead, _body: bytes) -> Answer | Relay:
            closed.clear()
            return Relay(200, HEADERS, None, endless())

        keeper.scripts["/x"] = stream
        async with door(keeper, stall=0.2) as url:
            async with Client(url) as client:
                await client.send(b"GET /x HTTP/1.1\r\nHost: m\r\n\r\n")
                await client.head()
            await closed.wait()
            async with Client(url, buffer=4096) as client:
                await client.send(b"GET /x HTTP/1.1\r\nHost: m\r\n\r\n")
                await client.head()
                await closed.wait()
            assert (await get(url, "/none")).status == 404

    run(loop, main())
