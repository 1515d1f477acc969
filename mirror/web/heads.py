"""The head of a response as bytes.

The door writes heads itself: aiohttp's own response object costs a third of a small request, names its
version in ``Server``, and has its own mind about Content-Length on HEAD. What keeps a header from
smuggling another one stands here, once, for every response.
"""

import re
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from mirror.clock import Clock

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
# RFC 9110 §5.5: no control characters but a tab.
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Heads:
    """Writes response heads; the ``Date`` line is made once a second.

    *clock* gives the wall time that ``Date`` shows.
    """

    __slots__ = ("_clock", "_common", "_second")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._common = b""

    def write(self, status: int, headers: Sequence[tuple[str, str]]) -> bytes:
        """Write the status line, *headers*, ``Date``, ``Via`` and ``nosniff``, up to the empty line.

        Always HTTP/1.1, whatever the request spoke (RFC 9110 §2.5). Raises `ValueError` when a header
        holds a character that could end its line.
        """
        return self.lines(status, headers) + self.common()

    def common(self, now: float | None = None) -> bytes:
        """What every head ends with at wall time *now*: ``Date``, ``Via``, ``nosniff``, the empty line."""
        second = int(self._clock.wall() if now is None else now)
        if second != self._second:
            self._second = second
            self._common = (
                f"Date: {formatdate(second, usegmt=True)}\r\n"
                "Via: 1.1 modelmirror\r\n"
                "X-Content-Type-Options: nosniff\r\n\r\n"
            ).encode()
        return self._common

    def lines(self, status: int, headers: Sequence[tuple[str, str]]) -> bytes:
        """Write the status line and *headers*; raises as `write` does."""
        # One look at all of them is enough for nearly every head; a tab or a surrogate needs another.
        flat = "".join(map("".join, headers))
        if not flat.isprintable() and _FORBIDDEN.search(flat):
            msg = "a response header holds a control character"
            raise ValueError(msg)
        text = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n{text}"
        return head.encode("utf-8", "surrogateescape")
