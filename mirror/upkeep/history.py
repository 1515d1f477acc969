"""What the mirror is good for, counted: bytes served and fetched, requests and hits, by the hour.

An observer of events like the metrics, but one that remembers: the counts of the last 30 days and the sums
of all time lie in a small file, which is written every few minutes and at the end. A kill costs the counts
since then, and nothing else. Counts alone: no repo, no file and no caller is in them.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import Event, Fetched, FillEnded, Served, ServedAlike

Write: TypeAlias = Callable[[Path, bytes], None]

# How often the file is written, in seconds, while there is anything new: one small synced write.
SAVE_EVERY: Final = 300.0

# Hours that are kept one by one: 30 days.
HOURS: Final = 720

_HOUR: Final = 3600
_FORM: Final = 1
_HITS: Final = frozenset({"hit", "stale"})


@dataclass(frozen=True, slots=True)
class Count:
    """What happened in some time.

    *served* are bytes of bodies sent to clients, *fetched* bytes of content that came from upstream;
    *requests* of hubs were answered, *hits* of them without asking upstream for a file.
    """

    served: int = 0
    fetched: int = 0
    requests: int = 0
    hits: int = 0

    def __add__(self, other: Self) -> "Count":
        """Both together; written out, as every request adds twice and `astuple` copies deeply."""
        return Count(
            self.served + other.served,
            self.fetched + other.fetched,
            self.requests + other.requests,
            self.hits + other.hits,
        )

    @property
    def saved(self) -> int:
        """Bytes that clients got and nobody had to fetch."""
        return max(0, self.served - self.fetched)


class History:
    """The counts of one data folder, in the file *path*, which *write* puts in place durably.

    Made from what the file says; one that is missing or cannot be read begins anew. May be told of events
    from any thread.
    """

    def __init__(self, path: Path, write: Write, clock: Clock) -> None:
        self._path = path
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = False
        self.since, self._totals, self._hours = clock.wall(), Count(), dict[int, Count]()
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            self._read(json.loads(path.read_bytes()))

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case Served(hub=hub, found=found, sent=sent) if hub:
                passed = sent if found == "bypass" else 0
                self._count(Count(sent, passed, 1, 1 if found in _HITS else 0))
            case ServedAlike(hub=hub, found=found, requests=number, sent=sent) if hub:
                self._count(Count(sent, 0, number, number if found in _HITS else 0))
            case FillEnded(fetched=size) | Fetched(size=size) if size:
                self._count(Count(fetched=size))
            case _:
                pass

    def totals(self) -> Count:
        """All that was counted `since`."""
        return self._totals

    def hours(self) -> Sequence[tuple[float, Count]]:
        """The hours of the last 30 days in which anything happened: their beginning, and their count."""
        with self._lock:
            return [(float(hour * _HOUR), self._hours[hour]) for hour in sorted(self._hours)]

    def report(self) -> Mapping[str, object]:
        """Everything, JSON-ready; an hour is a row of its beginning and the four numbers of `Count`."""
        totals = self._totals
        return {
            "since": self.since,
            "served": totals.served,
            "fetched": totals.fetched,
            "requests": totals.requests,
            "hits": totals.hits,
            "hours": [[int(begin), *astuple(count)] for begin, count in self.hours()],
        }

    def save(self) -> None:
        """Write the file if there is anything new; a disk that refuses is tried again at the next call."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            form = {
                "form": _FORM,
                "since": self.since,
                "totals": astuple(self._totals),
                "hours": [[hour, *astuple(self._hours[hour])] for hour in sorted(self._hours)],
            }
        try:
            self._write(self._path, json.dumps(form, separators=(",", ":")).encode() + b"\n")
        except StoreError:
            self._changed = True

    def _count(self, more: Count) -> None:
        hour = int(self._clock.wall()) // _HOUR
        with self._lock:
            self._changed = True
            self._totals += more
            if hour not in self._hours:
                # Of a clock that was set back, the hours to come are forgotten too.
                kept = range(hour - HOURS + 1, hour)
                self._hours = {at: self._hours[at] for at in self._hours if at in kept}
            self._hours[hour] = self._hours.get(hour, Count()) + more

    def _read(self, form: Any) -> None:
        """Take up what the file says, all of it or nothing."""
        if form["form"] != _FORM:
            return
        since, totals = float(form["since"]), _counted(form["totals"])
        hours = {_number(hour): _counted(row) for hour, *row in form["hours"][-HOURS:]}
        self.since, self._totals, self._hours = since, totals, hours


def _counted(row: Any) -> Count:
    served, fetched, requests, hits = (_number(value) for value in row)
    return Count(served, fetched, requests, hits)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("no count")
    return value
