"""Requests, replies and the pieces a reply body is made of.

These values stand between the hand-written HTTP server and the handlers of the three hosts, so that
a handler says *what* is answered and the sender alone decides *how* it reaches the socket: that is
where faults are injected and where big bodies go out by ``sendfile``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qsl

type_json = "application/json; charset=utf-8"
type_text = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start`` to ``start + length`` (exclusive) of a file on disk."""

    path: Path
    start: int
    length: int


Segment = bytes | Span


def length_of(segments: Sequence[Segment]) -> int:
    """Return how many bytes ``segments`` hold together."""
    return sum(len(part) if isinstance(part, bytes) else part.length for part in segments)


@dataclass(frozen=True)
class Request:
    """One parsed request; ``target`` is as it came, header names are lower-case."""

    server: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    client: str

    @cached_property
    def path(self) -> str:
        """The raw, still percent-encoded path."""
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> str:
        """The raw query without its question mark."""
        return self.target.partition("?")[2]

    @cached_property
    def parameters(self) -> dict[str, list[str]]:
        """The decoded query, every value of every name."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return found

    def parameter(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        return self.parameters.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Tell whether a boolean parameter is on: clients write ``true``, ``True`` and ``1``."""
        return self.parameter(name).lower() in {"true", "1", "yes"}


@dataclass(slots=True)
class Reply:
    """One answer: status, headers and body segments.

    ``chunked`` leaves out ``Content-Length`` and frames the body in chunks.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Sequence[Segment] = ()
    chunked: bool = False


class Refusal(Exception):  # noqa: N818  it is an answer, not an error
    """Raised by a handler deep down to end the request with ``reply``."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"refused with {reply.status}")
        self.reply = reply


def json_reply(value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Reply:
    """Return ``value`` as a JSON reply."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status, {"Content-Type": type_json, **(headers or {})}, (body,))


def text_reply(text: str, headers: Mapping[str, str] | None = None, status: int = 200) -> Reply:
    """Return ``text`` as a plain text reply."""
    return Reply(status, {"Content-Type": type_text, **(headers or {})}, (text.encode(),))
