"""Status, headers and bytes of answers, over sockets."""

import asyncio
import gzip
import json
import logging
from pathlib import Path

import pytest

from mirror.errors import (
    MalformedQuestionError,
    MethodRefusedError,
    OfflineError,
    StoreFullError,
    UpstreamBusyError,
    UpstreamUnreachableError,
)
from mirror.messages import MAX_REQUEST_BODY, Answer, Relay, RequestHead
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper
from tests.web.client import Client, Got, get
from tests.web.door import LOOPS, door, run

pytestmark = pytest.mark.parametrize("loop", LOOPS)

DATA = bytes(range(256)) * 4096  # 1 MiB: beyond what goes as one write


@pytest.mark.parametrize("size", [0, 1, 500, 64 << 10, (64 << 10) + 1, 1 << 20, 9_000_001])
def test_get_sends_the_blob_whole(loop: str, size: int, tmp_path: Path) -> None:
    """A blob of any size arrives byte for byte, with its length, its tag and its Cache-Status."""

    async def main() -> Got:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, (DATA * 9)[:size])
        keeper.serve("/blob", blob)
        async with door(keeper) as url:
            got = await get(url, "/blob")
        assert got.body == blob.data
        assert got.headers["etag"] == f'"{blob.digest.hex}"'
        assert size == 0 or keeper.touched == [blob.digest]
        return got

    got = run(loop, main())
    assert (got.status, got.clean) == (200, True)
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["cache-status"] == "modelmirror; hit"
    assert got.headers["via"] == "1.1 modelmirror"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["access-control-allow-origin"] == "*"
    assert "X-Repo-Commit" in got.headers["access-control-expose-headers"]
    assert "sandbox" in got.headers["content-security-policy"]
    assert "server" not in got.headers


def test_many_requests_share_a_connection(loop: str, tmp_path: Path) -> None:
    """Small, large, ranged and HEAD requests follow each other on one connection, pipelined too."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        large, small = ScriptedBlob(tmp_path, DATA), ScriptedBlob(tmp_path, b"small")
        keeper.serve("/large", large)
        keeper.serve("/small", small)
        async with door(keeper) as url, Client(url) as client:
            for _ in range(3):
                assert (await client.get("/large")).body == DATA
                assert (await client.get("/small")).body == b"small"
                assert (await client.get("/large", "Range: bytes=5-")).body == DATA[5:]
                head = await client.get("/large", method="HEAD")
                assert head.headers["content-length"] == str(len(DATA))
            one = b"GET /%b HTTP/1.1\r\nHost: m\r\n\r\n"
            await client.send(b"".join(one % name for name in (b"large", b"small") * 20))
            for _ in range(20):
                assert (await client.response()).body == DATA
                assert (await client.response()).body == b"small"
            assert (await client.get("/nothing")).status == 404

    run(loop, main())


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-199", 206, 100, 200),
        ("bytes=1048570-", 206, 1048570, 1 << 20),
        ("bytes=-7", 206, (1 << 20) - 7, 1 << 20),
        ("bytes=0-99999999", 206, 0, 1 << 20),
        ("bytes=0-99,100-199", 206, 0, 200),
        ("BYTES=3-5", 206, 3, 6),
        ("bytes=5-3", 200, 0, 1 << 20),
        ("lines=0-5", 200, 0, 1 << 20),
        ("bytes=a-b", 200, 0, 1 << 20),
        ("bytes=\u0661-5", 200, 0, 1 << 20),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 34, 2)), 200, 0, 1 << 20),
    ],
)
def test_range_sends_what_was_asked(
    loop: str, asked: str, status: int, start: int, end: int, tmp_path: Path
) -> None:
    """One range is 206 with its bytes; what is no range of bytes is ignored."""

    async def main() -> Got:
        keeper = ScriptedKeeper()
        keeper.serve("/blob", ScriptedBlob(tmp_path, DATA))
        async with door(keeper) as url, Client(url) as client:
            await client.send(f"GET /blob HTTP/1.1\r\nHost: m\r\nRange: {asked}\r\n\r\n".encode())
            return await client.response()

    got = run(loop, main())
    assert (got.status, got.clean) == (status, True)
    assert got.body == DATA[start:end]
    expected = f"bytes {start}-{end - 1}/{len(DATA)}" if status == 206 else None
    assert got.headers.get("content-range") == expected


def test_range_beyond_the_end_is_416(loop: str, tmp_path: Path) -> None:
    """416 tells the size, in its header and in words, and the connection goes on."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/blob", ScriptedBlob(tmp_path, DATA))
        keeper.serve("/empty", ScriptedBlob(tmp_path, b""))
        async with door(keeper) as url, Client(url) as client:
            got = await client.get("/blob", f"Range: bytes={len(DATA)}-")
            assert (got.status, got.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
            assert str(len(DATA)) in json.loads(got.body)["error"]
            got = await client.get("/empty", "Range: bytes=0-0")
            assert (got.status, got.headers["content-range"]) == (416, "bytes */0")

    run(loop, main())


def test_preconditions_decide_before_the_range(loop: str, tmp_path: Path) -> None:
    """If-Match, If-None-Match and If-Range are honoured in the order of RFC 9110 §13.2.2."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, DATA)
        keeper.serve("/blob", blob, headers=(("Content-Type", "text/x"), ("X-Repo-Commit", "c")))
        tag = f'"{blob.digest.hex}"'
        some = "Range: bytes=0-4"
        cases: list[tuple[tuple[str, ...], int]] = [
            ((f"If-None-Match: {tag}",), 304),
            ((f"If-None-Match: W/{tag}",), 304),
            ((f'If-None-Match: "x", {tag}', some), 304),
            (("If-None-Match: *",), 304),
            (('If-None-Match: "x"', some), 206),
            ((f"If-Match: {tag}", some), 206),
            ((f"If-Match: W/{tag}",), 412),
            (('If-Match: "x"', f"If-None-Match: {tag}"), 412),
            (("If-Match: *",), 200),
            ((f"If-Range: {tag}", some), 206),
            ((f"If-Range: W/{tag}", some), 200),
            (("If-Range: Wed, 21 Oct 2015 07:28:00 GMT", some), 200),
            (("If-Modified-Since: Wed, 21 Oct 2099 07:28:00 GMT",), 200),
            (("If-Unmodified-Since: Wed, 21 Oct 1999 07:28:00 GMT",), 200),
        ]
        async with door(keeper) as url, Client(url) as client:
            for headers, status in cases:
                for method in ("GET", "HEAD"):
                    got = await client.get("/blob", *headers, method=method)
                    ranged = method == "HEAD" and status == 206
                    assert got.status == (200 if ranged else status), (method, headers)
                    assert got.headers["etag"] == tag
                    if status == 304:
                        assert got.headers["x-repo-commit"] == "c"
                        assert {"content-length", "content-type"}.isdisjoint(got.headers)

    run(loop, main())


def test_refusals_are_worded(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each error has its status, its sentence as JSON and as X-Error-Message, and a retry hint if any."""
    caplog.set_level(logging.CRITICAL)
    cases = [
        (MalformedQuestionError("Bad."), 400, None),
        (MethodRefusedError("No writes."), 405, None),
        (OfflineError("Not here.", hint="Go online."), 501, None),
        (UpstreamUnreachableError("Gone."), 502, "10"),
        (UpstreamBusyError("Busy.", retry_after=6.2), 503, "7"),
    ]

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url:
            for error, status, retry in cases:
                keeper.scripts["/it"] = error
                got = await get(url, "/it")
                assert got.status == status
                assert json.loads(got.body) == {"error": str(error)}
                assert got.headers["x-error-message"] == str(error)
                assert got.headers.get("retry-after") == retry
                assert (await get(url, "/it", method="HEAD")).status == status

    run(loop, main())


def test_fault_of_the_disk_shows_its_kind(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is a 507 that the log explains; the folder that is full is not told."""

    async def main() -> Got:
        keeper = ScriptedKeeper()
        keeper.scripts["/it"] = StoreFullError("/srv/v1/partial is full.", needed=1, free=0)
        async with door(keeper) as url:
            return await get(url, "/it")

    got = run(loop, main())
    name = json.loads(got.body)["error"].rpartition(" ")[2].rstrip(".")
    assert got.status == 507
    assert b"/srv" not in got.body + str(got.headers).encode()
    assert f"{name}: GET /it failed: /srv/v1/partial is full." in caplog.text


def test_unforeseen_error_shows_only_its_id(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """A bug is a 500 whose id stands in the log, and nothing of the inside goes out."""

    async def main() -> Got:
        keeper = ScriptedKeeper()
        keeper.scripts["/bug"] = RuntimeError("secret inside")
        async with door(keeper) as url, Client(url) as client:
            got = await client.get("/bug")
            assert await client.ended()
            return got

    got = run(loop, main())
    name = json.loads(got.body)["error"].rpartition(" ")[2].rstrip(".")
    assert got.status == 500
    assert b"secret" not in got.body
    assert name in caplog.text
    assert "secret inside" in caplog.text


def test_refused_fill_is_worded_before_the_head(loop: str, tmp_path: Path) -> None:
    """A blob that cannot be followed, or whose first byte never comes, is a refusal and no cut."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, DATA, here=0)
        keeper.serve("/blob", blob)
        async with door(keeper) as url, Client(url) as client:
            keeper.refuse_follow = StoreFullError("Full.", needed=1, free=0)
            assert (await client.get("/blob")).status == 507
            keeper.refuse_follow = None
            blob.fail(UpstreamUnreachableError("Gone."))
            assert (await client.get("/blob")).status == 502
            assert keeper.open_feeds == 0

    run(loop, main())


def test_post_body_reaches_the_keeper(loop: str) -> None:
    """Plain, chunked, gzip and announced bodies arrive whole; what is too large or broken is refused."""
    packed = gzip.compress(b"hello") + gzip.compress(b" world")
    bomb = gzip.compress(bytes(MAX_REQUEST_BODY + 1))
    plain = b"x" * MAX_REQUEST_BODY
    post = b"POST /api HTTP/1.1\r\nHost: m\r\n"
    gz = b"Content-Encoding: gzip\r\n"

    def sized(body: bytes) -> bytes:
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

    taken = [
        (sized(b"hello"), b"hello"),
        (sized(b""), b""),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (gz + sized(packed), b"hello world"),
        (sized(plain), plain),
    ]
    refused = [
        (sized(plain + b"x"), 413),
        (gz + sized(bomb), 413),
        (gz + sized(packed[:-3]), 400),
        (gz + sized(b"no gzip"), 400),
        (b"Content-Encoding: br\r\n" + sized(b"x"), 400),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"Content-Length: 99999999999\r\n\r\n", 413),
    ]

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/api"] = Answer(200, (), (b"ok",))
        async with door(keeper) as url:
            async with Client(url) as client:
                for raw, body in taken:
                    await client.send(post + raw)
                    assert (await client.response()).body == b"ok"
                    assert keeper.bodies[-1] == body
                await client.send(post + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
                assert (await client.head())[0] == 100
                await client.send(b"hi")
                assert (await client.response()).body == b"ok"
            count = len(keeper.asked)
            for raw, status in refused:
                async with Client(url) as client:
                    await client.send(post + raw)
                    assert (await client.response()).status == status, raw[:80]
            assert len(keeper.asked) == count

    run(loop, main())


def test_reads_have_no_body_and_writes_are_not_read(loop: str) -> None:
    """A GET with a body is refused; a PUT's body is left alone and its connection closed."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.scripts["/x"] = MethodRefusedError("No writes.", allowed=("GET",))
        async with door(keeper) as url:
            async with Client(url) as client:
                got = await client.get("/x", "Content-Length: 2", "", "hi")
                assert got.status == 400
            assert not keeper.asked
            async with Client(url) as client:
                got = await client.get("/x", "Content-Length: 3", method="PUT")
                assert (got.status, got.headers["allow"]) == (405, "GET")
                assert got.headers["connection"] == "close"
            assert keeper.bodies == [b""]

    run(loop, main())


def test_options_answers_browsers(loop: str) -> None:
    """A preflight is answered at the door, ``OPTIONS *`` too."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url, Client(url) as client:
            for path in ("/a/resolve/main/b", "*"):
                got = await client.get(path, method="OPTIONS")
                assert got.status == 204
                assert "Range" in got.headers["access-control-allow-headers"]
                assert got.headers["access-control-allow-origin"] == "*"
                assert "content-length" not in got.headers
            assert not keeper.asked

    run(loop, main())


def test_http10_is_answered(loop: str, tmp_path: Path) -> None:
    """HTTP/1.0 gets its length and its close, and keeps the connection when it asks to."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/blob", ScriptedBlob(tmp_path, DATA))
        async with door(keeper) as url:
            async with Client(url) as client:
                await client.send(b"GET /blob HTTP/1.0\r\n\r\n")
                assert (await client.response()).body == DATA
                assert await client.ended()
            assert keeper.asked[-1].base_url == url
            async with Client(url) as client:
                for _ in range(2):
                    await client.send(b"GET /blob HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                    got = await client.response()
                    assert got.headers["connection"] == "keep-alive"
                    assert got.body == DATA

    run(loop, main())


def test_head_of_a_cold_blob_starts_nothing(loop: str, tmp_path: Path) -> None:
    """HEAD is answered from what is known: no feed is opened and no fill begun."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/blob", ScriptedBlob(tmp_path, DATA, here=0), found="miss")
        async with door(keeper) as url:
            got = await get(url, "/blob", method="HEAD")
            assert got.headers["content-length"] == str(len(DATA))
            assert got.headers["cache-status"] == "modelmirror; fwd=miss"
        assert not keeper.credentials

    run(loop, main())


def test_header_of_an_answer_cannot_smuggle_another(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub that passes on a line break is a 500, not a second header."""
    caplog.set_level(logging.CRITICAL)

    async def main() -> None:
        keeper = ScriptedKeeper()
        for value in ("a\r\nSet-Cookie: x=1", "a\nb", "a\0b", "a\rb"):
            keeper.scripts["/x"] = Answer(200, (("X-Name", value),), (b"",))
            async with door(keeper) as url:
                got = await get(url, "/x")
            assert got.status == 500
            assert "set-cookie" not in got.headers

    run(loop, main())


def test_cancelled_question_is_let_go(loop: str) -> None:
    """A client that hangs up while the keeper thinks frees the keeper's time."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        begun, ended = asyncio.Event(), asyncio.Event()

        async def think(_head: RequestHead, _body: bytes) -> Answer | Relay:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

        keeper.scripts["/slow"] = think
        async with door(keeper) as url:
            async with Client(url) as client:
                await client.send(b"GET /slow HTTP/1.1\r\nHost: m\r\n\r\n")
                await begun.wait()
            await ended.wait()

    run(loop, main())
