"""A run as it is told: the table, the JSON that is read again, the region of the page, the picture."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.bench import plot, report
from tests.bench.figures import Row, Sample
from tests.bench.goals import BY_KEY
from tests.house.checkout import ROOT

ROWS = [
    Row(BY_KEY["hot-1-cpu"], (Sample(0.12, 0.10, {"olah": 1.8}), Sample(0.13, 0.14))),
    Row(BY_KEY["head-rate"], (Sample(5000.0, 10000.0),)),
    Row(BY_KEY["tls-cpu"], (), "nginx is not installed"),
]
ABOUT = {
    "date": "2026-01-02",
    "mirror": "1.2.3",
    "processor": "Some CPU",
    "cores": 2,
    "kernel": "6.1",
    "python": "3.11",
    "nginx": "nginx/1.22",
    "scale": "full",
    "load_before": 0.1,
    "load_after": 0.9,
}


def test_table_says_floor_goal_and_verdict_of_each_row() -> None:
    """Each row stands beside its limits and says in a word how it did, or why it was skipped."""
    lines = report.table(ROWS).splitlines()

    assert lines[0].split() == ["mirror", "beside", "figure", "from", "to", "floor", "goal", "olah"]
    assert lines[1].split()[-4:] == ["1.08", "18.0", "reaches", "~"]
    assert " ".join(lines[2].split()[-5:]) == "0.500 1.00 3.00 - misses"
    assert lines[3].endswith("skipped: nginx is not installed")


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What a run wrote says everything again, the samples and the reasons."""
    file = tmp_path / "run.json"
    file.write_text(json.dumps(report.document(ROWS, ABOUT)))

    assert report.read(file) == (ROWS, ABOUT)
    said = json.loads(file.read_text())["rows"][1]
    assert (said["figure"], said["verdict"], said["floor"]) == (0.5, "misses", 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"form": 1}',
        '{"form": 0}',
        '{"form": 1, "rows": [{"key": "x"}], "about": {}}',
    ],
)
def test_json_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    """A file that holds no run, or one of another form, is refused by name."""
    file = tmp_path / "run.json"
    file.write_text(text)

    with pytest.raises(ValueError, match=r"run\.json"):
        report.read(file)


def test_region_counts_the_runs_in_which_a_floor_held() -> None:
    """Of several runs the page tells all samples together, and how often the floor held."""
    again = [Row(BY_KEY["head-rate"], (Sample(20000.0, 10000.0),))]
    text = report.region(
        [Row(BY_KEY["head-rate"], (Sample(5000.0, 10000.0), Sample(20000.0, 10000.0)))],
        [ABOUT, {**ABOUT, "load_after": 3.0}],
        [ROWS, again],
    )

    assert "2 runs, full; load average from 0.1 to 3.0." in text
    assert "| 1.25 x | 1.00 | 3.00 | holds, 1 of 2 |" in text


def test_page_is_rewritten_between_its_marks_alone() -> None:
    """What people wrote around the region stays, and writing the same again changes nothing."""
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.rewritten(page, "new")

    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.rewritten(once, "new") == once
    for broken in ("no marks", page + page, f"{report.END}{report.BEGIN}"):
        with pytest.raises(ValueError, match="the page needs"):
            report.rewritten(broken, "new")


def test_page_in_the_checkout_can_be_rewritten() -> None:
    """The performance page has the marks, and shows the picture."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")

    assert "new" in report.rewritten(page, "new")
    assert f"({plot.PLACE.name})" in page


def test_picture_shows_each_row_that_was_measured() -> None:
    """It is well-formed, has a bar in the colour of each verdict, and knows dark pages."""
    drawn = plot.drawn(ROWS)
    whole = ET.fromstring(drawn)  # noqa: S314 -- it was made here
    bars = [one.get("class") for one in whole.iter("{http://www.w3.org/2000/svg}rect")]

    assert bars == ["ground", "reaches", "misses", "reaches", "holds", "misses"]
    assert "prefers-color-scheme: dark" in drawn
    assert "tls" not in drawn.lower()


def test_picture_measures_every_row_in_floors() -> None:
    """Half the floor where less is better, and twice the floor where more is, are equally long."""
    less, more = BY_KEY["hot-1-cpu"], BY_KEY["ranged-rate"]

    assert plot.length(less, less.floor) == plot.length(more, more.floor) == 1.0
    assert plot.length(less, less.floor / 2) == plot.length(more, more.floor * 2) == 0.5
    assert plot.length(more, 0.0) == float("inf")
    assert plot.length(BY_KEY["cold-1-first"], -3.0) == 0.0
