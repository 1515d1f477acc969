"""What attackers send gets a 4xx and never reaches the keeper."""

import asyncio
import json

import pytest

from mirror.messages import Answer
from tests.doubles.scripted_keeper import ScriptedKeeper
from tests.web.client import Client
from tests.web.door import LOOPS, door, run
from tests.web.hostile import FRAMINGS, METHODS, TARGETS

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_hostile_targets_are_refused(loop: str) -> None:
    """Every target of the table is a 4xx with a sentence, before any hub sees it."""
    assert len(TARGETS) >= 150

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url:
            for target in TARGETS:
                async with Client(url) as client:
                    await client.send(f"GET {target} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
                    got = await client.response()
                assert 400 <= got.status < 500, target
                assert json.loads(got.body)["error"], target
                assert "x-error-message" in got.headers, target
                assert not keeper.asked, target

    run(loop, main())


def test_methods_without_meaning_are_405(loop: str) -> None:
    """CONNECT, TRACE and their like are refused with the methods that have a meaning."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url:
            for method in METHODS:
                async with Client(url) as client:
                    target = "evil.test:443" if method == "CONNECT" else "/x"
                    await client.send(f"{method} {target} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
                    got = await client.response()
                assert (got.status, got.headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")
        assert not keeper.asked

    run(loop, main())


@pytest.mark.parametrize("name", FRAMINGS)
def test_ambiguous_framing_is_refused_and_closed(loop: str, name: str) -> None:
    """What two parsers could read differently is a 4xx that ends the connection, in our words."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/x"] = Answer(200, (), (b"",))
        async with door(keeper) as url, Client(url) as client:
            await client.send(FRAMINGS[name])
            status, headers = await client.head()
            assert 400 <= status < 500
            assert "server" not in headers
            body = await client.reader.readexactly(int(headers["content-length"]))
            assert json.loads(body)["error"]
            assert headers["connection"] == "close"
            assert await client.ended()
        assert not keeper.asked

    run(loop, main())


def test_smuggled_request_is_not_answered(loop: str) -> None:
    """What follows a refused request on its connection is never taken for a request."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/evil"] = Answer(200, (), (b"evil",))
        async with door(keeper) as url:
            for first in (*FRAMINGS.values(), b"GET /../x HTTP/1.1\r\nHost: m\r\n\r\n"):
                async with Client(url) as client:
                    await client.send(first + b"GET /evil HTTP/1.1\r\nHost: m\r\n\r\n")
                    status, headers = await client.head()
                    assert 400 <= status < 500
                    await client.reader.readexactly(int(headers["content-length"]))
                    assert await client.ended()
        assert not keeper.asked

    run(loop, main())


def test_expectations_are_known_or_refused(loop: str) -> None:
    """Whoever expects something else than 100-continue is told so before the body is read."""

    async def main() -> None:
        async with door(ScriptedKeeper()) as url, Client(url) as client:
            await client.send(
                b"POST /x HTTP/1.1\r\nHost: m\r\nExpect: 200-maybe\r\nContent-Length: 3\r\n\r\n"
            )
            assert (await client.response()).status == 417

    run(loop, main())


def test_offer_to_switch_protocols_is_declined_and_closed(loop: str) -> None:
    """The request is answered as if nothing was offered; nothing behind it is left waiting for an answer."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/x"] = Answer(200, (), (b"ok",))
        async with door(keeper) as url:
            for offer in ("h2c", "websocket", "TLS/1.0"):
                async with Client(url) as client:
                    lines = f"Upgrade: {offer}\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                    request = f"GET /x HTTP/1.1\r\nHost: m\r\n{lines}\r\n"
                    await client.send(request.encode() * 2)
                    got = await client.response()
                    assert (got.status, got.body) == (200, b"ok")
                    assert got.headers["connection"] == "close"
                    assert await client.ended()

    run(loop, main())


def test_thousand_pipelined_requests_are_answered_in_order(loop: str) -> None:
    """A client that pipelines without end is served one request at a time and not buffered."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/x"] = Answer(200, (), (b"ok",))
        async with door(keeper) as url, Client(url) as client:
            count = 1000
            sending = asyncio.ensure_future(
                client.send(b"GET /x HTTP/1.1\r\nHost: m\r\n\r\n" * count)
            )
            for _ in range(count):
                assert (await client.response()).body == b"ok"
            await sending

    run(loop, main())
