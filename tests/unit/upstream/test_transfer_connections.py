"""The connections under the transfers: used again, let go of, and their errors kept inside."""

import os
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, IncompleteRead, LineTooLong
from pathlib import Path

import pytest

from mirror.errors import (
    MirrorError,
    UpstreamUnreachableError,
)
from mirror.upstream import transfer as subject
from mirror.upstream.transfer import BUFFER
from mirror.upstream.wire import Wire
from tests.unit.upstream.conftest import Certificate, Upstream
from tests.unit.upstream.listener import (
    Listener,
    Seen,
    by_path,
    framed,
    ranged,
    raw,
    redirect,
    reply,
)

Make = Callable[..., Upstream]
CANARY = "X-Amz-Signature=canary"
DATA = os.urandom(3 * BUFFER + 12_345)


def test_fetch_forty_small_files_need_few_handshakes(
    make: Make, certificates: Callable[..., Certificate]
) -> None:
    """Connections to the hub and its CDN are used again, at most one for each thread and host."""
    certificate = certificates()
    with Listener(ranged(b"small"), tls=certificate.context) as cdn:
        lead = redirect(f"{cdn.named_url}/c")
        with Listener(lead, tls=certificate.context) as hub:
            upstream = make(
                hub.named_url,
                redirect_hosts=(f"localhost:{cdn.port}",),
                authorities=certificate.file,
            )
            with ThreadPoolExecutor(4) as threads:
                waiting = [threads.submit(upstream.fetch, 5) for _ in range(40)]
                assert [bytes(item.result(20).data) for item in waiting] == [b"small"] * 40
            assert len(hub.seen) == len(cdn.seen) == 40
            assert hub.connections <= 4
            assert cdn.connections <= 4


def test_fetch_asks_again_when_a_kept_connection_is_dead(make: Make) -> None:
    """A connection that upstream closes as it is reused costs nothing but a second request."""

    def once(seen: Seen, connection: socket.socket) -> bool:
        # The second request on a connection is read and not answered.
        return sum(item.connection == seen.connection for item in hub.seen) == 1 and reply(
            connection, 200, b"hello"
        )

    with Listener(once) as hub:
        upstream = make(hub.url)
        for _ in range(3):
            assert upstream.fetch(5).data == b"hello"
        assert hub.connections == 3
        assert len(hub.seen) == 5


def test_fetch_notices_a_kept_connection_that_was_closed(make: Make) -> None:
    """What upstream closed while it was idle is not even tried."""
    with Listener(ranged(b"hello")) as hub:
        upstream = make(hub.url)
        upstream.fetch(5)
        hub.drop()
        (kept,) = upstream.transfers._pool._idle.values()
        while kept.is_quiet():
            time.sleep(0.001)
        assert upstream.fetch(5).data == b"hello"
        assert len(hub.seen) == 2


def test_fetch_a_fresh_connection_that_breaks_is_not_retried(make: Make) -> None:
    """A server that always hangs up is asked once."""
    with Listener(lambda _seen, _connection: False) as hub:
        with pytest.raises(UpstreamUnreachableError, match="broke the connection"):
            make(hub.url).fetch(5)
        assert len(hub.seen) == 1


@pytest.mark.parametrize("keeps", ["Connection: close", "Connection: Keep-Alive"])
def test_fetch_obeys_connection_close(make: Make, keeps: str) -> None:
    """A connection that upstream means to close is not kept."""
    answer = raw(
        f"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{keeps}\r\n\r\nhello".encode(), keep=True
    )
    with Listener(answer) as hub:
        upstream = make(hub.url)
        upstream.fetch(5)
        upstream.fetch(5)
        assert hub.connections == (2 if keeps.endswith("close") else 1)


def test_fetch_keeps_few_idle_connections_and_closes_them(make: Make) -> None:
    """The pool is bounded for each origin; after `close` nothing is kept."""
    together = threading.Barrier(12)

    def handle(_: Seen, connection: socket.socket) -> bool:
        together.wait(10)
        return reply(connection, 200, b"hello")

    with Listener(handle) as hub, ThreadPoolExecutor(12) as threads:
        upstream = make(hub.url)
        for item in [threads.submit(upstream.fetch, 5) for _ in range(12)]:
            item.result(20)
        assert len(upstream.transfers._pool._idle) == 8
        upstream.transfers.close()
        assert len(upstream.transfers._pool._idle) == 0


def test_fetch_no_connection_is_unreachable(make: Make) -> None:
    """A refused connection says so, by name of the host."""
    closed = Listener(redirect("/"))
    closed.stop()
    with pytest.raises(UpstreamUnreachableError, match="refused the connection"):
        make(closed.url).fetch(5)


def test_fetch_tries_the_next_address(make: Make) -> None:
    """A host whose first address is dead is reached at its second."""
    with Listener(ranged(b"hello")) as hub:
        upstream = make(
            f"http://two.example:{hub.port}", lookup=lambda _: ["127.0.0.9", "127.0.0.1"]
        )
        assert upstream.fetch(5).data == b"hello"


def _foreign() -> list[Exception]:
    return [
        ConnectionResetError(CANARY),
        ConnectionRefusedError(CANARY),
        BrokenPipeError(CANARY),
        OSError(113, "No route to host"),
        socket.gaierror(socket.EAI_AGAIN, "again"),
        ssl.SSLError(1, CANARY),
        ssl.SSLEOFError(1, CANARY),
        ssl.SSLZeroReturnError(1, CANARY),
        ssl.SSLCertVerificationError(1, CANARY),
        TimeoutError(CANARY),
        EOFError(CANARY),
        UnicodeError(CANARY),
        ValueError(CANARY),
        HTTPException(CANARY),
        IncompleteRead(CANARY.encode()),
        LineTooLong(CANARY),
    ]


@pytest.mark.parametrize("foreign", _foreign(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["dial", "send", "read_head", "receive", "body_of"])
def test_fetch_lets_no_foreign_error_out(
    make: Make, monkeypatch: pytest.MonkeyPatch, foreign: Exception, place: str
) -> None:
    """Each error of the libraries below becomes one of ours, and its text stays inside."""

    def fail(*_args: object, **_kwargs: object) -> None:
        raise foreign

    owner = subject if place in ("dial", "body_of") else Wire
    with Listener(ranged(b"hello")) as hub:
        upstream = make(hub.url)
        monkeypatch.setattr(owner, place, fail)
        with pytest.raises(MirrorError) as caught:
            upstream.fetch(5)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_fetch_leaves_no_socket_behind(make: Make) -> None:
    """After successes, refusals, breaks and stops, no descriptor is left but the pool's."""
    cut = framed("Content-Length: 5", body=b"he")
    routes = {"/ok": ranged(b"hello"), "/cut": cut, "/away": redirect("https://evil.example/")}
    with Listener(by_path(routes)) as hub:
        upstream = make(hub.url)
        upstream.fetch(5, target="/ok")
        before = _descriptors_to(hub.port)
        for target in ("/ok", "/cut", "/away", "/404") * 5:
            try:
                upstream.fetch(5, target=target)
            except MirrorError:
                continue
        upstream.fetch(5, target="/ok")
        assert _descriptors_to(hub.port) <= before


def _descriptors_to(port: int) -> int:
    """Count this process's own sockets that are connected to *port*."""
    count = 0
    for entry in Path("/dev/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(entry.name))) as copy:
                count += copy.getpeername()[1] == port
        except (OSError, IndexError):
            continue
    return count
