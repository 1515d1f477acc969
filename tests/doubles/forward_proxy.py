"""A forward proxy over real sockets that keeps what it was asked, and refuses or stalls on order."""

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class ForwardProxy:
    """Leads to *routes* (``host:port`` to an address of this machine) and nowhere else.

    *heads* are the request heads it got, as text. With *status* it answers that instead of leading on;
    with *silent* it takes requests and says nothing; *wants* is the ``Proxy-Authorization`` that it asks
    for, without which it answers 407.
    """

    def __init__(self, routes: Mapping[str, tuple[str, int]], *, wants: str = "") -> None:
        self.routes = dict(routes)
        self.wants = wants
        self.status = 0
        self.silent = False
        self.heads: list[str] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def lines(self) -> list[str]:
        """The request lines it got."""
        return [head.partition("\r\n")[0] for head in self.heads]

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for connection in self._open:
            connection.close()

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._door.accept()
            except OSError:
                return
            self._open.append(connection)
            self._spawn(self._serve, connection)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                more = client.recv(65536)
                if not more:
                    return
                data += more
            head, _, rest = data.partition(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1"))
            self._answer(client, head.decode("latin-1"), rest)

    def _answer(self, client: socket.socket, head: str, rest: bytes) -> None:
        if self.silent:
            return
        line, *fields = head.split("\r\n")
        method, target, _ = line.split(" ")
        status = self.status
        if self.wants and f"Proxy-Authorization: {self.wants}" not in fields:
            status = 407
        where = target if method == "CONNECT" else _authority(target)
        if not status and where not in self.routes:
            status = 502
        if status:
            client.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
            client.shutdown(socket.SHUT_RDWR)
            return
        server = socket.create_connection(self.routes[where], 10)
        server.settimeout(None)
        self._open.append(server)
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n")
        else:
            parts = urlsplit(target)
            query = f"?{parts.query}" if parts.query else ""
            kept = [text for text in fields if not text.lower().startswith("proxy-")]
            first = f"{method} {parts.path or '/'}{query} HTTP/1.1"
            sent = [first, *kept, "Connection: close", "", ""]
            server.sendall("\r\n".join(sent).encode("latin-1"))
        server.sendall(rest)
        self._spawn(_pour, server, client)
        _pour(client, server)


def _authority(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 80}"


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
