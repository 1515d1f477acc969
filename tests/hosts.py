"""Model hosts that are no Hub: one scripted server that plays any number of them, told apart by path."""

import contextlib
import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Final

from tests.doubles.http_server import HttpServer, send

_RANGE: Final = re.compile(r"bytes=([0-9]+)-([0-9]*)\Z")


@dataclass(frozen=True, slots=True)
class Thing:
    """What lies at one address.

    With *to* it redirects there. *pace* is the most bytes a second that are sent.
    *chunked* bodies come without a length; *methods* are those it is
    served for; *cut* breaks the connection after that many bytes of a chunked body; its second chunk waits
    for *gate*.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    to: str = ""
    chunked: bool = False
    cut: int | None = None
    gate: threading.Event | None = None
    methods: tuple[str, ...] = ("GET", "HEAD")
    etag: bool = True
    pace: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    host: str
    target: str
    headers: Mapping[str, str]


class Hosts(HttpServer):
    """Serves *things*, by host and target (path with its query), until its context ends."""

    def __init__(self) -> None:
        self.things: dict[tuple[str, str], Thing] = {}
        self.seen: list[Request] = []
        self._down = False

    def put(self, host: str, target: str, thing: Thing | bytes) -> None:
        """Place *thing* at an address."""
        self.things[host, target] = thing if isinstance(thing, Thing) else Thing(thing)

    def bodies(self, host: str, path: str) -> int:
        """How often the whole of a file, or its rest, was asked for."""
        return sum(
            1
            for request in self.seen
            if request.method == "GET"
            and (request.host, request.target.partition("?")[0]) == (host, path)
            and request.headers.get("range") != "bytes=0-0"
        )

    def setting(self, *hosts: str) -> str:
        """``MODELMIRROR_UPSTREAM_HOSTS`` for *hosts*."""
        return ",".join(f"{host}={self.url}/{host}" for host in hosts)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Cut every connection for as long as the context lasts."""
        self._down = True
        try:
            yield
        finally:
            self._down = False

    def answer(self, handler: BaseHTTPRequestHandler, headers: Mapping[str, str]) -> None:
        """Answer as told; see `Thing`."""
        _, host, rest = handler.path.split("/", 2)
        if self._down:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        self.seen.append(Request(handler.command, host, f"/{rest}", headers))
        thing = self.things.get((host, f"/{rest}"))
        if thing is None:
            thing = Thing(b"not found", 404)
        elif handler.command not in thing.methods:
            thing = Thing(b"<Error>SignatureDoesNotMatch</Error>", 403)
        if thing.to:
            send(handler, 302, {"Location": thing.to}, b"")
        elif thing.chunked:
            with contextlib.suppress(ConnectionError):  # The mirror may have had enough.
                self._send_chunked(handler, thing)
        else:
            self._send_file(handler, thing, headers)

    def _send_file(
        self, handler: BaseHTTPRequestHandler, thing: Thing, asked: Mapping[str, str]
    ) -> None:
        etag = f'"{hashlib.sha256(thing.body).hexdigest()[:16]}"'
        told = {"Accept-Ranges": "bytes", **({"ETag": etag} if thing.etag else {}), **thing.headers}
        span = _RANGE.match(asked.get("range", ""))
        if thing.status == 200 and span and asked.get("if-range", etag) == etag:
            start = int(span[1])
            end = min(int(span[2]) + 1 if span[2] else len(thing.body), len(thing.body))
            told["Content-Range"] = f"bytes {start}-{end - 1}/{len(thing.body)}"
            send(handler, 206, told, thing.body[start:end])
        elif thing.pace is not None and handler.command == "GET":
            _send_slowly(handler, thing, told)
        else:
            send(handler, thing.status, told, thing.body)

    def _send_chunked(self, handler: BaseHTTPRequestHandler, thing: Thing) -> None:
        handler.send_response(thing.status)
        handler.send_header("Transfer-Encoding", "chunked")
        for name, value in thing.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        for at in range(0, len(thing.body), 1 << 16):
            chunk = thing.body[at : at + (1 << 16)]
            if at and thing.gate is not None:
                thing.gate.wait(30)
            if thing.cut is not None and at >= thing.cut:
                handler.close_connection = True
                handler.connection.shutdown(socket.SHUT_RDWR)
                return
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")


def _send_slowly(handler: BaseHTTPRequestHandler, thing: Thing, told: Mapping[str, str]) -> None:
    """Answer in pieces of 64 KiB, with the time between them that the pace asks for."""
    assert thing.pace
    handler.send_response(thing.status)
    for name, value in {**told, "Content-Length": str(len(thing.body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    for at in range(0, len(thing.body), 1 << 16):
        handler.wfile.write(thing.body[at : at + (1 << 16)])
        time.sleep((1 << 16) / thing.pace)
