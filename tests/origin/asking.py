"""Raw requests, to see what a server says before any client has made something of it."""

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: ``headers`` have lower-case names, ``whole`` tells whether the body was."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    def json(self) -> Any:
        """Return the body parsed."""
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """Where the response leads, absolute; KeyError if nowhere."""
        return urljoin(self.url, self.headers["location"])

    @property
    def next(self) -> str | None:
        """The URL of the next page."""
        found = re.search(r'<([^>]*)>; rel="next"', self.headers.get("link", ""))
        return found.group(1) if found else None


def ask(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    timeout: float = 30,
) -> Answer:
    """Send one request on a connection of its own, follow nothing, and read what comes.

    A body that ends early gives an answer that is not ``whole``; ConnectionError and TimeoutError
    are raised when they come before or instead of the end of a body.
    """
    parts = urlsplit(url)
    if parts.hostname is None:
        raise ValueError(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target or "/", body, dict(headers or {}))
        response = connection.getresponse()
        rows = {name.lower(): value for name, value in response.getheaders()}
        try:
            return Answer(url, response.status, rows, response.read())
        except http.client.IncompleteRead as short:
            return Answer(url, response.status, rows, short.partial, whole=False)
    finally:
        connection.close()


def bearer(token: str) -> dict[str, str]:
    """Return the header of a token."""
    return {"Authorization": f"Bearer {token}"}
