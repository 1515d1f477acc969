"""A run: what is measured in which order, what is left out and why, and how it ends."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from tests.bench import report
from tests.bench.figures import Notebook, Row, Sample
from tests.bench.goals import BY_KEY, MARKS
from tests.bench.groups import GROUPS, Group, run_all
from tests.bench.programs import LackingError
from tests.bench.scene import FULL, QUICK, Scene
from tests.house.checkout import ROOT


class _Scene:
    """As much of a scene as is asked before a group runs."""

    def __init__(self, limit: float = 60.0) -> None:
        self.scale = FULL
        self.limit = limit


def _run(groups: list[Group], limit: float = 60.0) -> tuple[Notebook, bool]:
    book = Notebook()
    return book, run_all(cast(Scene, _Scene(limit)), book, groups, time.monotonic())


def _noting(key: str) -> Group:
    def run(scene: Scene, book: Notebook, turn: int) -> None:
        del scene
        book.note(key, float(turn + 1), 1.0)

    return Group((BY_KEY[key].mark,), run, 2)


def test_every_row_has_a_group() -> None:
    """Each mark of the table is measured by some group, in quick runs, too."""
    assert {mark for group in GROUPS for mark in group.marks} == set(MARKS)
    assert [group for group in GROUPS if group.wanted(QUICK) < 1] == []


def test_rounds_of_the_groups_take_turns() -> None:
    """The second round of a group comes after the first of every other."""
    turns: list[tuple[str, int]] = []

    def group(name: str, rounds: int) -> Group:
        return Group((name,), lambda _scene, _book, turn: turns.append((name, turn)), rounds)

    _run([group("G1", 3), group("G4", 1), group("G5", 2)])

    assert turns == [("G1", 0), ("G4", 0), ("G5", 0), ("G1", 1), ("G5", 1), ("G1", 2)]


def test_group_that_lacks_something_is_skipped_alone() -> None:
    """What is missing for one row is its reason; the others are measured, and nothing failed."""

    def lacking(scene: Scene, book: Notebook, turn: int) -> None:
        del scene, book, turn
        raise LackingError("curl is not installed")

    book, failed = _run([Group(("G5",), lacking, 2), _noting("head-rate")])
    skipped, measured = book.rows(frozenset({"G5", "G6"}))

    assert not failed
    assert (skipped.verdict, skipped.lack) == ("skipped", "curl is not installed")
    assert measured.figures == (1.0, 2.0)


def test_group_that_fails_fails_the_run_and_no_other() -> None:
    """A wrong answer is told with its row; the other rows are measured all the same."""

    def failing(scene: Scene, book: Notebook, turn: int) -> None:
        del scene, book, turn
        raise RuntimeError("wrong answer")

    book, failed = _run([Group(("G5",), failing, 2), _noting("head-rate")])
    broken, measured = book.rows(frozenset({"G5", "G6"}))

    assert failed
    assert broken.lack == "failed: wrong answer"
    assert measured.figures == (1.0, 2.0)
    assert "failed: wrong answer" in report.table([broken])


def test_run_begins_nothing_when_its_time_is_up() -> None:
    """A row for which no time is left says so."""
    book, failed = _run([_noting("head-rate")], limit=-1.0)
    (row,) = book.rows(frozenset({"G6"}))

    assert not failed
    assert row.lack == "no time left"


@pytest.mark.parametrize(("rate", "code"), [(10000.0, 0), (9999.0, 1)])
def test_command_ends_with_1_when_a_floor_is_missed(tmp_path: Path, rate: float, code: int) -> None:
    """Saved runs are told again and judged by the same rule: on the floor is held, below it missed."""
    file = tmp_path / "run.json"
    rows = [Row(BY_KEY["head-rate"], (Sample(rate, 10000.0),))]
    file.write_text(json.dumps(report.document(rows, {"date": "2026-01-02"})))
    done = _command("--read", str(file))

    assert done.returncode == code, done.stderr
    assert ("holds" if code == 0 else "misses") in done.stdout


def test_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """A mark that no row has, and a file that is no run, are named."""
    assert "no row is called G99" in _command("--only", "G99").stderr
    assert "nothing.json" in _command("--read", str(tmp_path / "nothing.json")).stderr


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
