"""A raw client: it sends the bytes it is given and keeps the bytes it gets, well-formed or not."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Got:
    """One response; *clean* tells whether its framing says that it is whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    clean: bool


class Client:
    """One connection to the door at *url*; with *buffer* the kernel keeps at most about so many bytes."""

    def __init__(self, url: str, *, buffer: int | None = None) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._address = (host, int(port))
        self._buffer = buffer

    async def __aenter__(self) -> Self:
        raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        raw.settimeout(0)
        if self._buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        try:
            await asyncio.get_running_loop().sock_connect(raw, self._address)
        except OSError:
            raw.close()
            raise
        self.reader, self.writer = await asyncio.open_connection(
            sock=raw, limit=self._buffer or 1 << 20
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, path: str, *headers: str, method: str = "GET") -> Got:
        """Send one request and read its response."""
        lines = [f"{method} {path} HTTP/1.1", "Host: mirror.test", *headers, "", ""]
        await self.send("\r\n".join(lines).encode("latin-1"))
        return await self.response(method)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of a response."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape")
        status, *lines = text[:-4].split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} was sent twice"
            headers[name.lower()] = value
        return int(status.split(" ")[1]), headers

    async def response(self, method: str = "GET") -> Got:
        """Read one response; a body that breaks off is returned as far as it came."""
        status, headers = await self.head()
        if method == "HEAD" or status in {204, 304}:
            return Got(status, headers, b"", clean=True)
        body = b""
        clean = False
        try:
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
                clean = True
            elif headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                clean = await self.reader.readexactly(2) == b"\r\n"
            else:
                while piece := await self.reader.read(1 << 16):
                    body += piece
                clean = True
        except asyncio.IncompleteReadError as error:
            body = body or error.partial
        except ConnectionError:
            pass
        return Got(status, headers, body, clean=clean)

    async def ended(self) -> bool:
        """Tell whether the connection is over, without a further byte."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


async def get(url: str, path: str, *headers: str, method: str = "GET") -> Got:
    """One request on a connection of its own."""
    async with Client(url) as client:
        return await client.get(path, *headers, method=method)
