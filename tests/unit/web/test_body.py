"""Ranges over segments, against the plain meaning of the words."""

import re
from email import message_from_bytes
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.digest import sha256_of
from mirror.messages import Answer, BlobRef, Segment, Span, UpstreamRequest
from mirror.ranges import MAX_RANGES
from mirror.web.body import Sending, compose
from mirror.web.feeds import Stretch, plan

CONTENT = bytes(n * n % 251 for n in range(3000))
BLOB = BlobRef(sha256_of(CONTENT), len(CONTENT), UpstreamRequest("GET", "/b"), "hub", "acme/blob")


def bytes_of(segments: tuple[Segment, ...]) -> bytes:
    """What a reader of *segments* gets."""
    return b"".join(
        segment if isinstance(segment, bytes) else CONTENT[segment.start : segment.end]
        for segment in segments
    )


def ask(body: tuple[Segment, ...], method: str = "GET", **headers: str) -> Sending:
    """Compose an answer made of *body* for a request with *headers*."""
    answer = Answer(200, (("Content-Type", "text/x"),), body, etag="tag", ranges=True)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return compose(answer, method, named, strict=False, boundary=lambda: "b" * 32)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Segment, ...]:
    """Some segments: literal bytes and spans, empty ones among them."""
    segments: list[Segment] = []
    for _ in range(draw(st.integers(1, 8))):
        if draw(st.booleans()):
            segments.append(draw(st.binary(max_size=40)))
        else:
            start = draw(st.integers(0, len(CONTENT)))
            segments.append(
                Span(BLOB, start, draw(st.integers(start, min(len(CONTENT), start + 400))))
            )
    return tuple(segments)


@st.composite
def ranges(draw: st.DrawFn) -> str:
    """A set of one to sixteen ranges of any form, as a header value."""
    number = st.integers(0, 1500)
    specs = []
    for _ in range(draw(st.integers(1, MAX_RANGES))):
        first, last = sorted((draw(number), draw(number)))
        specs.append(draw(st.sampled_from((f"{first}-{last}", f"{first}-", f"-{last}"))))
    return "bytes=" + draw(st.sampled_from((",", ", ", " ,"))).join(specs)


def wanted(header: str, size: int) -> set[int]:
    """The positions that a range set asks for, the slow way."""
    found: set[int] = set()
    for spec in header.removeprefix("bytes=").split(","):
        first, _, last = spec.strip().partition("-")
        if not first:
            found.update(range(max(0, size - int(last)), size))
        else:
            found.update(range(int(first), min(size, int(last) + 1 if last else size)))
    return found


@settings(max_examples=1000, deadline=None)
@given(bodies(), ranges())
def test_ranges_send_exactly_what_was_asked(body: tuple[Segment, ...], header: str) -> None:
    """Any set of ranges over any segments yields the bytes that a slow reading of it names."""
    whole = bytes_of(body)
    positions = wanted(header, len(whole))
    sending = ask(body, range=header)
    headers = dict(sending.headers)
    sent = bytes_of(sending.body)
    assert headers["Content-Length"] == str(len(sent)) == str(sending.length)
    if not positions:
        assert (sending.status, headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
        return
    assert sending.status == 206
    assert sending.whole == bool(re.search(r"\d-\s*(,|$)", header))
    if "Content-Range" in headers:
        parts = [(headers["Content-Range"], sent)]
    else:
        kind = headers["Content-Type"]
        message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + sent)
        assert message.is_multipart()
        # The email parser reads lines its own way, so only the part heads are its; the bytes are cut here.
        pieces = re.split(rb"\r\n--b{32}(?:--)?\r\n", sent)
        assert pieces[0] == pieces[-1] == b""
        parts = []
        for piece in pieces[1:-1]:
            top, _, data = piece.partition(b"\r\n\r\n")
            lines = top.decode().split("\r\n")
            assert lines[0] == "Content-Type: text/x"
            parts.append((lines[1].removeprefix("Content-Range: "), data))
    seen: set[int] = set()
    for label, data in parts:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", label)
        assert match is not None
        first, last, size = map(int, match.groups())
        assert size == len(whole)
        assert data == whole[first : last + 1]
        assert seen.isdisjoint(range(first, last + 1))
        seen.update(range(first, last + 1))
    assert seen == positions


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_range_is_for_get_alone(method: str) -> None:
    """RFC 9110 §14.2 defines Range for GET; others get the whole, HEAD without its bytes."""
    sending = ask((CONTENT,), method, range="bytes=0-4")
    assert sending.status == 200
    assert sending.length == len(CONTENT)
    assert len(bytes_of(sending.body)) == (0 if method == "HEAD" else len(CONTENT))


def test_answers_that_are_no_200_are_left_alone() -> None:
    """Preconditions and ranges apply to what would be a 200 (RFC 9110 §13.2.1)."""
    answer = Answer(404, (), (b"gone",), etag="tag", ranges=True)
    headers = {"if-none-match": '"tag"', "range": "bytes=0-0"}
    sending = compose(answer, "GET", headers, strict=False, boundary=str)
    assert (sending.status, bytes_of(sending.body)) == (404, b"gone")


def test_answer_without_ranges_ignores_them() -> None:
    """A document that says nothing of ranges is sent whole, without Accept-Ranges."""
    answer = Answer(200, (), (b"document",), etag="tag")
    sending = compose(answer, "GET", {"range": "bytes=0-0"}, strict=False, boundary=str)
    assert sending.status == 200
    assert "Accept-Ranges" not in dict(sending.headers)


def test_strict_makes_closed_ranges_whole() -> None:
    """With strict, a closed range waits for the digest like a whole body."""
    answer = Answer(200, (), (CONTENT,), ranges=True)
    for strict in (False, True):
        sending = compose(answer, "GET", {"range": "bytes=1-2"}, strict=strict, boundary=str)
        assert sending.whole is strict


@given(bodies())
def test_plan_keeps_every_byte(body: tuple[Segment, ...]) -> None:
    """Joining what is adjacent changes no byte, and each blob has exactly one last stretch."""
    parts = plan(body)
    assert bytes_of(body) == b"".join(
        part if isinstance(part, bytes) else CONTENT[part.start : part.end] for part in parts
    )
    stretches = [part for part in parts if isinstance(part, Stretch)]
    assert [part.last for part in stretches].count(True) == (1 if stretches else 0)
    assert not stretches or stretches[-1].last
    assert all(part.start < part.end <= part.horizon <= len(CONTENT) for part in stretches)
    assert not any(isinstance(a, bytes) and isinstance(b, bytes) for a, b in pairwise(parts))


def test_horizon_spans_interleaved_chunks() -> None:
    """A run of spans with literals between them looks ahead to its end, a jump back ends it."""
    body = (
        b"8",
        Span(BLOB, 0, 10),
        b"8",
        Span(BLOB, 10, 20),
        b"8",
        Span(BLOB, 25, 30),
        Span(BLOB, 0, 5),
    )
    horizons = [part.horizon for part in plan(body) if isinstance(part, Stretch)]
    assert horizons == [30, 30, 30, 5]
