"""The asynchronous client: what it sends, where it goes, what it calls an answer."""

import asyncio
import socket
import ssl
import traceback
from collections.abc import Callable

import aiohttp
import pytest

from mirror.credential import Credential
from mirror.errors import (
    ForbiddenTargetError,
    MalformedQuestionError,
    MirrorError,
    UpstreamBusyError,
    UpstreamUnreachableError,
)
from mirror.messages import UpstreamRequest
from tests.unit.upstream.conftest import HUB, TOKEN, Upstream
from tests.unit.upstream.listener import (
    Listener,
    Seen,
    by_path,
    raw,
    redirect,
    reply,
    says,
)

Make = Callable[..., Upstream]
CANARY = "X-Amz-Signature=canary"


def test_ask_sends_only_what_it_should(make: Make) -> None:
    """Unencoded bodies, its own name, no cookies; a hub cannot smuggle framing or secrets in."""
    smuggled = (
        ("Authorization", "Bearer other"),
        ("Cookie", "a=b"),
        ("Host", "evil"),
        ("Content-Length", "999"),
        ("Accept-Encoding", "gzip"),
        ("Accept", "application/json"),
    )

    async def run(upstream: Upstream) -> None:
        await upstream.client.open()
        for _ in range(2):
            await upstream.client.ask(
                HUB, UpstreamRequest("POST", "/p?q=%2F", smuggled, b"{}"), TOKEN, limit=100
            )
        await upstream.client.close()

    cookie = ("Set-Cookie", "session=1; Path=/")
    with Listener(says(200, b"ok", cookie)) as hub:
        asyncio.run(run(make(hub.url)))
        seen = hub.seen[1]
    assert (seen.method, seen.target, seen.body) == ("POST", "/p?q=%2F", b"{}")
    assert seen.headers["authorization"] == TOKEN.header
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["via"] == "1.1 modelmirror"
    assert seen.headers["user-agent"].startswith("modelmirror/")
    assert seen.headers["host"] == hub.url.removeprefix("http://")
    assert "cookie" not in seen.headers
    assert "content-type" not in seen.headers


def test_ask_returns_other_statuses_with_folded_headers(make: Make) -> None:
    """404 is an answer; names are lower-case, repeated lines one value; base and URL are told."""
    lines = (("X-Error-Code", "EntryNotFound"), ("Link", "<a>"), ("Link", "<b>"))
    with Listener(says(404, b"no", *lines)) as hub:
        upstream = make(hub.url)
        response = asyncio.run(upstream.ask("/a?b=c"))
    assert (response.status, response.body) == (404, b"no")
    assert response.headers["x-error-code"] == "EntryNotFound"
    assert response.headers["link"] == "<a>, <b>"
    assert (response.base, response.url) == (hub.url, f"{hub.url}/a?b=c")
    assert [(event.hub, event.host, event.status) for event in upstream.asked] == [
        (HUB, hub.url.removeprefix("http://"), 404)
    ]


def test_ask_follows_redirects_and_keeps_the_credential_at_home(make: Make) -> None:
    """The same origin gets it again, another port of the same host does not, cookies go nowhere."""
    with Listener(says(200, b"there")) as cdn:
        signed = redirect(f"{cdn.url}/c?{CANARY}")
        with Listener(by_path({"/a": redirect("/b", 307), "/b": signed})) as hub:
            upstream = make(hub.url, redirect_hosts=(cdn.url,))
            response = asyncio.run(upstream.ask("/a"))
            assert [seen.headers.get("authorization") for seen in hub.seen] == [TOKEN.header] * 2
            assert len({seen.connection for seen in hub.seen}) == 1
    assert (response.body, response.base, response.url) == (
        b"there",
        hub.url,
        f"{cdn.url}/c?{CANARY}",
    )
    assert "authorization" not in cdn.seen[0].headers
    assert "cookie" not in cdn.seen[0].headers
    assert CANARY not in repr(upstream.asked)


def test_ask_can_return_the_redirect_itself(make: Make) -> None:
    """Where the caller wants the 3xx, nothing is followed."""
    with Listener(redirect("https://evil.example/")) as hub:
        response = asyncio.run(make(hub.url).ask(follow_redirects=False))
    assert response.status == 302
    assert response.headers["location"] == "https://evil.example/"


@pytest.mark.parametrize(
    ("status", "method", "body"), [(307, "POST", b"{}"), (308, "POST", b"{}"), (303, "GET", b"")]
)
def test_ask_a_redirected_post(make: Make, status: int, method: str, body: bytes) -> None:
    """307 and 308 keep method and body (a renamed repo's paths-info); 303 asks for a GET."""
    with Listener(by_path({"/a": redirect("/b", status), "/b": says(200, b"ok")})) as hub:
        asyncio.run(make(hub.url).ask("/a", method="POST", body=b"{}"))
    assert (hub.seen[1].method, hub.seen[1].body) == (method, body)


@pytest.mark.parametrize(
    "location",
    [
        "/",
        "https://169.254.169.254/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://0x7f.1/",
    ],
)
def test_ask_refuses_circles_and_forbidden_targets(make: Make, location: str) -> None:
    """A loop ends after five hops; a redirect inward is not asked."""
    with Listener(redirect(location)) as hub:
        with pytest.raises(ForbiddenTargetError):
            asyncio.run(make(hub.url).ask())
        assert len(hub.seen) == (6 if location == "/" else 1)


def test_ask_tries_the_next_upstream(make: Make) -> None:
    """No connection, a 5xx, a broken answer: the next base is asked, and told as the one that answered."""
    closed = Listener(redirect("/"))
    closed.stop()
    cut = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
    with (
        Listener(says(503)) as broken,
        Listener(cut) as short,
        Listener(says(200, b"ok")) as good,
    ):
        response = asyncio.run(make(closed.url, broken.url, short.url, good.url).ask())
    assert (response.body, response.base) == (b"ok", good.url)


def test_ask_a_5xx_of_the_last_upstream_is_unreachable(make: Make) -> None:
    """A 5xx is never handed on as an answer, 501 neither."""
    for status in (500, 501, 502, 503, 504):
        said = pytest.raises(UpstreamUnreachableError, match=str(status))
        with Listener(says(status, b"x")) as hub, said:
            asyncio.run(make(hub.url).ask())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (("Retry-After", "7"), 7.0),
        (("RateLimit", '"api";r=0;t=55'), 56.0),
        (("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"), 0.0),
        (("Retry-After", "soon"), None),
        (("Retry-After", "9" * 30), 86400.0),
    ],
)
def test_ask_429_says_when_to_come_back(
    make: Make, header: tuple[str, str], seconds: float | None
) -> None:
    """`Retry-After` in both forms, the Hub's `RateLimit`, nonsense; no other upstream is bothered."""
    with (
        Listener(says(429, b"", header)) as hub,
        Listener(says()) as other,
    ):
        with pytest.raises(UpstreamBusyError) as caught:
            asyncio.run(make(hub.url, other.url).ask())
        assert caught.value.retry_after == seconds
        assert other.connections == 0


def test_ask_asks_again_when_a_kept_connection_is_dead(make: Make) -> None:
    """A connection that upstream closes as it is reused costs a second request, a POST's too."""

    async def run(upstream: Upstream, method: str) -> bytes:
        await upstream.client.open()
        request = UpstreamRequest(method, "/")
        bodies = [(await upstream.client.ask(HUB, request, None, limit=100)).body for _ in range(2)]
        await upstream.client.close()
        return bodies[1]

    def once(seen: Seen, connection: socket.socket) -> bool:
        # The second request on a connection is read and not answered.
        return sum(item.connection == seen.connection for item in hub.seen) == 1 and reply(
            connection, 200, b"ok"
        )

    for method in ("GET", "POST"):
        with Listener(once) as hub:
            assert asyncio.run(run(make(hub.url), method)) == b"ok"
            assert hub.connections == 2


def test_ask_a_credential_with_a_line_break_is_the_callers_fault(make: Make) -> None:
    """Nothing that could forge a header is sent."""
    with Listener(says()) as hub:
        for text in ("Bearer a\r\nX: y", "Bearer \udc80", "Bearer \x00"):
            with pytest.raises(MalformedQuestionError):
                asyncio.run(make(hub.url).ask(credential=Credential(text)))
        assert hub.connections == 0


def _foreign() -> list[Exception]:
    signed = aiohttp.InvalidURL(f"https://cdn.hf.co/?{CANARY}")
    return [
        aiohttp.ClientError(CANARY),
        aiohttp.ClientPayloadError(CANARY),
        aiohttp.ServerDisconnectedError(CANARY),
        aiohttp.ConnectionTimeoutError(CANARY),
        aiohttp.SocketTimeoutError(CANARY),
        aiohttp.TooManyRedirects(None, ()),  # type: ignore[arg-type]
        signed,
        ConnectionResetError(CANARY),
        BrokenPipeError(CANARY),
        OSError(113, "No route to host"),
        socket.gaierror(socket.EAI_AGAIN, "again"),
        ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
        ssl.SSLCertVerificationError(1, CANARY),
        TimeoutError(CANARY),
        EOFError(CANARY),
        UnicodeError(CANARY),
        ValueError(CANARY),
    ]


@pytest.mark.parametrize("foreign", _foreign(), ids=lambda error: type(error).__name__)
def test_ask_lets_no_foreign_error_out(
    make: Make, monkeypatch: pytest.MonkeyPatch, foreign: Exception
) -> None:
    """Each error of the libraries below becomes one of ours, and its text stays inside."""

    async def fail(*_args: object, **_kwargs: object) -> None:
        raise foreign

    monkeypatch.setattr(aiohttp.ClientSession, "request", fail)
    upstream = make("http://127.0.0.1:9")
    with pytest.raises(MirrorError) as caught:
        asyncio.run(upstream.ask())
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert [event.status for event in upstream.asked] == [0]


def test_ask_before_open_and_after_close_is_an_error_of_ours(make: Make) -> None:
    """Whoever still asks while the mirror ends gets a sentence."""
    upstream = make("http://127.0.0.1:9")
    with pytest.raises(UpstreamUnreachableError):
        asyncio.run(upstream.client.ask(HUB, UpstreamRequest("GET", "/"), None, limit=1))
    asyncio.run(upstream.client.close())
