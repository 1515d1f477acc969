"""A wire between a client and a server that can be cut, held up or made to lie."""

import contextlib
import re
import socket
import threading
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from tests.doubles.listener import Listener, cut

_REQUEST: Final = re.compile(rb"^(GET|HEAD|POST) (\S+) HTTP/1\.1\r$", re.MULTILINE)
_PIECE: Final = 1 << 16


class Relay(Listener):
    """Passes bytes on to the server at *url*, and answers back, until its context ends; *port* is its own.

    *limit* is how many bytes of answers each connection passes before it is cut, *hold* how many pass before
    all wait until they may go on; *lie* is a byte of answers that is changed, counted from the start of
    each connection. They may be set at any time. *requests* are methods and targets as they came.
    """

    def __init__(self, url: str, port: int = 0) -> None:
        super().__init__(port)
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 80)
        self.requests: list[str] = []
        self.heads: list[bytes] = []
        self.limit: int | None = None
        self.hold: int | None = None
        self.lie: int | None = None
        self.go_on = threading.Event()
        self.waiting = threading.Event()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on.set()
        super().__exit__(kind, error, trace)

    def _serve(self, client: socket.socket) -> None:
        server = self._connect(self._server)
        self._start(self._answer, client, server)
        self._ask(client, server)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(_PIECE):
                found = _REQUEST.search(piece)
                if found:
                    self.requests.append(f"{found[1].decode()} {found[2].decode()}")
                    self.heads.append(piece)
                server.sendall(piece)
        cut(server)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while piece := server.recv(_PIECE):
                if self.hold is not None and passed + len(piece) > self.hold:
                    self.waiting.set()
                    self.go_on.wait()
                if self.limit is not None and passed + len(piece) > self.limit:
                    client.sendall(piece[: self.limit - passed])
                    break
                if self.lie is not None and passed <= self.lie < passed + len(piece):
                    at = self.lie - passed
                    piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
                client.sendall(piece)
                passed += len(piece)
        cut(client)
        cut(server)
