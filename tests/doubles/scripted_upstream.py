"""An upstream without sockets: answers and blobs by target, faults on order, every question noted.

It stands in for the asynchronous client and for the transfers at once. Answers are judged by the real
`mirror.upstream.verdicts`, and ``tests/conformance/test_upstream.py`` holds it to the real ones' promises.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from mirror.clock import Clock, FixedClock
from mirror.credential import Credential
from mirror.errors import TruncatedBodyError, UpstreamUnavailableError, UpstreamUnreachableError
from mirror.messages import Response, UpstreamRequest
from mirror.upstream.contract import Sink, TransferHead
from mirror.upstream.heads import lowered, strong_etag
from mirror.upstream.stopping import StopToken
from mirror.upstream.verdicts import Wanted, check_available, check_fits, refusal

BASE = "https://upstream.example"
HOST = "upstream.example"
# Small, so that a blob of some hundred bytes already comes in several pieces.
CHUNK = 64


@dataclass(frozen=True, slots=True)
class Scripted:
    """An answer: *cut* is after how many bytes of the body it breaks off, *ranges* whether it has any."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    ranges: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked; *range* is the ``Range`` header of a transfer, empty without one."""

    hub: str
    request: UpstreamRequest
    credential: Credential | None
    range: str = ""


class _Stream:
    def __init__(self, answer: Scripted) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers: Mapping[str, str] = _headers(answer)
        self.size: int | None = len(answer.body)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces; raises where it is cut."""
        end = len(self._answer.body) if self._answer.cut is None else self._answer.cut
        for start in range(0, end, CHUNK):
            yield self._answer.body[start : min(start + CHUNK, end)]
        if end < len(self._answer.body):
            raise _truncated(self._answer, end)


class ScriptedUpstream:
    """Answers from `answers`, keyed by target; what is not there is 404. `down` refuses connections.

    Change either at any time. *asked* is every question in order.
    """

    def __init__(
        self, answers: Mapping[str, Scripted] | None = None, *, clock: Clock | None = None
    ) -> None:
        self.answers = dict(answers or {})
        self.down = False
        self.asked: list[Question] = []
        self._clock = clock or FixedClock()

    async def ask(
        self,
        hub: str,
        request: UpstreamRequest,
        credential: Credential | None,
        *,
        limit: int,
        follow_redirects: bool = True,
    ) -> Response:
        """Return the scripted answer; redirects are not scripted, so there are none to follow."""
        del follow_redirects
        self.asked.append(Question(hub, request, credential))
        answer = self._answer(request.target)
        check_available(answer.status, _headers(answer), HOST, self._clock)
        if not limit:
            answer = replace(answer, body=b"")
        if len(answer.body) > limit:
            raise UpstreamUnavailableError(f"{HOST} answered with more than {limit} bytes.")
        if answer.cut is not None:
            raise _truncated(answer, answer.cut)
        url = BASE + request.target
        return Response(answer.status, _headers(answer), answer.body, BASE, url)

    @asynccontextmanager
    async def stream(
        self, hub: str, request: UpstreamRequest, credential: Credential | None
    ) -> AsyncIterator[_Stream]:
        """Open the scripted answer."""
        self.asked.append(Question(hub, request, credential))
        answer = self._answer(request.target)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", dict(request.headers).get("Range", ""))
        if answer.ranges and asked is not None:
            start, last = int(asked[1]), int(asked[2])
            answer = _part(answer, Wanted(start, last + 1, len(answer.body), None))
        check_available(answer.status, _headers(answer), HOST, self._clock)
        yield _Stream(answer)

    def fetch(  # noqa: PLR0913 -- the contract's
        self,
        hub: str,
        request: UpstreamRequest,
        credential: Credential | None,
        *,
        offset: int,
        size: int,
        validator: str | None,
        sink: Sink,
        head: Callable[[TransferHead], object] | None,
        stop: StopToken,
        end: int | None = None,
        source: str | None = None,
    ) -> TransferHead:
        """Hand the scripted body over in pieces."""
        stop.check()
        validator = validator if source in (None, BASE) else None
        wanted = Wanted(offset, size if end is None else end, size, validator)
        asked = dict(wanted.headers())
        self.asked.append(Question(hub, request, credential, asked.get("Range", "")))
        whole = self._answer(request.target)
        answer = _part(whole, wanted) if whole.ranges and "Range" in asked else whole
        headers = _headers(answer)
        check_available(answer.status, headers, HOST, self._clock)
        if 400 <= answer.status < 500 and not (wanted.ranged and answer.status == 416):
            raise refusal(answer.status, headers, answer.body, HOST, own=True)
        check_fits(answer.status, headers, wanted, HOST)
        told = TransferHead(
            answer.status, offset, size, strong_etag(headers), headers, headers, HOST, BASE
        )
        if head is not None:
            head(told)
        until = len(answer.body) if answer.cut is None else min(answer.cut, len(answer.body))
        for start in range(0, until, CHUNK):
            stop.check()
            sink(memoryview(answer.body)[start : min(start + CHUNK, until)])
        stop.check()
        if until < len(answer.body):
            raise _truncated(answer, until)
        return told

    def close(self) -> None:
        """Nothing to close."""

    def _answer(self, target: str) -> Scripted:
        if self.down:
            raise UpstreamUnreachableError(f"{HOST} could not be asked: it refused the connection.")
        return self.answers.get(target, Scripted(404, b"nothing here"))


def _headers(answer: Scripted) -> dict[str, str]:
    return lowered([("Content-Length", str(len(answer.body))), *answer.headers])


def _part(answer: Scripted, wanted: Wanted) -> Scripted:
    """Serve a range as a CDN does: from the present version, whole if that is another one."""
    etag = dict(answer.headers).get("ETag")
    if wanted.strong is not None and wanted.strong != etag:
        return answer
    size = len(answer.body)
    end = min(wanted.end, size)
    where = ("Content-Range", f"bytes {wanted.start}-{end - 1}/{size}")
    cut = None if answer.cut is None else max(0, answer.cut - wanted.start)
    return Scripted(206, answer.body[wanted.start : end], (*answer.headers, where), cut)


def _truncated(answer: Scripted, got: int) -> TruncatedBodyError:
    size = len(answer.body)
    return TruncatedBodyError(
        f"{HOST} broke off after {got} of {size} bytes.", expected=size, got=got
    )
