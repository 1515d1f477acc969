"""What of an answer goes out, and under which status: ranges, preconditions, HEAD.

Pure: an answer and a request in, a `Sending` out. Ranges apply to the concatenation of the answer's
segments, so an answer made of literal bytes and spans of several blobs is ranged like one file; no web
framework has a notion of that.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from mirror.messages import Answer, Segment, Span
from mirror.ranges import ByteRange, Unsatisfiable, parse_ranges
from mirror.web.conditional import Verdict, judge, range_applies
from mirror.web.refusals import refusal

# A range without an end promises the blob's end; a closed or suffix range was counted out by the client.
_OPEN_ENDED: Final = re.compile(r"[0-9]-[ \t]*(?:,|\Z)")
# A 304 carries what the client needs to renew its copy, not what describes a body it does not get.
_ABOUT_THE_BODY: Final = frozenset(
    {"content-type", "content-disposition", "content-encoding", "content-language"}
)


@dataclass(frozen=True, slots=True)
class Sending:
    """A response, ready but for the bytes of its blobs.

    *length* is its Content-Length in bytes, stated in *headers* already, `None` where none belongs;
    *body* is what really goes out, empty for HEAD and 304. With *whole* the response promises the end
    of its blobs, so their tails wait for the digest.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: tuple[Segment, ...]
    length: int | None
    whole: bool


def compose(
    answer: Answer,
    method: str,
    headers: Mapping[str, str],
    *,
    strict: bool,
    boundary: Callable[[], str],
) -> Sending:
    """Apply the request's preconditions and ranges to *answer*.

    *headers* are the request's, with lower-case names; with *strict* ranges wait for the digest as
    whole bodies do; *boundary* makes what separates the parts of a ``multipart/byteranges`` body, which
    must not be guessable, for it must not occur in them.
    """
    extra: list[tuple[str, str]] = []
    if answer.etag is not None:
        extra.append(("ETag", f'"{answer.etag}"'))
    if answer.ranges:
        extra.append(("Accept-Ranges", "bytes"))
    if answer.status == 200 and answer.etag is not None:
        match judge(method, headers, answer.etag):
            case Verdict.UNCHANGED:
                kept = (h for h in answer.headers if h[0].lower() not in _ABOUT_THE_BODY)
                return Sending(304, (*kept, *extra), (), None, whole=True)
            case Verdict.FAILED:
                message = "The file is not the version that If-Match or If-None-Match asked for."
                return _refused(method, 412, message, extra)
            case Verdict.PROCEED:
                pass
    size = answer.size
    if answer.ranges and answer.status == 200 and method == "GET":
        asked = headers.get("range")
        if asked is not None and range_applies(headers, answer.etag):
            try:
                ranges = parse_ranges(asked, size)
            except Unsatisfiable:
                message = f"The range lies beyond the file, which has {size} bytes."
                return _refused(
                    method, 416, message, [*extra, ("Content-Range", f"bytes */{size}")]
                )
            if ranges is not None:
                whole = strict or _OPEN_ENDED.search(asked) is not None
                return _partial(answer, ranges, extra, whole=whole, boundary=boundary)
    return _whole(method, answer, extra, size)


def _whole(method: str, answer: Answer, extra: list[tuple[str, str]], size: int) -> Sending:
    # 1xx, 204 and 304 have no content, and no length of one (RFC 9110 §8.6).
    if answer.status in {204, 304}:
        return Sending(answer.status, (*answer.headers, *extra), (), None, whole=True)
    headers = (*answer.headers, *extra, ("Content-Length", str(size)))
    body = () if method == "HEAD" else answer.body
    return Sending(answer.status, headers, body, size, whole=True)


def _refused(method: str, status: int, message: str, extra: list[tuple[str, str]]) -> Sending:
    answer = refusal(status, message, extra)
    return _whole(method, answer, [], answer.size)


def _partial(
    answer: Answer,
    ranges: tuple[ByteRange, ...],
    extra: list[tuple[str, str]],
    *,
    whole: bool,
    boundary: Callable[[], str],
) -> Sending:
    size = answer.size
    cut = _Cutter(answer.body)
    if len(ranges) == 1:
        only = ranges[0]
        headers = (
            *answer.headers,
            *extra,
            ("Content-Range", only.content_range(size)),
            ("Content-Length", str(len(only))),
        )
        return Sending(206, headers, tuple(cut(only)), len(only), whole)
    kind = next((v for n, v in answer.headers if n.lower() == "content-type"), None)
    label = f"Content-Type: {kind}\r\n" if kind is not None else ""
    border = boundary()
    body: list[Segment] = []
    for item in ranges:
        lead = f"\r\n--{border}\r\n{label}Content-Range: {item.content_range(size)}\r\n\r\n"
        body += [lead.encode("utf-8", "surrogateescape"), *cut(item)]
    body.append(f"\r\n--{border}--\r\n".encode())
    length = sum(len(segment) for segment in body)
    headers = (
        *(h for h in answer.headers if h[0].lower() != "content-type"),
        *extra,
        ("Content-Type", f"multipart/byteranges; boundary={border}"),
        ("Content-Length", str(length)),
    )
    return Sending(206, headers, tuple(body), length, whole)


class _Cutter:
    """Cuts ranges out of a run of segments; finding the first one takes a bisection."""

    __slots__ = ("_ends", "_segments")

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._ends = list(accumulate(len(segment) for segment in segments))

    def __call__(self, wanted: ByteRange) -> list[Segment]:
        found: list[Segment] = []
        index = bisect_right(self._ends, wanted.start)
        while index < len(self._segments):
            segment = self._segments[index]
            start = self._ends[index] - len(segment)
            if start >= wanted.end:
                break
            low, high = max(0, wanted.start - start), min(len(segment), wanted.end - start)
            if low < high:
                found.append(_slice(segment, low, high))
            index += 1
        return found


def _slice(segment: Segment, low: int, high: int) -> Segment:
    if isinstance(segment, bytes):
        return segment[low:high]
    return Span(segment.blob, segment.start + low, segment.start + high)
