"""Faults that a test arms: what goes wrong, where, and how often.

A fault is claimed by the first request it fits, when that request is read (``status``, ``delay``)
or when its answer is about to be sent (all others, which only fit answers they can spoil, so that a
fault on a file is not spent on the redirect before it).
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.origin.wire import Reply, Request, length_of

Action = Literal[
    "flip", "cut", "rst", "stall", "status", "delay", "short-length", "long-length", "drip", "etag",
    "weak-etag", "headers", "no-range", "bad-range", "chunked", "bad-chunk",
]  # fmt: skip
_before = frozenset({"status", "delay", "no-range"})
_heads = frozenset({"etag", "weak-etag", "headers"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, for requests that fit ``server``, ``method`` and ``path``.

    ``path`` is a regex searched in the raw target with its query; ``times`` is how many requests
    are hit (None: all, until cleared). ``at`` is where in the body of the answer: a float is a
    fraction of it, an int counts bytes. ``rate`` (bytes per second) slows the body under any
    action.

    * ``flip``: one bit-inverted byte at ``at``.
    * ``cut``, ``rst``: the connection ends at ``at`` by FIN or RST.
    * ``stall``: silence at ``at`` for ``seconds`` (default: until the client goes), then the rest.
    * ``status``: ``status``, ``headers`` and ``body`` instead of the answer.
    * ``delay``: ``seconds`` pass before the request is looked at (a stop or a gone client ends it).
    * ``short-length``: ``Content-Length`` says only ``at`` of the body; all of it is sent; close.
    * ``long-length``: ``Content-Length`` promises ``at`` more than there is; close.
    * ``drip``: the body at ``rate``.
    * ``etag``: another strong ETag (and X-Linked-ETag); ``weak-etag``: the same ones, made weak.
    * ``headers``: ``headers`` are added to the answer; an empty value takes one away.
    * ``no-range``: Range and If-Range are ignored; ``bad-range``: ``Content-Range`` lies by a byte.
    * ``chunked``: no Content-Length; ``bad-chunk``: the same, with a broken chunk size at ``at``.
    """

    action: Action
    server: str | None = None
    method: str | None = None
    path: str = ""
    times: int | None = 1
    at: float | int = 0.5
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            message = f"unknown fault action {self.action!r}"
            raise ValueError(message)

    def offset(self, length: int) -> int:
        """Return the byte position that ``at`` means in a body of ``length`` bytes."""
        at = self.at if isinstance(self.at, int) else round(self.at * length)
        return max(0, min(at, length))


class Armed:
    """A fault in place; ``hits`` counts the requests it has spoiled."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits = 0
        self._path = re.compile(fault.path)

    def fits(self, request: Request) -> bool:
        """Tell whether the fault is not spent and concerns ``request``."""
        fault = self.fault
        return (
            (fault.times is None or self.hits < fault.times)
            and fault.server in {None, request.server}
            and fault.method in {None, request.method}
            and self._path.search(request.target) is not None
        )


class Faults:
    """The faults in place, oldest first; safe to change from any thread."""

    def __init__(self) -> None:
        self._armed: list[Armed] = []
        self._lock = threading.Lock()

    def arm(self, fault: Fault) -> Armed:
        """Put a fault in place."""
        armed = Armed(fault)
        with self._lock:
            self._armed.append(armed)
        return armed

    def clear(self) -> None:
        """Take every fault away."""
        with self._lock:
            self._armed.clear()

    def claim_request(self, request: Request) -> list[Fault]:
        """Claim what happens before the request is handled: delays, and at most one status."""
        claimed: list[Fault] = []
        with self._lock:
            for armed in self._armed:
                if armed.fault.action in _before and armed.fits(request):
                    armed.hits += 1
                    claimed.append(armed.fault)
                    if armed.fault.action == "status":
                        break
        return claimed

    def claim_reply(self, request: Request, reply: Reply) -> list[Fault]:
        """Claim what spoils the answer: every fitting change of head, and one fault of the body."""
        success = 200 <= reply.status < 300
        has_body = success and request.method != "HEAD" and length_of(reply.body) > 0
        claimed: list[Fault] = []
        spoiled = False
        with self._lock:
            for armed in self._armed:
                action = armed.fault.action
                if action in _before or not armed.fits(request):
                    continue
                if action == "bad-range" and "Content-Range" not in reply.headers:
                    continue
                if action in {"etag", "weak-etag"} and not (
                    {"ETag", "X-Linked-ETag"} & reply.headers.keys()
                ):
                    continue
                if action not in _heads:
                    if spoiled or not has_body:
                        continue
                    spoiled = True
                armed.hits += 1
                claimed.append(armed.fault)
        return claimed
