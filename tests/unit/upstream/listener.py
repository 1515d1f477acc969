"""A server whose every byte the test decides: real sockets, no HTTP library in between.

The scripted origin speaks the Hub's protocol correctly and breaks it on order. Here the tests need
answers that no library would send: broken heads, surplus bytes, silence at any point.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; header names are lower-case, *connection* counts from 1."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


Handler: TypeAlias = Callable[[Seen, socket.socket], bool]
"""Answers on the socket; returns whether the connection goes on."""


def reply(
    connection: socket.socket,
    status: int = 200,
    body: bytes = b"",
    *headers: tuple[str, str],
    length: int | None = None,
) -> bool:
    """Send an answer; *length* is announced instead of the body's own."""
    lines = [
        f"HTTP/1.1 {status} Said",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return True


def says(
    status: int = 200, body: bytes = b"", *headers: tuple[str, str], length: int | None = None
) -> Handler:
    """Make a handler that always sends the same answer."""
    return lambda _, connection: reply(connection, status, body, *headers, length=length)


def raw(data: bytes, *, keep: bool = False) -> Handler:
    """Make a handler that sends *data* as it is; with *keep* the connection goes on."""

    def handle(_: Seen, connection: socket.socket) -> bool:
        connection.sendall(data)
        return keep

    return handle


def framed(*headers: str, body: bytes = b"", status: str = "200 OK") -> Handler:
    """Make a handler that sends these header lines and no others, then closes."""
    return raw("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body)


def redirect(location: str, status: int = 302) -> Handler:
    """Make a handler that leads elsewhere."""
    return says(status, b"moved", ("Location", location))


def ranged(data: bytes, etag: str = '"v1"') -> Handler:
    """Make a handler that serves *data* with ``Range`` and ``If-Range``, as a CDN does."""

    def handle(seen: Seen, connection: socket.socket) -> bool:
        asked = seen.headers.get("range")
        if asked is None or seen.headers.get("if-range", etag) != etag:
            return reply(connection, 200, data, ("ETag", etag))
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), int(last) + 1 if last else len(data)
        where = ("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        return reply(connection, 206, data[start:end], ("ETag", etag), where)

    return handle


class Listener:
    """Serves on a free port until its ``with`` block ends, one thread for each connection."""

    def __init__(self, handle: Handler, *, tls: ssl.SSLContext | None = None) -> None:
        self.handle = handle
        self.seen: list[Seen] = []
        self.connections = 0
        self._tls = tls
        self._door = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port: int = self._door.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.named_url = self.url.replace("127.0.0.1", "localhost")

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse new connections, break the open ones, wait for the threads."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.drop()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def drop(self) -> None:
        """Break every open connection."""
        for connection in self._open:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._door.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._spawn(partial(self._serve, connection, self.connections))

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError, ValueError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            with connection.makefile("rb") as lines:
                while True:
                    first = lines.readline().decode()
                    if not first:
                        break
                    method, target, _ = first.split(" ", 2)
                    headers: dict[str, str] = {}
                    while (line := lines.readline().decode().strip()) != "":
                        name, _, value = line.partition(":")
                        headers[name.lower()] = value.strip()
                    body = lines.read(int(headers.get("content-length", "0")))
                    seen = Seen(method, target, headers, body, number)
                    self.seen.append(seen)
                    if not self.handle(seen, connection):
                        break
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def by_path(routes: Mapping[str, Handler]) -> Handler:
    """Make a handler that chooses by the request's path, without its query; 404 for the rest."""

    def handle(seen: Seen, connection: socket.socket) -> bool:
        route = routes.get(seen.target.partition("?")[0])
        return route(seen, connection) if route else reply(connection, 404, b"nothing here")

    return handle
