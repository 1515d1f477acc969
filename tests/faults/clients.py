"""Clients that judge what they got: clean, cut, or silently wrong."""

import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Download:
    """One response as a client saw it.

    *whole* tells that the framing was kept to the last byte; *error* is the error's name otherwise.
    *first* is the seconds to the first byte of the body, *gap* the longest silence after it.
    """

    status: int
    whole: bool
    size: int
    sha256: str
    first: float
    gap: float
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    body: bytes = b""

    def clean(self, content: bytes) -> bool:
        """Whether it is a whole 200 with exactly *content*."""
        return (self.status, self.whole, self.sha256) == (200, True, digest(content))

    def harmless(self, content: bytes) -> bool:
        """Whether it is right, or visibly not: never a whole success with other bytes."""
        return self.clean(content) or not self.whole or self.status >= 400


def digest(content: bytes) -> str:
    """The sha256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def download(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60,
    rate: float | None = None,
    stop_at: int | None = None,
) -> Download:
    """GET *url* on a connection of its own, whatever happens.

    *rate* reads at so many bytes per second, from a small receive buffer; *stop_at* hangs up after so
    many bytes.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    status, size, first, gap, error = 0, 0, 0.0, 0.0, ""
    sha256, kept, rows = hashlib.sha256(), bytearray(), dict[str, str]()
    whole, began = False, time.monotonic()
    try:
        connection.connect()
        if rate is not None:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        connection.request("GET", parts.path, headers=dict(headers or {}))
        answer = connection.getresponse()
        status = answer.status
        rows = {name.lower(): value for name, value in answer.getheaders()}
        last = 0.0
        while block := answer.read1(16 << 10 if rate else 256 << 10):
            now = time.monotonic()
            first, gap, last = first or now - began, max(gap, now - (last or now)), now
            size += len(block)
            sha256.update(block)
            if size <= 64 << 10:
                kept += block
            if stop_at is not None and size >= stop_at:
                error = "left"
                break
            if rate is not None:
                time.sleep(len(block) / rate)
        # read1 does not tell a short body from a whole one.
        whole = not error and size == int(rows.get("content-length", size))
    except (OSError, http.client.HTTPException) as broken:
        error = type(broken).__name__
    finally:
        connection.close()
    return Download(status, whole, size, sha256.hexdigest(), first, gap, rows, error, bytes(kept))


def together(count: int, work: Callable[[], Download]) -> list[Download]:
    """Do the same in *count* threads at once; the results in the order in which they ended."""
    results: list[Download] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return results
