"""Byte ranges, by RFC 9110 section 14.

The web framework's own parser answers 416 where the RFC wants a Range ignored (unknown units, syntax it
does not know) and knows only one range, so these few lines are ours and property-tested.
"""

import re
from dataclasses import dataclass
from typing import Final

# RFC 9110 §14.2 lets a server ignore a Range with many small or overlapping ranges; 16 serve every
# downloader seen (aria2c asks one at a time, video players two).
MAX_RANGES: Final = 16

_SPEC: Final = re.compile(r"(?:([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19}))\Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """Bytes *start* up to but not including *end*, both from the first byte of the content."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def content_range(self, size: int) -> str:
        """The ``Content-Range`` value of this range within *size* bytes (RFC 9110 §14.4)."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


class Unsatisfiable(ValueError):  # noqa: N818 -- it is a verdict on the request, turned into 416
    """No range of the set touches the content."""


def parse_ranges(header: str | None, size: int) -> tuple[ByteRange, ...] | None:
    """Choose what a ``Range`` header asks of content of *size* bytes.

    Returns the ranges, merged where they overlap or touch and in ascending order, or `None` where the
    header must or may be ignored: another unit, bad syntax, more than `MAX_RANGES`. Raises
    `Unsatisfiable` when the syntax is right and no range overlaps the content (RFC 9110 §14.1.2).
    """
    if header is None:
        return None
    unit, separator, specs = header.partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    wanted: list[ByteRange] = []
    parts = [part.strip(" \t") for part in specs.split(",")]
    parts = [part for part in parts if part]
    if not parts or len(parts) > MAX_RANGES:
        return None
    for part in parts:
        match = _SPEC.match(part)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            start, end = max(0, size - int(suffix)), size
        else:
            start, end = int(first), size if last is None else min(int(last) + 1, size)
            if last is not None and int(last) < int(first):
                return None
        if start < end:
            wanted.append(ByteRange(start, end))
    if not wanted:
        raise Unsatisfiable(header)
    return merge(wanted)


def merge(ranges: list[ByteRange]) -> tuple[ByteRange, ...]:
    """Put *ranges* in ascending order and join those that overlap or touch."""
    merged: list[ByteRange] = []
    for item in sorted(ranges):
        if merged and item.start <= merged[-1].end:
            merged[-1] = ByteRange(merged[-1].start, max(merged[-1].end, item.end))
        else:
            merged.append(item)
    return tuple(merged)
