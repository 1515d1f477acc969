"""A forward proxy over real sockets that keeps what it was asked, and refuses or stalls on order."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from tests.doubles.listener import Listener, cut


class ForwardProxy(Listener):
    """Leads to *routes* (``host:port`` to an address of this machine) and nowhere else.

    *heads* are the request heads it got, as text. With *status* it answers that instead of leading on;
    with *silent* it takes requests and says nothing; *wants* is the ``Proxy-Authorization`` that it asks
    for, without which it answers 407.
    """

    def __init__(self, routes: Mapping[str, tuple[str, int]], *, wants: str = "") -> None:
        super().__init__()
        self.routes = dict(routes)
        self.wants = wants
        self.status = 0
        self.silent = False
        self.heads: list[str] = []

    @property
    def lines(self) -> list[str]:
        """The request lines it got."""
        return [head.partition("\r\n")[0] for head in self.heads]

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
        server = self._connect(self.routes[where])
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
        self._start(_pour, server, client)
        _pour(client, server)


def _authority(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 80}"


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    cut(source)
    cut(target)
