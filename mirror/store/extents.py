"""Which bytes of a blob are there: a sorted list of ranges that neither touch nor overlap.

A blob that comes over several connections, or from its end first, is there in patches. A file's own
holes (``SEEK_HOLE``) cannot tell them: they come in blocks, and a block written half says nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Extents:
    """Ranges of bytes, *start* up to but not including *end*. Not safe for several threads."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def total(self) -> int:
        """How many bytes they hold together."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> None:
        """Note that these bytes are there, known or not."""
        if start >= end:
            return
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start, end = min(start, self._starts[low]), max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def remove(self, start: int, end: int) -> None:
        """Note that these bytes are not there, known or not."""
        if start >= end:
            return
        low = bisect_right(self._ends, start)
        high = bisect_left(self._starts, end)
        if low >= high:
            return
        left, right = self._starts[low], self._ends[high - 1]
        kept = [(left, start)] if left < start else []
        kept += [(end, right)] if end < right else []
        self._starts[low:high] = [first for first, _ in kept]
        self._ends[low:high] = [last for _, last in kept]

    def end_at(self, offset: int) -> int:
        """Where the range that holds *offset* ends; *offset* itself when none does."""
        place = bisect_right(self._starts, offset) - 1
        return max(offset, self._ends[place]) if place >= 0 else offset

    def gap(self, start: int, end: int) -> tuple[int, int] | None:
        """The first run of bytes from *start* up to *end* that is not there; `None` if all are."""
        start = self.end_at(start)
        if start >= end:
            return None
        place = bisect_right(self._starts, start)
        return start, min(end, self._starts[place]) if place < len(self._starts) else end
