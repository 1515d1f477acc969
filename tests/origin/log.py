"""The record of every request the origin saw.

A test looks at it right after its client has the last byte, which may be before the server's own
thread has booked that byte. Reading the log therefore waits a moment for answers that are just
ending, but never for one that a fault holds back.
"""

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

_grace = 0.25


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came and how it was answered.

    ``status`` is 0 while unanswered (or if the client never got a status), ``bytes_sent`` counts
    body bytes handed to the socket, ``path`` is the raw target with its query, ``at`` is monotonic
    seconds.
    """

    server: str
    method: str
    path: str
    headers: Mapping[str, str]
    status: int
    bytes_sent: int
    client: str
    at: float


class Line:
    """One request on its way; the server's thread writes its status and counts its bytes."""

    __slots__ = ("_fixed", "bytes_sent", "done", "parked", "status")

    def __init__(
        self, server: str, method: str, path: str, headers: Mapping[str, str], client: str
    ) -> None:
        self._fixed = (server, method, path, headers, client, time.monotonic())
        self.status = 0
        self.bytes_sent = 0
        self.done = False
        self.parked = False

    def seen(self) -> Seen:
        """Return the state of now as a value."""
        server, method, path, headers, client, at = self._fixed
        return Seen(server, method, path, headers, self.status, self.bytes_sent, client, at)

    @property
    def settling(self) -> bool:
        """Whether the request is being answered and not held back by a fault."""
        return not (self.done or self.parked)


class Log:
    """All requests in the order of their arrival; safe to read from any thread."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._lock = threading.Lock()

    def open(
        self, server: str, method: str, path: str, headers: Mapping[str, str], client: str
    ) -> Line:
        """Book a request that has just been read."""
        line = Line(server, method, path, headers, client)
        with self._lock:
            self._lines.append(line)
        return line

    def clear(self) -> None:
        """Forget every request, also those still being answered."""
        with self._lock:
            self._lines = []

    def read(self) -> list[Seen]:
        """Return what was seen, after answers in progress had 250 ms to end."""
        deadline = time.monotonic() + _grace
        while True:
            with self._lock:
                lines = list(self._lines)
            if not any(line.settling for line in lines) or time.monotonic() >= deadline:
                return [line.seen() for line in lines]
            time.sleep(0.002)

    def matching(
        self, server: str | None = None, method: str | None = None, path: str | None = None
    ) -> list[Seen]:
        """Return the requests of one host, method and path (a regex searched in the raw target)."""
        pattern = re.compile(path or "")
        return [
            seen
            for seen in self.read()
            if server in {None, seen.server}
            and method in {None, seen.method}
            and pattern.search(seen.path)
        ]
