"""Conditional and range requests over a content (RFC 9110 sections 13 and 14)."""

import hashlib
import re
from collections.abc import Mapping

from tests.origin.content import Content
from tests.origin.wire import Reply, Request, Segment

_spec = re.compile(r"\s*(\d*)-(\d*)\s*")
# More ranges than this in one request are answered as if there were none.
_most_ranges = 32


def parse_range(header: str, size: int) -> list[tuple[int, int]] | None:
    """Return the satisfiable half-open ranges of a Range header over ``size`` bytes.

    None when the header is malformed and therefore ignored; an empty list means 416.
    """
    unit, _, specs = header.partition("=")
    rows = specs.split(",")
    if unit.strip().lower() != "bytes" or len(rows) > _most_ranges:
        return None
    found: list[tuple[int, int]] = []
    for row in rows:
        match = _spec.fullmatch(row)
        if match is None or match.group(0).strip() == "-":
            return None
        first, last = match.groups()
        if not first:
            start, stop = max(0, size - int(last)), size
        else:
            start, stop = int(first), min(size, int(last) + 1) if last else size
            if last and int(last) < start:
                return None
        if start < stop:
            found.append((start, stop))
    return found


def serve(request: Request, content: Content, headers: Mapping[str, str]) -> Reply:
    """Answer GET or HEAD for ``content`` with 200, 206, 304 or 416; ``headers`` carry its ETag."""
    rows = {"Accept-Ranges": "bytes", **headers}
    etag = rows["ETag"]
    wanted = request.headers.get("if-none-match")
    if wanted is not None and _matches(wanted, etag):
        rows.pop("Content-Type", None)
        return Reply(304, rows)
    whole = Reply(200, rows, content.segments())
    header = request.headers.get("range")
    condition = request.headers.get("if-range", etag)
    if header is None or condition != etag or etag.startswith("W/"):
        return whole
    ranges = parse_range(header, content.size)
    if ranges is None:
        return whole
    if not ranges:
        rows["Content-Range"] = f"bytes */{content.size}"
        rows["Content-Type"] = "text/plain; charset=utf-8"
        return Reply(416, rows, (b"Requested Range Not Satisfiable",))
    if len(ranges) == 1:
        start, stop = ranges[0]
        rows["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
        return Reply(206, rows, content.segments(start, stop))
    return _multipart(content, ranges, rows)


def _multipart(content: Content, ranges: list[tuple[int, int]], rows: dict[str, str]) -> Reply:
    boundary = hashlib.sha256(f"{content.sha256}{ranges}".encode()).hexdigest()[:32]
    part_type = rows.get("Content-Type", "application/octet-stream")
    parts: list[Segment] = []
    for start, stop in ranges:
        parts.append(
            f"\r\n--{boundary}\r\nContent-Type: {part_type}\r\n"
            f"Content-Range: bytes {start}-{stop - 1}/{content.size}\r\n\r\n".encode()
        )
        parts += content.segments(start, stop)
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    rows["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    return Reply(206, rows, parts)


def _matches(header: str, etag: str) -> bool:
    opaque = etag.removeprefix("W/")
    return header.strip() == "*" or any(
        item.strip().removeprefix("W/") == opaque for item in header.split(",")
    )
