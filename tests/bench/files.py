"""A bare file server: a thread per connection around a blocking ``os.sendfile``.

It is the upstream of the cold fetches, and the baseline of the hot ones where there is no nginx: Python
cannot send a file with less. With a rate it paces each connection, as a CDN does; a framework's own
pacing (a timer per 16 KiB) would burn the core that the mirror is to be measured on.

Run as ``python -S files.py FOLDER BYTES_PER_SECOND`` (0: as fast as it goes). It prints its port, serves the
files of the folder by the last segment of the path, and at ``/-/sent`` says how many bytes of bodies it
has sent so far.
"""

import os
import re
import socket
import sys
import threading
import time
from http import HTTPStatus
from pathlib import Path
from typing import Final

# One system call sends at most this; with a rate, what 10 ms are worth.
BLOCK: Final = 8 << 20
TICK: Final = 0.01
_RANGE: Final = re.compile(rb"\r\nrange: bytes=([0-9]+)-([0-9]*)\r\n")


class Server:
    """Serves the files of *folder* at *rate* bytes per second and connection, 0 for no limit."""

    def __init__(self, folder: Path, rate: int) -> None:
        self._folder = folder
        self._rate = rate
        self._sent = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        """Listen on a free port of the loopback, print it, serve until the process is ended."""
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            print(listener.getsockname()[1], flush=True)  # noqa: T201 -- whoever started it waits for it
            while True:
                wire, _ = listener.accept()
                threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        with wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while (request := _read(wire)) is not None:
                    self._answer(wire, request)
            except OSError:
                return  # The client left.

    def _answer(self, wire: socket.socket, request: bytes) -> None:
        method, target, _ = request.split(b" ", 2)
        name = target.partition(b"?")[0].rpartition(b"/")[2].decode("ascii")
        if target == b"/-/sent":
            text = b"%d" % self._sent
            wire.sendall(_head(200, len(text), "") + text)
            return
        path = self._folder / name
        if not path.is_file():
            wire.sendall(_head(404, 0, ""))
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            low, high, status, more = 0, size, 200, f'ETag: "{name}"\r\nAccept-Ranges: bytes\r\n'
            if found := _RANGE.search(request.lower()):
                low, high = int(found[1]), min(size, int(found[2] or size - 1) + 1)
                status = 206
                more += f"Content-Range: bytes {low}-{high - 1}/{size}\r\n"
            head = _head(status, high - low, more)
            if method == b"HEAD":
                wire.sendall(head)
                return
            wire.sendall(head, socket.MSG_MORE)
            self._pour(wire, file.fileno(), low, high)

    def _pour(self, wire: socket.socket, file: int, low: int, high: int) -> None:
        block = max(1, int(self._rate * TICK)) if self._rate else BLOCK
        begun, offset = time.perf_counter(), low
        while offset < high:
            count = os.sendfile(wire.fileno(), file, offset, min(block, high - offset))
            offset += count
            with self._lock:
                self._sent += count
            if self._rate:
                early = begun + (offset - low) / self._rate - time.perf_counter()
                if early > 0:
                    time.sleep(early)


def _read(wire: socket.socket) -> bytes | None:
    """One request without a body, or `None` at the end of the connection."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        chunk = wire.recv(65536)
        if not chunk:
            return None
        request += chunk
    return request


def _head(status: int, length: int, more: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


if __name__ == "__main__":
    Server(Path(sys.argv[1]), int(sys.argv[2])).run()
