"""When a blob was used last: its counter told as a time.

The index orders uses by a counter, because a clock that jumps must not empty a store. People ask for a time.
So from hour to hour the time and the counter are written down side by side: a use is as old as the first
mark that has counted it. That tells it to the hour, and beyond 30 days to the day.
"""

import bisect
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from mirror.errors import StoreError

Write: TypeAlias = Callable[[Path, bytes], None]

# Seconds between two marks, of the last 30 days and before that: some 700 marks, and one more a day.
EVERY: Final = 3600.0
LATER: Final = 86_400.0
_RECENT: Final = 30 * 86_400.0

# Twenty years of days; older marks are no longer told apart.
_MOST: Final = 8000


class LastUse:
    """The marks of one data folder, in the file *path*, which *write* puts in place durably.

    A file that is missing or cannot be read begins anew. May be used from several threads.
    """

    def __init__(self, path: Path, write: Write) -> None:
        self._path = path
        self._write = write
        self._lock = threading.Lock()
        self._marks: list[tuple[int, float]] = []  # counter and time, both growing
        with suppress(OSError, ValueError, TypeError, RecursionError):
            self._marks = _read(json.loads(path.read_bytes()))

    def note(self, counter: int, now: float) -> None:
        """Note that the last use is number *counter* at the wall time *now*; a disk may refuse it.

        A counter that is behind is that of an index which was made again: the marks are of no use then.
        """
        with self._lock:
            marks = self._marks
            if marks and (counter < marks[-1][0] or now < marks[-1][1]):
                marks = []
            if marks and (counter == marks[-1][0] or now - marks[-1][1] < EVERY):
                return
            self._marks = _thinned([*marks, (counter, now)], now)
            data = json.dumps(self._marks, separators=(",", ":")).encode() + b"\n"
        with suppress(StoreError):
            self._write(self._path, data)

    def when(self, used: int) -> float | None:
        """The wall time up to which use number *used* was made; `None` for one since the last mark."""
        marks = self._marks
        at = bisect.bisect_left(marks, (used, 0.0))
        return marks[at][1] if at < len(marks) else None


def _thinned(marks: list[tuple[int, float]], now: float) -> list[tuple[int, float]]:
    """Of what is older than 30 days the last mark of each day."""
    kept: dict[tuple[str, int], tuple[int, float]] = {}
    for counter, time in marks:
        old = time < now - _RECENT
        kept["day" if old else "hour", int(time // (LATER if old else 1))] = (counter, time)
    return list(kept.values())[-_MOST:]


def _read(form: Any) -> list[tuple[int, float]]:
    marks = [(int(counter), float(time)) for counter, time in form]
    if marks != sorted(marks) or [time for _, time in marks] != sorted(t for _, t in marks):
        raise ValueError("the marks are out of order")
    return marks
