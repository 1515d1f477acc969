"""What the mirror counts of itself, kept over restarts, and when a blob was used last."""

import json
import sys
from pathlib import Path

from mirror.errors import StoreFullError
from mirror.events import Alarm, Event, Evicted, Fetched, FillEnded, Served
from mirror.upkeep.history import HOURS, Count, History
from mirror.upkeep.lastuse import LastUse
from tests.unit.index.disk import write

NOON = 1_750_000_000.0 // 3600 * 3600


class _Clock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = NOON

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def _served(found: str, sent: int, hub: str = "huggingface") -> Event:
    return Served(hub, found, 200, sent, 0.1)


def test_history_counts_what_was_served_and_fetched(tmp_path: Path) -> None:
    """Own pages and refusals of no hub are nothing that was saved; what passes through was fetched."""
    history = History(tmp_path / "stats.json", write, _Clock())
    for event in (
        _served("miss", 100),
        FillEnded("huggingface", "stored", 100, 1.0, 60),
        _served("hit", 100),
        _served("stale", 50),
        _served("bypass", 7),
        _served("own", 1000, hub=""),
        Fetched("github", 5),
        Evicted(1, 10),
        Alarm("corrupt", "x"),
    ):
        history(event)

    assert history.totals() == Count(served=257, fetched=72, requests=4, hits=2)
    assert history.totals().saved == 185
    assert history.hours() == [(NOON, history.totals())]
    report = history.report()
    assert report["since"] == NOON
    assert report["hours"] == [[int(NOON), 257, 72, 4, 2]]


def test_history_counts_a_request_in_a_handful_of_calls(tmp_path: Path) -> None:
    """Every request is counted on the event loop: to copy the counts there was a tenth of a warm HEAD."""
    history, event, calls = (
        History(tmp_path / "stats.json", write, _Clock()),
        _served("hit", 100),
        0,
    )
    history(event)  # The first one of an hour makes room for it.

    def count(_frame: object, kind: str, _argument: object) -> None:
        nonlocal calls
        calls += kind in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        history(event)
    finally:
        sys.setprofile(before)

    assert 0 < calls <= 20  # It was 332.


def test_history_goes_on_after_a_restart(tmp_path: Path) -> None:
    """What was saved is there again; what came since the last save is what a kill costs."""
    path, clock = tmp_path / "stats.json", _Clock()
    history = History(path, write, clock)
    history(_served("hit", 10))
    history.save()
    history(_served("hit", 1000))

    clock.now += 7200
    again = History(path, write, clock)
    again(_served("miss", 1))
    assert again.since == NOON
    assert again.totals() == Count(11, 0, 2, 1)
    assert again.hours() == [(NOON, Count(10, 0, 1, 1)), (NOON + 7200, Count(1, 0, 1, 0))]


def test_history_keeps_thirty_days_and_no_future(tmp_path: Path) -> None:
    """Old hours go from the rows and stay in the sums, and so do those of a clock that was set back."""
    clock = _Clock()
    history = History(tmp_path / "stats.json", write, clock)
    for _ in range(HOURS + 5):
        history(_served("hit", 1))
        clock.now += 3600
    assert len(history.hours()) == HOURS
    clock.now = NOON
    history(_served("hit", 1))
    assert [begin for begin, _ in history.hours()] == [NOON] or history.hours()[-1][0] <= NOON
    assert history.totals().requests == HOURS + 6


def test_history_survives_damage_and_a_full_disk(tmp_path: Path) -> None:
    """A file that is none begins anew; what a disk refuses is written when it takes it."""
    path = tmp_path / "stats.json"
    for damage in (
        b"",
        b"{",
        b"[]",
        b'{"form": 1}',
        b'{"form": 1, "since": 1, "totals": [1, 2, 3]}',
    ):
        path.write_bytes(damage)
        assert History(path, write, _Clock()).totals() == Count()
    full = True

    def refusing(where: Path, data: bytes) -> None:
        if full:
            raise StoreFullError("full", needed=1, free=0)
        write(where, data)

    history = History(path, refusing, _Clock())
    history(_served("hit", 3))
    history.save()
    full = False
    history.save()
    assert json.loads(path.read_bytes())["totals"] == [3, 0, 1, 1]


def test_last_use_is_told_to_the_hour(tmp_path: Path) -> None:
    """A use is as old as the first mark that has counted it; what came since the last one is now."""
    path = tmp_path / "uses.json"
    marks = LastUse(path, write)
    marks.note(10, NOON)
    marks.note(15, NOON + 60)  # too soon
    marks.note(20, NOON + 3600)
    again = LastUse(path, write)
    assert [again.when(used) for used in (1, 10, 11, 20, 21)] == [
        NOON, NOON, NOON + 3600, NOON + 3600, None,
    ]  # fmt: skip


def test_last_use_begins_anew_with_an_index_that_was_made_again(tmp_path: Path) -> None:
    """Its counter is behind: the old marks would call everything old."""
    marks = LastUse(tmp_path / "uses.json", write)
    marks.note(1000, NOON)
    marks.note(7, NOON + 60)
    assert marks.when(7) == NOON + 60
    assert marks.when(8) is None


def test_last_use_thins_what_is_old(tmp_path: Path) -> None:
    """A year of hours is a month of hours and a mark a day before that."""
    path = tmp_path / "uses.json"
    marks = LastUse(path, write)
    for hour in range(24 * 90):
        marks.note(hour, NOON + hour * 3600)
    kept = json.loads(path.read_bytes())
    assert 720 + 55 < len(kept) < 720 + 65
    assert kept == sorted(kept)
