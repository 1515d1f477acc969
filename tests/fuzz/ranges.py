"""Range, Content-Range and the conditional headers mean what the RFC says, or nothing."""

import re
from itertools import pairwise
from typing import Final

from mirror.errors import UpstreamUnavailableError
from mirror.ranges import MAX_RANGES, Unsatisfiable, parse_ranges
from mirror.upstream.verdicts import Wanted, _check_range
from mirror.web.conditional import Verdict, judge, range_applies

SEEDS: Final = (
    b"bytes=0-0,5-,-3\x00100",
    b"bytes=0-99\x0050",
    b"bytes=-0\x001",
    b"bytes= 1-2 , 2-3\x0010",
    b"lines=0-1\x005",
    b"bytes=9999999999999999999999-\x0010",
    b'"t", W/"t", *\x003',
    b', ,"a",, "t",\x000',
    b"bytes 0-9/10\x0010",
    b"bytes */10\x0010",
    b"bytes 0-9/*\x0010",
    b"\xd9\xa1-\xd9\xa2\x005",
)
_ONE: Final = re.compile(r"\s*(?:([0-9]+)-([0-9]*)|-([0-9]+))\s*", re.ASCII)


def check(data: bytes) -> None:
    """Ranges lie in the content, ascend and do not touch; a tag matches only where it stands in the list."""
    text, _, number = data.decode("utf-8", "surrogateescape").partition("\0")
    size = int(number[:12]) if number[:12].isascii() and number[:12].isdigit() else 10
    try:
        found = parse_ranges(text, size)
    except Unsatisfiable:
        found = None
        assert text.partition("=")[0].strip().lower() == "bytes"
    if found is not None:
        assert 0 < len(found) <= MAX_RANGES
        assert all(0 <= one.start < one.end <= size for one in found)
        assert all(a.end < b.start for a, b in pairwise(found))
        if size:
            assert {found[0].start, found[-1].end - 1} <= _asked(text, size)

    for method in ("GET", "POST"):
        for name in ("if-match", "if-none-match"):
            verdict = judge(method, {name: text}, "t")
            if verdict is (Verdict.UNCHANGED if method == "GET" else Verdict.FAILED):
                assert name == "if-match" or text.strip() == "*" or '"t"' in text
    if range_applies({"if-range": text}, "t"):
        assert text.strip() == '"t"'
    try:
        _check_range({"content-range": text}, Wanted(0, size, size, None), "host")
    except UpstreamUnavailableError:
        pass
    else:
        # Zeros in front are grammar (RFC 9110 §14.4: 1*DIGIT) and mean nothing.
        ends = re.sub(r"(?<![0-9])0+(?=[0-9])", "", text)
        assert ends == f"bytes 0-{size - 1}/{size}"


def _asked(text: str, size: int) -> set[int]:
    """First and last byte of each range that the header names, by a second reading."""
    ends: set[int] = set()
    for part in text.partition("=")[2].split(","):
        match = _ONE.fullmatch(part)
        if match is None:
            continue
        first, last, suffix = match.groups()
        if suffix is not None:
            ends |= {max(0, size - int(suffix)), size - 1}
        else:
            ends |= {int(first), min(int(last), size - 1) if last else size - 1}
    return ends
