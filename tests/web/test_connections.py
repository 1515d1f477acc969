"""Connections as such: limits, stopping, logging, base URLs, and the ways that are no plain TCP."""

import asyncio
import os
import re
import ssl
import subprocess
from pathlib import Path

import pytest

from mirror.clock import FixedClock
from mirror.errors import ConfigError
from mirror.events import Event, Served
from mirror.messages import Answer
from mirror.web.serve import Door
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper
from tests.web.client import Client, get
from tests.web.door import LOOPS, door, run, until

pytestmark = pytest.mark.parametrize("loop", LOOPS)

MIB = 1 << 20


def test_connections_beyond_the_limit_are_told(loop: str) -> None:
    """The connection over the limit gets a 503 with Retry-After; when one goes, the next is served."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper, connections=2) as url:
            async with Client(url) as one, Client(url) as two:
                assert (await one.get("/-/live")).status == 200
                assert (await two.get("/-/live")).status == 200
                async with Client(url) as three:
                    got = await three.get("/-/live")
                    assert (got.status, got.headers["retry-after"]) == (503, "5")
                    assert await three.ended()
                assert (await one.get("/-/live")).status == 200
            while (await get(url, "/-/live")).status != 200:
                pass

    run(loop, main())


def test_stop_lets_running_responses_end(loop: str, tmp_path: Path) -> None:
    """A stop takes no new connection, closes idle ones, and waits for what is under way."""
    data = os.urandom(3 * MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, data, here=MIB)
        keeper.serve("/blob", blob)
        opened = Door(keeper, host="127.0.0.1", port=0, drain=30.0)
        url = await opened.start()
        async with Client(url) as idle, Client(url) as busy:
            assert (await idle.get("/-/ready")).status == 200
            await busy.send(b"GET /blob HTTP/1.1\r\nHost: m\r\n\r\n")
            await busy.head()
            stopping = asyncio.ensure_future(opened.stop())
            assert await idle.ended()
            with pytest.raises(OSError, match=r"."):
                await get(url, "/-/live")
            assert not stopping.done()
            blob.grow(len(data))
            blob.verify()
            assert await busy.reader.readexactly(len(data)) == data
            await stopping
            assert await busy.ended()
        assert keeper.open_feeds == 0

    run(loop, main())


def test_stop_cuts_what_does_not_end(loop: str, tmp_path: Path) -> None:
    """After the drain time a response is cut: by pump, waiting for bytes, or thinking."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        cold = ScriptedBlob(tmp_path, os.urandom(MIB), here=1)
        hot = ScriptedBlob(tmp_path, os.urandom(16 * MIB))
        keeper.serve("/cold", cold)
        keeper.serve("/hot", hot)
        opened = Door(keeper, host="127.0.0.1", port=0, drain=0.05)
        url = await opened.start()
        async with Client(url) as one, Client(url, buffer=4096) as two:
            for client, path in ((one, b"/cold"), (two, b"/hot")):
                await client.send(b"GET %b HTTP/1.1\r\nHost: m\r\n\r\n" % path)
                await client.head()
            await opened.stop()
            assert keeper.open_feeds == 0
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await one.reader.readexactly(MIB)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await two.reader.readexactly(16 * MIB)

    run(loop, main())


def test_log_has_one_safe_line_per_request(loop: str) -> None:
    """Each request is one line ending in its Cache-Status; no query, no credential, no control."""

    async def main() -> tuple[list[str], list[Event]]:
        keeper = ScriptedKeeper()
        batches: list[str] = []
        events: list[Event] = []
        keeper.scripts["/a%0ab"] = Answer(200)
        keeper.scripts["/x"] = Answer(200, (), (b"body",), found="stale")
        async with door(
            keeper, access=batches.append, observe=events.append, clock=FixedClock(1_750_000_000.5)
        ) as url:
            secret = "Authorization: Bearer hf_secret"
            await get(url, "/x?X-Amz-Signature=hf_secret", secret)
            await get(url, "/a%0ab", secret)
            await get(url, "/" + "/".join(["y" * 100] * 9), secret)
            async with Client(url) as client:
                await client.send(b"GET /\xff\x1b[31m HTTP/1.1\r\nHost: m\r\n\r\n")
                await client.head()
            await until(lambda: len(events) == 4)
        return batches, events

    batches, events = run(loop, main())
    lines = "".join(batches).splitlines()
    assert len(lines) == 4
    assert re.fullmatch(
        r"2025-06-15T15:06:40\.500Z 127\.0\.0\.1 GET /x\?\S+ 200 4 \d\.\d{3} modelmirror; fwd=stale",
        lines[0],
    )
    assert "secret" not in "".join(batches)
    assert all(line.isascii() or "…" in line for line in lines)
    assert all(line.replace("…", "").isprintable() for line in lines)
    assert len(lines[2]) < 700
    assert all(isinstance(event, Served) for event in events)


@pytest.mark.parametrize(
    ("settings", "headers", "base"),
    [
        ({}, ("Host: a.test:81",), "http://a.test:81"),
        ({}, ("Host: [::1]:81",), "http://[::1]:81"),
        ({}, ("Host: my_mirror",), "http://my_mirror"),
        ({}, ("Host: a", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https"), "http://a"),
        ({"public_url": "https://p/x"}, ("Host: a",), "https://p/x"),
        (
            {"trusted_proxies": ("127.0.0.0/8",)},
            ("Host: a", "X-Forwarded-Host: evil, front.test", "X-Forwarded-Proto: https"),
            "https://front.test",
        ),
        (
            {"trusted_proxies": ("10.0.0.1",)},
            ("Host: a", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https"),
            "http://a",
        ),
    ],
)
def test_base_url_comes_from_whom_we_believe(
    loop: str, settings: dict[str, object], headers: tuple[str, ...], base: str
) -> None:
    """Rewritten URLs start where this client reaches us; only trusted proxies may say otherwise."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper, **settings) as url, Client(url) as client:
            await client.send("\r\n".join(["GET /x HTTP/1.1", *headers, "", ""]).encode())
            await client.head()
        assert keeper.asked[0].base_url == base

    run(loop, main())


def test_credential_is_taken_out_of_the_headers(loop: str) -> None:
    """The Authorization is the credential and no header; names are lower case, repeats joined."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url:
            await get(url, "/x%2Fy?a=%2F", "AUTHORIZATION: Bearer t", "X-A: 1", "x-a: 2")
        head = keeper.asked[0]
        assert (head.path, head.query) == ("/x%2Fy", "a=%2F")
        assert head.credential is not None
        assert head.credential.header == "Bearer t"
        assert head.headers == {"host": "mirror.test", "x-a": "1, 2"}

    run(loop, main())


def test_wrong_trusted_proxy_is_named(loop: str) -> None:
    """A setting that is no network is a ConfigError that quotes it."""
    del loop
    with pytest.raises(ConfigError, match="'front'"):
        Door(ScriptedKeeper(), host="127.0.0.1", port=0, trusted_proxies=("front",))


def test_unix_socket_is_served_by_copy(loop: str, tmp_path: Path) -> None:
    """Where the transport is no TCP socket, bytes go through it: whole, in order, cut on errors."""
    data = os.urandom(5 * MIB)

    async def main() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, data, window=200_000)
        keeper.serve("/blob", blob)
        body = (b"head", blob.span(0, MIB), b"middle", blob.span(MIB), b"t" * 600_000)
        keeper.scripts["/mixed"] = Answer(200, (), body)
        opened = Door(keeper, host="127.0.0.1", port=0, drain=0.0)
        await opened.start()
        path = str(tmp_path / "door.sock")
        server = await asyncio.get_running_loop().create_unix_server(opened._listener, path)
        reader, writer = await asyncio.open_unix_connection(path)
        for name, expected in (
            ("/blob", data),
            ("/mixed", b"head" + data[:MIB] + b"middle" + data[MIB:] + b"t" * 600_000),
        ):
            writer.write(f"GET {name} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(expected)) == expected
        writer.close()
        server.close()
        await opened.stop()
        assert keeper.open_feeds == 0

    run(loop, main())


def test_tls_is_served_by_copy(loop: str, tmp_path: Path) -> None:
    """Over TLS a blob arrives whole, and the base URL says https."""
    data = os.urandom(3 * MIB)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=mirror.test", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/blob", ScriptedBlob(tmp_path, data))
        opened = Door(keeper, host="127.0.0.1", port=0, drain=0.0)
        await opened.start()
        ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ours.load_cert_chain(certificate, key)
        server = await asyncio.get_running_loop().create_server(
            opened._listener, "127.0.0.1", 0, ssl=ours
        )
        theirs = ssl.create_default_context(cafile=str(certificate))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            server.sockets[0].getsockname()[1],
            ssl=theirs,
            server_hostname="mirror.test",
        )
        writer.write(b"GET /blob HTTP/1.1\r\nHost: mirror.test\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(data)) == data
        assert keeper.asked[0].base_url == "https://mirror.test"
        writer.close()
        server.close()
        await opened.stop()

    run(loop, main())


def test_connections_of_one_address_have_a_limit_where_it_is_set(loop: str) -> None:
    """One too many is told so; a closed one makes room; trusted proxies are many clients."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/file")
        async with door(keeper, per_address=2) as url:
            async with Client(url) as first, Client(url) as second:
                for client in (first, second):
                    assert (await client.get("/file")).status == 200
                for _ in range(3):
                    async with Client(url) as third:
                        got = await third.get("/file")
                        assert got.status == 503
                        assert "one address" in got.headers["x-error-message"]
                        assert got.headers["retry-after"]
                        assert await third.ended()
                assert (await first.get("/file")).status == 200

            async def served() -> bool:
                async with Client(url) as again:
                    return (await again.get("/file")).status == 200

            while not await served():
                pass
        async with (
            door(keeper, per_address=1, trusted_proxies=("127.0.0.1",)) as url,
            Client(url) as first,
            Client(url) as second,
        ):
            for client in (first, second):
                assert (await client.get("/file")).status == 200
        async with door(keeper) as url, Client(url) as first, Client(url) as second:
            for client in (first, second):
                assert (await client.get("/file")).status == 200

    run(loop, main())
