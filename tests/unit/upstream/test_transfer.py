"""Fetching blobs over real sockets: what is asked, and which answers are believed."""

import os
import traceback
from collections.abc import Callable

import pytest

from mirror.errors import (
    ForbiddenTargetError,
    UpstreamBusyError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.messages import UpstreamRequest
from mirror.upstream.failures import RestartNeededError, StorageRefusedError
from mirror.upstream.stopping import StopToken
from mirror.upstream.transfer import BUFFER
from tests.unit.upstream.conftest import HUB, TOKEN, Certificate, Got, Upstream
from tests.unit.upstream.listener import (
    Handler,
    Listener,
    by_path,
    framed,
    ranged,
    raw,
    redirect,
    says,
)

Make = Callable[..., Upstream]
CANARY = "X-Amz-Signature=canary"
DATA = os.urandom(3 * BUFFER + 12_345)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65_536, BUFFER, len(DATA)])
def test_fetch_whole(
    make: Make,
    certificates: Callable[..., Certificate],
    size: int,
    *,
    tls: bool,
) -> None:
    """Every byte in order, plain and over TLS, from an empty file to more than one buffer."""
    certificate = certificates()
    with Listener(ranged(DATA[:size]), tls=certificate.context if tls else None) as hub:
        got = make(hub.named_url, authorities=certificate.file).fetch(size)
        assert "range" not in hub.seen[0].headers
        assert hub.seen[0].headers["accept-encoding"] == "identity"
    assert bytes(got.data) == DATA[:size]
    head = got.heads[0]
    assert (head.status, head.start, head.size, head.validator) == (200, 0, size, '"v1"')


def test_fetch_continues_and_fetches_parts(make: Make) -> None:
    """`offset` resumes with If-Range; `end` asks for a closed range."""
    with Listener(ranged(DATA)) as hub:
        upstream = make(hub.url)
        got = upstream.fetch(len(DATA), offset=1000, validator='"v1"')
        part = upstream.fetch(len(DATA), offset=5, end=105)
        assert hub.seen[0].headers["range"] == "bytes=1000-"
        assert hub.seen[0].headers["if-range"] == '"v1"'
        assert hub.seen[1].headers["range"] == "bytes=5-104"
        assert "if-range" not in hub.seen[1].headers
    assert bytes(got.data) == DATA[1000:]
    assert bytes(part.data) == DATA[5:105]
    assert (got.heads[0].status, got.heads[0].start) == (206, 1000)


def test_fetch_never_sends_a_weak_validator(make: Make) -> None:
    """A weak ETag promises meaning, not bytes: If-Range must not carry it (RFC 9110 §13.1.5)."""
    with Listener(ranged(DATA)) as hub:
        make(hub.url).fetch(len(DATA), offset=1, validator='W/"v1"')
        assert "if-range" not in hub.seen[0].headers


def test_fetch_tells_the_head_before_the_first_byte(make: Make) -> None:
    """Whoever reserves room does it before bytes come; weak ETags are no validators."""
    with Listener(says(200, b"abc", ("ETag", 'W/"x"'))) as hub:
        order: list[object] = []
        make(hub.url).transfers.fetch(
            HUB, UpstreamRequest("GET", "/x"), TOKEN, offset=0, size=3, validator=None,
            sink=lambda view: order.append(bytes(view)), head=lambda head: order.append(head.validator),
            stop=StopToken(),
        )  # fmt: skip
    assert order == [None, b"abc"]


def test_fetch_follows_to_the_cdn_without_the_credential(make: Make) -> None:
    """The CDN gets neither the credential nor a cookie, and its signed URL is in nothing we say."""
    with Listener(by_path({"/c": ranged(DATA)})) as cdn:
        lead = redirect(f"{cdn.named_url}/c?{CANARY}")
        with Listener(by_path({"/a": redirect("/b", 307), "/b": lead})) as hub:
            upstream = make(hub.url, redirect_hosts=(f"localhost:{cdn.port}",))
            got = upstream.fetch(len(DATA), target="/a", offset=7)
            assert [seen.headers.get("authorization") for seen in hub.seen] == [TOKEN.header] * 2
    assert bytes(got.data) == DATA[7:]
    assert cdn.seen[0].target == f"/c?{CANARY}"
    assert cdn.seen[0].headers["range"] == "bytes=7-"
    assert "authorization" not in cdn.seen[0].headers
    assert got.heads[0].host == f"localhost:{cdn.port}"
    assert got.heads[0].hub_headers["location"] == "/b"
    assert "canary" not in repr(got.heads[0].headers)


@pytest.mark.parametrize(
    "location",
    [
        "/",
        "https://169.254.169.254/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
    ],
)
def test_fetch_refuses_circles_and_forbidden_targets(make: Make, location: str) -> None:
    """A loop ends after five hops; a redirect inward is not dialled."""
    with Listener(redirect(location)) as hub:
        with pytest.raises(ForbiddenTargetError):
            make(hub.url).fetch(5)
        assert len(hub.seen) == (6 if location == "/" else 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_fetch_the_hubs_refusal_keeps_what_it_said(make: Make, status: int) -> None:
    """Status, the Hub's own headers and a bounded body travel on; cookies and the rest do not."""
    headers = (
        ("X-Error-Code", "GatedRepo"),
        ("X-Error-Message", "Ask first"),
        ("Retry-After", "9"),
    )
    with (
        Listener(says(status, b"x" * 99_999, *headers, ("Set-Cookie", "a=b"))) as hub,
        pytest.raises(UpstreamRefusedError, match="Ask first") as caught,
    ):
        make(hub.url).fetch(5)
    assert caught.value.status == status
    assert dict(caught.value.headers) == {
        "x-error-code": "GatedRepo",
        "x-error-message": "Ask first",
        "retry-after": "9",
    }
    assert 0 < len(caught.value.body) <= 16 << 10


def test_fetch_the_cdns_refusal_is_not_the_hubs(make: Make) -> None:
    """An expired signature is no word about the caller's right to the repo."""
    denied = ("X-Error-Message", f"https://x/?{CANARY}")
    with Listener(says(403, CANARY.encode(), denied)) as cdn:
        lead = redirect(f"{cdn.named_url}/c?{CANARY}")
        with Listener(lead) as hub, pytest.raises(StorageRefusedError) as caught:
            make(hub.url, redirect_hosts=(f"localhost:{cdn.port}",)).fetch(5)
    assert caught.value.status == 403
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_fetch_429_and_5xx(make: Make) -> None:
    """429 says when to come back and bothers nobody else; a 5xx tries the next upstream."""
    with (
        Listener(says(429, b"", ("Retry-After", "3"))) as busy,
        Listener(says(503)) as down,
        Listener(ranged(b"hello")) as good,
    ):
        with pytest.raises(UpstreamBusyError) as caught:
            make(busy.url, good.url).fetch(5)
        assert caught.value.retry_after == 3.0
        assert good.connections == 0
        assert make(down.url, good.url).fetch(5).data == b"hello"
        with pytest.raises(UpstreamUnreachableError, match="503"):
            make(down.url).fetch(5)


def _say(where: str, body: bytes = b"x" * 15, etag: str = '"v1"') -> Handler:
    return says(206, body, ("Content-Range", where), ("ETag", etag))


@pytest.mark.parametrize(
    "handler",
    [
        says(200, b"x" * 20),
        says(206, b"x" * 15),
        says(416, b"", ("Content-Range", "bytes */20")),
        _say("bytes 0-14/20"),
        _say("bytes 6-19/20"),
        _say("bytes 5-18/20"),
        _say("bytes 5-19/21"),
        _say("bytes 5-19/*"),
        _say("bytes=5-19/20"),
        _say("bytes 5-19/20", etag='"v2"'),
    ],
    ids=["200", "unsaid", "416", "start", "later", "end", "total", "star", "syntax", "etag"],
)
def test_fetch_a_range_that_does_not_fit_needs_a_restart(make: Make, handler: Handler) -> None:
    """Another range, another size, another version, no range: not one byte of it is taken."""
    with Listener(handler) as hub:
        got = Got()
        with pytest.raises(RestartNeededError):
            make(hub.url).fetch(20, got, offset=5, validator='"v1"')
    assert got == Got()


_X = b"x" * 20


_NOT_THE_FILE: dict[str, Handler] = {
    "shorter": says(200, b"x" * 19),
    "longer": says(200, b"x" * 21),
    "206": _say("bytes 0-19/20", _X),
    "204": says(204),
    "304": says(304),
    "302 to nowhere": says(302),
    "gzip": says(200, _X, ("Content-Encoding", "gzip")),
    "unknown coding": framed("Transfer-Encoding: gzip, chunked", body=b"x"),
    "two framings": framed("Transfer-Encoding: chunked", "Content-Length: 20", body=b"x"),
    "two lengths": framed("Content-Length: 20", "Content-Length: 21", body=b"x" * 21),
    "signed length": framed("Content-Length: +20", body=_X),
    "hex length": framed("Content-Length: 0x14", body=_X),
    "folded line": framed("Content-Length: 20", "A: b", " folded", body=_X),
    "NUL": framed("Content-Length: 20", "A: \x00", body=_X),
    "lone CR": framed("Content-Length: 20", "A: \rB: c", body=_X),
    "no colon": framed("no colon", "Content-Length: 20", body=_X),
    "many lines": framed(*[f"X-{number}: a" for number in range(200)], body=_X),
    "long line": framed("X: " + "a" * 70_000, body=_X),
    "status 99": framed("Content-Length: 20", status="99 Odd", body=_X),
    "status 101": framed("Content-Length: 20", status="101 Switching", body=_X),
    "status abc": framed("Content-Length: 20", status="abc", body=_X),
    "another protocol": raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "half a head": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "nothing": raw(b""),
}


@pytest.mark.parametrize("handler", _NOT_THE_FILE.values(), ids=_NOT_THE_FILE)
def test_fetch_an_answer_that_is_not_the_file_is_refused(make: Make, handler: Handler) -> None:
    """Another length, status, encoding or framing, or no HTTP at all: not one byte of it is taken."""
    with Listener(handler) as hub:
        got = Got()
        with pytest.raises(UpstreamUnavailableError) as caught:
            make(hub.url).fetch(20, got)
    assert not isinstance(caught.value, RestartNeededError)
    assert got == Got()


def test_fetch_a_login_page_is_named(make: Make) -> None:
    """200 with HTML where a model should be says what it looks like."""
    page = ("Content-Type", "text/html; charset=utf-8")
    said = pytest.raises(UpstreamUnavailableError, match="captive portal")
    with Listener(says(200, b"<html>", page)) as hub, said:
        make(hub.url).fetch(20)
