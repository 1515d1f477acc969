"""The bytes of a transfer: exactly those that were asked for, until a break, a stall or a stop."""

import itertools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mirror.errors import (
    TruncatedBodyError,
    UpstreamUnreachableError,
)
from mirror.messages import UpstreamRequest
from mirror.upstream.contract import Timeouts
from mirror.upstream.failures import StoppedError
from mirror.upstream.stopping import StopToken
from mirror.upstream.transfer import BUFFER, EAGER
from tests.unit.upstream.conftest import HUB, Certificate, Got, Upstream
from tests.unit.upstream.listener import (
    Listener,
    Seen,
    framed,
    ranged,
    raw,
    reply,
)

Make = Callable[..., Upstream]
CANARY = "X-Amz-Signature=canary"
DATA = os.urandom(3 * BUFFER + 12_345)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("sent", [0, 1, 70_000, len(DATA) - 1])
def test_fetch_a_short_body_is_truncated(
    make: Make,
    certificates: Callable[..., Certificate],
    sent: int,
    *,
    tls: bool,
) -> None:
    """What came before the break is handed over and counted; no other upstream is asked for the rest."""

    def cut(_: Seen, connection: socket.socket) -> bool:
        reply(connection, 200, DATA[:sent], length=len(DATA))
        return False

    certificate = certificates()
    context = certificate.context if tls else None
    with Listener(cut, tls=context) as hub, Listener(ranged(DATA)) as other:
        got = Got()
        with pytest.raises(TruncatedBodyError) as caught:
            make(hub.named_url, other.url, authorities=certificate.file).fetch(len(DATA), got)
        assert other.connections == 0
    assert bytes(got.data) == DATA[:sent]
    assert (caught.value.expected, caught.value.got) == (len(DATA), sent)


def test_fetch_a_reset_is_truncated(make: Make) -> None:
    """RST in the middle counts as FIN does."""

    def reset(_: Seen, connection: socket.socket) -> bool:
        reply(connection, 200, b"abc", length=9)
        read.wait(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()
        return False

    read = threading.Event()
    data = bytearray()

    def sink(view: memoryview) -> None:
        data.extend(view)
        read.set()

    with Listener(reset) as hub, pytest.raises(TruncatedBodyError):
        make(hub.url).transfers.fetch(
            HUB, UpstreamRequest("GET", "/"), None, offset=0, size=9, validator=None,
            sink=sink, head=None, stop=StopToken(),
        )  # fmt: skip
    assert data == b"abc"


@pytest.mark.parametrize(
    "surplus", [b"surplus", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!"]
)
def test_fetch_surplus_reaches_neither_the_sink_nor_the_next_transfer(
    make: Make, surplus: bytes
) -> None:
    """Bytes beyond Content-Length are dropped with their connection."""

    def longer(_: Seen, connection: socket.socket) -> bool:
        return reply(connection, 200, b"hello" + surplus, length=5)

    with Listener(longer) as hub:
        upstream = make(hub.url)
        for _ in range(3):
            assert upstream.fetch(5).data == b"hello"
        assert hub.connections == 3


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"5\r\nhello\r\n3;ext=1\r\n wo\r\n3\r\nrld\r\n0\r\nTrailer: x\r\n\r\n", b"hello world"),
        (b"b\r\nhello world\r\n0\r\n\r\n", b"hello world"),
        (b"B\r\nhello world surplus\r\n", b"hello world"),
        (b"5\r\nhello\r\n0\r\n\r\n", None),
        (b"5\r\nhello", None),
        (b"5\r\nhelloXX", None),
        (b"-5\r\nhello", None),
        (b"0x5\r\nhello", None),
        (b"\r\nhello", None),
        (b"5" * 2000, None),
        (b"ffffffffffffffffff\r\nhello", None),
    ],
)
def test_fetch_chunked(make: Make, body: bytes, outcome: bytes | None) -> None:
    """A gateway that frames anew is understood; broken chunks are a broken body; size is still exact."""
    with Listener(framed("Transfer-Encoding: chunked", body=body)) as hub:
        upstream, got = make(hub.url), Got()
        if outcome is None:
            with pytest.raises(TruncatedBodyError):
                upstream.fetch(11, got)
            assert b"hello world".startswith(bytes(got.data))
        else:
            assert upstream.fetch(11, got).data == outcome


@pytest.mark.parametrize("sent", [5, 10, 11, 20])
def test_fetch_until_close(make: Make, sent: int) -> None:
    """Without any framing the size decides: fewer bytes are a broken body, more are not taken."""
    with Listener(raw(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * sent)) as hub:
        upstream, got = make(hub.url), Got()
        if sent < 11:
            with pytest.raises(TruncatedBodyError):
                upstream.fetch(11, got)
        else:
            upstream.fetch(11, got)
        assert len(got.data) == min(sent, 11)


def test_fetch_skips_interim_answers(make: Make) -> None:
    """100 and 103 come before the answer and are not it (RFC 9110 §15.2)."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    with Listener(raw(early + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")) as hub:
        assert make(hub.url).fetch(5).data == b"hello"


def test_fetch_a_head_and_body_that_drip_are_put_together(make: Make) -> None:
    """Where packets are cut does not matter, inside the blank line of the head neither."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

    def drip(_: Seen, connection: socket.socket) -> bool:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(len(answer)):
            connection.sendall(answer[number : number + 1])
            time.sleep(0.001)
        return True

    with Listener(drip) as hub:
        assert make(hub.url).fetch(5).data == b"hello"


@pytest.mark.parametrize("tls", [False, True])
def test_fetch_gives_up_on_silence(
    make: Make,
    certificates: Callable[..., Certificate],
    *,
    tls: bool,
) -> None:
    """Before the head and within the body, silence ends in the stall time; slow is not silent."""
    release = threading.Event()

    def handle(seen: Seen, connection: socket.socket) -> bool:
        if seen.target == "/slow":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            for letter in (b"h", b"e", b"l", b"l", b"o"):
                time.sleep(0.2)
                connection.sendall(letter)
            return True
        if seen.target == "/body":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        release.wait(20)
        return False

    certificate = certificates()
    with Listener(handle, tls=certificate.context if tls else None) as hub:
        upstream = make(hub.named_url, timeouts=Timeouts(stall=0.5), authorities=certificate.file)
        assert upstream.fetch(5, target="/slow").data == b"hello"
        began = time.monotonic()
        with pytest.raises(UpstreamUnreachableError, match="in time"):
            upstream.fetch(5, target="/head")
        with pytest.raises(TruncatedBodyError, match="stalled after 3"):
            upstream.fetch(5, target="/body")
        assert time.monotonic() - began < 10
        release.set()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("where", ["/head", "/body", "/busy"])
def test_fetch_stops_at_once_while_it_blocks(
    make: Make,
    certificates: Callable[..., Certificate],
    where: str,
    *,
    tls: bool,
) -> None:
    """A stop from another thread wakes a blocked receive, and ends a body that never pauses."""
    release, blocked = threading.Event(), threading.Event()

    def handle(seen: Seen, connection: socket.socket) -> bool:
        if seen.target == "/body":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        if seen.target == "/busy":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 50))
            blocked.set()
            while True:
                connection.sendall(b"x" * 65536)
        blocked.set()
        release.wait(20)
        return False

    certificate, stop = certificates(), StopToken()
    size = 1 << 50 if where == "/busy" else 5
    with (
        Listener(handle, tls=certificate.context if tls else None) as hub,
        ThreadPoolExecutor(1) as threads,
    ):
        upstream = make(hub.named_url, authorities=certificate.file)
        # Nothing is kept: the endless body would fill memory while the test waits.
        running = threads.submit(
            upstream.transfers.fetch, HUB, UpstreamRequest("GET", where), None, offset=0, size=size,
            validator=None, sink=lambda _: None, head=None, stop=stop,
        )  # fmt: skip
        assert blocked.wait(10)
        began = time.monotonic()
        stop.set()
        with pytest.raises(StoppedError):
            running.result(10)
        assert time.monotonic() - began < 2
        release.set()


def test_fetch_stopped_before_it_begins_asks_nothing(make: Make) -> None:
    """An order that came first is obeyed first; giving it twice is the same."""
    stop = StopToken()
    stop.set()
    stop.set()
    with Listener(ranged(b"hello")) as hub:
        with pytest.raises(StoppedError):
            make(hub.url).fetch(5, stop=stop)
        assert hub.seen == []


def test_fetch_stopped_by_its_own_sink_leaves_no_connection(make: Make) -> None:
    """A stop that comes while bytes are being written ends the transfer before the next ones."""
    stop, taken = StopToken(), []

    def sink(view: memoryview) -> None:
        taken.append(len(view))
        stop.set()

    with Listener(ranged(DATA)) as hub:
        upstream = make(hub.url)
        with pytest.raises(StoppedError):
            upstream.transfers.fetch(
                HUB, UpstreamRequest("GET", "/"), None, offset=0, size=len(DATA), validator=None,
                sink=sink, head=None, stop=stop,
            )  # fmt: skip
        assert len(taken) == 1
        assert upstream.fetch(len(DATA)).data == DATA


def test_fetch_the_sinks_own_errors_go_through_unchanged(make: Make) -> None:
    """A full disk is not upstream's fault, and a failed transfer's connection is not used again."""
    full = OSError(28, "No space left on device")

    def sink(_: memoryview) -> None:
        raise full

    with Listener(ranged(DATA)) as hub:
        upstream = make(hub.url)
        for target in ("sink", "head"):
            with pytest.raises(OSError, match="No space") as caught:
                upstream.transfers.fetch(
                    HUB, UpstreamRequest("GET", "/"), None, offset=0, size=len(DATA), validator=None,
                    sink=sink, head=sink if target == "head" else None, stop=StopToken(),  # type: ignore[arg-type]
                )  # fmt: skip
            assert caught.value is full
        assert upstream.fetch(len(DATA)).data == DATA
        assert hub.connections == 3


@pytest.mark.parametrize("tls", [False, True])
def test_fetch_hands_over_what_came_before_a_stall(
    make: Make, certificates: Callable[..., Certificate], *, tls: bool
) -> None:
    """Bytes are let come together for a moment, and never kept until more of them come."""
    steps = [EAGER, EAGER + 70_000, EAGER + 71_000]
    heard = {step: threading.Event() for step in steps}
    kept: list[int] = []

    def stall(_: Seen, connection: socket.socket) -> bool:
        reply(connection, 200, b"", length=len(DATA))
        for start, step in itertools.pairwise([0, *steps]):
            # Longer than bytes are let come together, so that nothing is there then.
            time.sleep(0.05)
            connection.sendall(DATA[start:step])
            # No byte more before those were handed over.
            if not heard[step].wait(10):
                kept.append(step)
        return False

    data = bytearray()

    def sink(view: memoryview) -> None:
        data.extend(view)
        if len(data) in heard:
            heard[len(data)].set()

    certificate = certificates()
    with Listener(stall, tls=certificate.context if tls else None) as hub:
        upstream = make(hub.named_url, authorities=certificate.file)
        with pytest.raises(TruncatedBodyError, match=f"after {steps[-1]} of"):
            upstream.transfers.fetch(
                HUB, UpstreamRequest("GET", "/"), None, offset=0, size=len(DATA), validator=None,
                sink=sink, head=None, stop=StopToken(),
            )  # fmt: skip
    assert kept == []
    assert data == DATA[: steps[-1]]


@pytest.mark.skipif(sys.platform != "linux", reason="SO_RCVLOWAT wakes a poll on Linux alone")
def test_fetch_takes_many_small_packets_together(make: Make) -> None:
    """A body that drips in 4 KiB at a time is handed over in some dozens of pieces, not in hundreds."""

    def drip(_: Seen, connection: socket.socket) -> bool:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reply(connection, 200, b"", length=len(DATA))
        for start in range(0, len(DATA), 4096):
            connection.sendall(DATA[start : start + 4096])
            taken.wait(0.0001)  # As a network does: not all at once.
        return True

    taken = threading.Event()
    sizes: list[int] = []
    with Listener(drip) as hub:
        make(hub.url).transfers.fetch(
            HUB, UpstreamRequest("GET", "/"), None, offset=0, size=len(DATA), validator=None,
            sink=lambda view: sizes.append(len(view)), head=None, stop=StopToken(),
        )  # fmt: skip
    assert sum(sizes) == len(DATA)
    rest = [size for number, size in enumerate(sizes) if sum(sizes[:number]) >= EAGER]
    assert len(rest) < (len(DATA) - EAGER) / (16 << 10)
