"""A wire between a client and a server that can be cut, held up or made to lie."""

import contextlib
import re
import socket
import threading
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

_REQUEST: Final = re.compile(rb"^(GET|HEAD|POST) (\S+) HTTP/1\.1\r$", re.MULTILINE)
_PIECE: Final = 1 << 16


class Relay:
    """Passes bytes on to the server at *url*, and answers back, until its context ends.

    *limit* is how many bytes of answers each connection passes before it is cut, *hold* how many pass before
    all wait until they may go on; *lie* is a byte of answers that is changed, counted from the start of
    each connection. They may be set at any time. *requests* are methods and targets as they came.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        self.heads: list[bytes] = []
        self.limit: int | None = None
        self.hold: int | None = None
        self.lie: int | None = None
        self.go_on = threading.Event()
        self.waiting = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            self._cut(one)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            self._start(self._ask, client, server)
            self._start(self._answer, client, server)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(_PIECE):
                found = _REQUEST.search(piece)
                if found:
                    self.requests.append(f"{found[1].decode()} {found[2].decode()}")
                    self.heads.append(piece)
                server.sendall(piece)
        self._cut(server)

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
        self._cut(client)
        self._cut(server)

    @staticmethod
    def _cut(one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
