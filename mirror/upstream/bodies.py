"""Where a body ends: the three framings of HTTP/1.1 (RFC 9112 §6) over a `Wire`.

Files come with a Content-Length; the other two are for upstreams behind a gateway that frames anew.
"""

from typing import Final, Protocol

from mirror.upstream.verdicts import content_length
from mirror.upstream.wire import BrokenAnswerError, Head, Wire

_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_MAX_TRAILERS: Final = 64


class Body(Protocol):
    """The body of one answer."""

    @property
    def ended(self) -> bool:
        """Whether its end was seen, so that the connection stands at the next answer."""
        ...

    def receive(self, into: memoryview) -> int:
        """Read the next bytes into *into*; 0 at its end, or where the connection broke off."""
        ...


def body_of(wire: Wire, head: Head, method: str) -> Body:
    """Frame the body of the answer *head* to a *method* request.

    Raises `BrokenAnswerError` for a transfer coding other than chunked, `UpstreamUnreachableError` for
    a Content-Length that is none.
    """
    if method == "HEAD" or head.status in (204, 304):
        return Measured(wire, 0)
    coding = head.headers.get("transfer-encoding")
    if coding is not None:
        # With both, RFC 9112 §6.3 lets the coding win; a gateway that sends both is not trusted with it.
        if coding.lower() != "chunked" or "content-length" in head.headers:
            raise BrokenAnswerError("unknown framing")
        return Chunked(wire)
    length = content_length(head.headers, wire.origin.authority)
    return Measured(wire, length) if length is not None else UntilClose(wire)


class Measured:
    """A body of a known length; what comes after it is never read."""

    def __init__(self, wire: Wire, length: int) -> None:
        self._wire = wire
        self._left = length

    @property
    def ended(self) -> bool:
        """Whether all of it was read."""
        return self._left == 0

    def receive(self, into: memoryview) -> int:
        """Read the next bytes; 0 at the end or at a broken connection."""
        if self._left == 0:
            return 0
        got = self._wire.receive(into if len(into) <= self._left else into[: self._left])
        self._left -= got
        return got


class UntilClose:
    """A body that ends with its connection; whether it is whole only its reader can know."""

    ended = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def receive(self, into: memoryview) -> int:
        """Read the next bytes; 0 at the end."""
        return self._wire.receive(into)


class Chunked:
    """A body in chunks (RFC 9112 §7.1); extensions and trailers are skipped."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._left = 0
        self._begun = False
        self.ended = False

    def receive(self, into: memoryview) -> int:
        """Read the next bytes of one chunk; 0 only after the last one.

        Raises `BrokenAnswerError` for anything that is not chunked framing, a broken connection too.
        """
        if self._left == 0 and not self.ended:
            self._next()
        if self.ended:
            return 0
        got = self._wire.receive(into if len(into) <= self._left else into[: self._left])
        if got == 0:
            raise BrokenAnswerError("chunk cut short")
        self._left -= got
        return got

    def _next(self) -> None:
        if self._begun and self._wire.read_line():
            raise BrokenAnswerError("chunk longer than announced")
        self._begun = True
        digits = self._wire.read_line().partition(b";")[0].rstrip(b" \t")
        if not 1 <= len(digits) <= 15 or not _HEX.issuperset(digits):
            raise BrokenAnswerError("no chunk size")
        self._left = int(digits, 16)
        if self._left == 0:
            for _ in range(_MAX_TRAILERS):
                if not self._wire.read_line():
                    self.ended = True
                    return
            raise BrokenAnswerError("too many trailers")
