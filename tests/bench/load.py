"""The load: one process that asks for bytes or heads over several connections, and throws them away.

It runs as a script without site packages (``python -S load.py JSON``), so that its own start costs little
and nothing but the standard library is between the socket and the clock. All connections share one
thread and one buffer; what is measured is the server.

Prints one JSON object. Exits with 1 and a line on standard error when an answer is not what was asked
for: a figure for wrong answers is no figure.
"""

import json
import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

BUFFER: Final = 512 << 10
# Followers of a cold fetch join one after the other, as the nodes of a cluster do.
STAGGER: Final = 0.02


class WrongAnswerError(Exception):
    """The server did not send what was asked for."""


@dataclass(slots=True)
class _Reader:
    """One connection that reads one body of *wanted* bytes."""

    wire: socket.socket
    wanted: int
    status: bytes
    begun: float
    head: bytes = b""
    body: bool = False
    got: int = 0
    first: float = 0.0
    total: float = 0.0

    def feed(self, chunk: memoryview) -> None:
        """Take what arrived."""
        size = len(chunk)
        if not self.body:
            self.head += bytes(chunk)
            top, end, rest = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self._judge(top)
            self.body, size = True, len(rest)
        if size and not self.got:
            self.first = time.perf_counter() - self.begun
        self.got += size

    def _judge(self, top: bytes) -> None:
        length = b"\r\ncontent-length: %d\r\n" % self.wanted
        if not top.startswith(b"HTTP/1.1 " + self.status) or length not in top.lower() + b"\r\n":
            raise WrongAnswerError(top.decode("latin-1"))


def get(
    stack: ExitStack, address: tuple[str, int], path: str, size: int, *, clients: int, ranges: bool
) -> Any:
    """Read the *size* bytes at *path* over *clients* connections: each all of it, or each its share.

    Whole bodies begin 20 ms apart, ranges at once. Returns seconds and bytes in all, and for each
    connection the seconds to its first and to its last byte. *stack* closes the connections.
    """
    watch = selectors.DefaultSelector()
    buffer = memoryview(bytearray(BUFFER))
    readers: list[_Reader] = []
    open_ones = 0
    start = time.perf_counter()
    while open_ones or len(readers) < clients:
        now = time.perf_counter()
        while len(readers) < clients and (ranges or now - start >= len(readers) * STAGGER):
            number = len(readers)
            low, high = (
                (size * number // clients, size * (number + 1) // clients) if ranges else (0, size)
            )
            wire = _connect(stack, address)
            wire.settimeout(0)
            wire.sendall(_request("GET", path, address, (low, high - 1) if ranges else None))
            reader = _Reader(wire, high - low, b"206" if ranges else b"200", now)
            readers.append(reader)
            watch.register(wire, selectors.EVENT_READ, reader)
            open_ones += 1
        for key, _ in watch.select(STAGGER / 4 if len(readers) < clients else 30):
            reader = key.data
            count = reader.wire.recv_into(buffer)
            if not count:
                message = f"the connection ended after {reader.got} of {reader.wanted} bytes"
                raise WrongAnswerError(message)
            reader.feed(buffer[:count])
            if reader.body and reader.got >= reader.wanted:
                reader.total = time.perf_counter() - reader.begun
                watch.unregister(reader.wire)
                reader.wire.close()
                open_ones -= 1
    return {
        "seconds": time.perf_counter() - start,
        "bytes": sum(reader.got for reader in readers),
        "first": [reader.first for reader in readers],
        "total": [reader.total for reader in readers],
    }


@dataclass(slots=True)
class _Asker:
    """One connection that asks again as soon as it is answered."""

    wire: socket.socket
    asked: float = 0.0
    head: bytes = b""
    waits: list[float] = field(default_factory=list)


def heads(
    stack: ExitStack, address: tuple[str, int], path: str, *, clients: int, seconds: float
) -> Any:
    """Ask HEAD *path* again and again over *clients* kept connections for *seconds*.

    Returns the answers counted, the seconds taken, and the waits' median and 99th percentile in seconds.
    *stack* closes the connections.
    """
    request = _request("HEAD", path, address, None)
    watch = selectors.DefaultSelector()
    askers = []
    for _ in range(clients):
        wire = _connect(stack, address)
        asker = _Asker(wire)
        askers.append(asker)
        watch.register(wire, selectors.EVENT_READ, asker)
    clock = time.perf_counter
    start = clock()
    for asker in askers:
        asker.asked = clock()
        asker.wire.sendall(request)
    end = start + seconds
    now = start
    while now < end:
        for key, _ in watch.select(5):
            asker = key.data
            chunk = asker.wire.recv(65536)
            if not chunk:
                raise WrongAnswerError("the connection ended")
            asker.head += chunk
            if not asker.head.endswith(b"\r\n\r\n"):
                continue
            if not asker.head.startswith(b"HTTP/1.1 200"):
                raise WrongAnswerError(asker.head.decode("latin-1"))
            now = clock()
            asker.waits.append(now - asker.asked)
            asker.head = b""
            asker.asked = now
            asker.wire.sendall(request)
        now = clock()
    waits = sorted(wait for asker in askers for wait in asker.waits)
    return {
        "count": len(waits),
        "seconds": now - start,
        "median": waits[len(waits) // 2],
        "p99": waits[len(waits) * 99 // 100],
    }


def _connect(stack: ExitStack, address: tuple[str, int]) -> socket.socket:
    wire = stack.enter_context(socket.create_connection(address, timeout=30))
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def _request(
    method: str, path: str, address: tuple[str, int], span: tuple[int, int] | None
) -> bytes:
    """A request with the headers that huggingface_hub sends."""
    rows = [
        f"{method} {path} HTTP/1.1",
        f"Host: {address[0]}:{address[1]}",
        "User-Agent: unknown/None; hf_hub/1.0.0; python/3.11",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: keep-alive",
    ]
    if span is not None:
        rows.append(f"Range: bytes={span[0]}-{span[1]}")
    return ("\r\n".join(rows) + "\r\n\r\n").encode()


def main() -> None:
    """Do what the one argument says: JSON with ``do`` (get or heads) and its arguments."""
    wish = json.loads(sys.argv[1])
    kinds: dict[str, Callable[..., Any]] = {"get": get, "heads": heads}
    does = kinds[wish.pop("do")]
    wish["address"] = tuple(wish["address"])
    try:
        with ExitStack() as stack:
            told = does(stack, **wish)
        print(json.dumps(told))  # noqa: T201 -- this is what the command is for
    except WrongAnswerError as error:
        sys.exit(f"wrong answer: {error}")


if __name__ == "__main__":
    main()
