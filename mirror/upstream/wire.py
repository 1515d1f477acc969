"""One blocking HTTP/1.1 connection: heads through a small buffer, bodies straight from the socket.

``http.client`` reads a response through a buffered file, whose 8 KiB pieces and copies cost more than
receiving does. Here the head goes through a buffer whose leftover is known exactly, and after it the
body is received into the caller's own memory. `http.client.parse_headers` still reads the header lines.
"""

import io
import re
import select
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, parse_headers
from typing import Final

from mirror.clock import Clock
from mirror.upstream.addresses import Addresses
from mirror.upstream.contract import Timeouts
from mirror.upstream.failures import ProxyRefusedError
from mirror.upstream.heads import lowered
from mirror.upstream.policy import Origin
from mirror.upstream.proxies import Proxy
from mirror.upstream.stopping import StopToken

# A head may be this large, and this much of a body is read along with it: most small files whole.
_BUFFER: Final = 64 << 10
# A proxy's answer to CONNECT is a line and a few headers.
_MAX_TUNNEL_HEAD: Final = 16 << 10

# How long bytes may come together before they are taken, in seconds: each time by a half longer, for a slow
# upstream does not fill the buffer any sooner.
_GATHER_FIRST: Final = 0.004
_GATHER_LONGEST: Final = 0.016
# Elsewhere than on Linux a poll does not heed it.
_LOW_WATER: Final = getattr(socket, "SO_RCVLOWAT", None) if sys.platform == "linux" else None

# Control characters, a CR that ends no line, a folded line (RFC 9112 §5.2): none stands in an honest head.
_ODD: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\n[ \t]")


class BrokenAnswerError(HTTPException):
    """What came is not HTTP/1.1; stays within this package, as a foreign error would."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status and headers of one answer; names are lower-case, repeated lines joined by ``, ``."""

    status: int
    headers: Mapping[str, str]
    keeps_open: bool
    """Whether upstream is willing to go on using the connection."""


class Wire:
    """A connected socket, plain or TLS, with what was received and not yet read.

    Used by one thread at a time. *idle_since* is for the pool: monotonic seconds. With *proxy* it is the
    proxy that reads the requests.
    """

    __slots__ = (
        "_buffer", "_bytes", "_end", "_low", "_patience", "_poller", "_proxy", "_socket", "_stall",
        "_start", "idle_since", "origin",
    )  # fmt: skip

    def __init__(
        self, origin: Origin, connected: socket.socket, proxy: Proxy | None = None
    ) -> None:
        self.origin = origin
        self._proxy = proxy
        self.idle_since = 0.0
        self._socket = connected
        self._bytes = bytearray(_BUFFER)
        self._buffer = memoryview(self._bytes)
        self._start = self._end = 0
        self._stall = 0.0
        self._low = 1
        self._patience = _GATHER_FIRST
        self._poller = select.poll()
        self._poller.register(connected, select.POLLIN)

    def send(
        self, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> None:
        """Send one request; its parts are checked by whoever made them."""
        if self._proxy is not None:  # The absolute-form (RFC 9112 §3.2.2).
            target = f"{self.origin}{target}"
            headers = [*headers, *self._proxy.headers]
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.origin.authority}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body or method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {len(body)}")
        # Small answers are read whole along with their heads: begin the next one at the buffer's start.
        self._start = self._end = 0
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + body)

    def read_head(self, clock: Clock, within: float) -> Head:
        """Read the head of the answer, interim ones skipped, within so many seconds.

        Raises `EOFError` if the connection ends before the head's first byte, `BrokenAnswerError` for
        what is no head, and the socket's own errors.
        """
        deadline = clock.monotonic() + within
        while True:
            head = _parse(self._read_block(clock, deadline))
            # 1xx: 100 Continue, 103 Early Hints (RFC 9110 §15.2); 101 was never asked for.
            if head.status >= 200:
                self._stall = within
                self._socket.settimeout(0.0)
                return head

    def _read_block(self, clock: Clock, deadline: float) -> bytes:
        """Take the bytes up to and with the first empty line out of the buffer."""
        searched = self._start
        while True:
            found = self._bytes.find(b"\r\n\r\n", searched, self._end)
            if found >= 0:
                block = bytes(self._buffer[self._start : found + 4])
                self._start = found + 4
                return block
            searched = max(self._start, self._end - 3)
            if self._end == len(self._buffer):
                raise BrokenAnswerError("head too long")
            left = deadline - clock.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            got = self._socket.recv_into(self._buffer[self._end :])
            if got == 0:
                if self._end == self._start:
                    raise EOFError
                raise BrokenAnswerError("head cut short")
            self._end += got

    def receive(self, into: memoryview) -> int:
        """Read the next bytes of a body into *into*; 0 when the connection has ended."""
        ready = self._end - self._start
        if ready:
            size = min(ready, len(into))
            into[:size] = self._buffer[self._start : self._start + size]
            self._start += size
            return size
        self._start = self._end = 0
        if isinstance(self._socket, ssl.SSLSocket):
            return self._receive_records(self._socket, into)
        while True:
            try:
                return self._socket.recv_into(into)
            except BlockingIOError:
                self._await(select.POLLIN)

    def gather(self, size: int) -> None:
        """Let up to *size* bytes of a body come together for some milliseconds, so that few are taken often.

        A poll that wakes at *size* bytes (``SO_RCVLOWAT``, socket(7)) makes of the 16 000 small reads of a
        GiB some 2000, and as many writes, hash updates and turns of the interpreter lock.
        """
        if self._end > self._start or _LOW_WATER is None:
            return
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return
        self._watermark(size)
        if self._poller.poll(self._patience * 1000):
            self._patience = _GATHER_FIRST
        else:
            self._patience = min(1.5 * self._patience, _GATHER_LONGEST)
            # What is here is taken; whoever waits for a first byte waits for one.
            self._watermark(1)

    def _watermark(self, size: int) -> None:
        if _LOW_WATER is not None and size != self._low:
            self._socket.setsockopt(socket.SOL_SOCKET, _LOW_WATER, size)
            self._low = size

    def _receive_records(self, connected: ssl.SSLSocket, into: memoryview) -> int:
        """Fill *into* with the records that are here, waiting only for the first one.

        OpenSSL hands out one record of at most 16 KiB a call. Together they make 4 100 writes, hash
        updates and messages to the readers of each GiB, not 65 536, and save 0.1 to 0.2 CPU s of it.
        """
        got = 0
        while got < len(into):
            try:
                size = connected.recv_into(into[got:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                if got:
                    break
                # A want to write is a key update, answered on the way.
                wanted = (
                    select.POLLIN if isinstance(error, ssl.SSLWantReadError) else select.POLLOUT
                )
                self._await(wanted)
            else:
                if size == 0:
                    break
                got += size
        return got

    def _await(self, event: int) -> None:
        self._watermark(1)
        self._poller.modify(self._socket, event)
        try:
            if not self._poller.poll(self._stall * 1000):
                raise TimeoutError
        finally:
            if event != select.POLLIN:
                self._poller.modify(self._socket, select.POLLIN)

    def read_line(self) -> bytes:
        """Read one line of chunked framing without its end; raises `BrokenAnswerError`."""
        line = bytearray()
        one = memoryview(bytearray(1))
        while not line.endswith(b"\n"):
            if len(line) > 1024:
                raise BrokenAnswerError("chunk line too long")
            if self._start == self._end:
                size = self.receive(self._buffer)
                self._start, self._end = 0, size
                if size == 0:
                    raise BrokenAnswerError("chunk cut short")
            self.receive(one)
            line += one
        return bytes(line).rstrip(b"\r\n")

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: then the connection can be used again.

        Readable means that upstream closed it, or sent more than it announced.
        """
        if self._start != self._end:
            return False
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return False
        self._watermark(1)
        return not self._poller.poll(0)

    def cut(self) -> None:
        """Wake a thread that blocks in this connection; safe from any thread until `close`."""
        _cut(self._socket)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._socket.close()


def dial(
    origin: Origin,
    addresses: Addresses,
    trust: ssl.SSLContext,
    timeouts: Timeouts,
    stop: StopToken,
    proxy: Proxy | None = None,
) -> Wire:
    """Connect to *origin* at one of its checked addresses, best first, or to *proxy* at one of its own.

    Raises what `Addresses.resolve` raises, the socket's and TLS's own errors, `ProxyRefusedError` and
    `StoppedError`.
    """
    # A host that is an address needs no looking up, so it is checked behind a proxy too.
    addresses.literal(origin.host)
    near = origin if proxy is None else proxy.origin
    found = addresses.resolve(near.host, stop)
    trouble: OSError | None = None
    for address in found:
        connected = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            # Each address gets its share, so that a dead IPv6 route does not use the time up.
            connected.settimeout(timeouts.connect / len(found))
            with stop.cutting(partial(_cut, connected)):
                connected.connect((address.host, near.port))
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if origin.scheme == "https":
                connected.settimeout(timeouts.connect)
                if proxy is not None:
                    with stop.cutting(partial(_cut, connected)):
                        _tunnel(connected, origin, proxy)
                connected = trust.wrap_socket(
                    connected, server_hostname=origin.host, do_handshake_on_connect=False
                )
                with stop.cutting(partial(_cut, connected)):
                    connected.do_handshake()
        except OSError as error:
            connected.close()
            stop.check()
            trouble = error
        except BaseException:
            connected.close()
            raise
        else:
            return Wire(origin, connected, None if origin.scheme == "https" else proxy)
    raise trouble or OSError("no address")


def _tunnel(connected: socket.socket, origin: Origin, proxy: Proxy) -> None:
    """Ask *proxy* for a way through to *origin* (RFC 9110 §9.3.6); raises `ProxyRefusedError`."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers]
    connected.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    block = bytearray()
    # One byte at a time, once per connection: what follows the head belongs to TLS.
    while not block.endswith(b"\r\n\r\n"):
        if len(block) > _MAX_TUNNEL_HEAD:
            raise BrokenAnswerError("head too long")
        one = connected.recv(1)
        if not one:
            raise EOFError
        block += one
    status = _parse(bytes(block)).status
    if not 200 <= status <= 299:
        raise ProxyRefusedError(status)


def _cut(connected: socket.socket) -> None:
    # Suppressed: it is not connected, or not any more.
    with suppress(OSError):
        # Not the method: `SSLSocket.shutdown` also drops its TLS state, and the thread that reads
        # would be given the ciphertext.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _parse(block: bytes) -> Head:
    if _ODD.search(block):
        raise BrokenAnswerError("odd character in the head")
    line, _, rest = block.partition(b"\r\n")
    parts = line.split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise BrokenAnswerError("no status line")
    status = int(parts[1])
    if not 100 <= status <= 599 or status == 101:
        raise BrokenAnswerError("no usable status")
    fields = parse_headers(io.BytesIO(rest))
    if fields.defects:
        raise BrokenAnswerError("broken header line")
    # Field values are bytes (RFC 9110 §5.5); a `Location` may be raw UTF-8.
    headers = lowered(
        (name, str(value).encode("latin-1", "replace").decode("utf-8", "surrogateescape"))
        for name, value in fields.items()
    )
    connection = headers.get("connection", "").lower()
    keeps_open = (
        "keep-alive" in connection if parts[0] == b"HTTP/1.0" else "close" not in connection
    )
    return Head(status, headers, keeps_open)
