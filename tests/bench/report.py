"""A run as people and programs read it: a table for the terminal, JSON, and the region of the page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.figures import STEADY, Row

BEGIN: Final = "<!-- measured: written by make bench ARGS='--write-docs' -->"
END: Final = "<!-- /measured -->"
# Goes up when a reader of the files must change.
FORM: Final = 1


def table(rows: Sequence[Row]) -> str:
    """Lay out *rows* for a terminal; a tilde marks those whose machine was not quiet."""
    peers = _peers(rows)
    lines = [("", "", "mirror", "beside", "figure", "from", "to", "floor", "goal", *peers, "")]
    lines += [_cells(row, peers) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = {0, 1, len(widths) - 1}
    laid = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*laid, "", f"~ the baseline's extremes lie over {STEADY:.0%} apart"])


def _cells(row: Row, peers: Sequence[str]) -> tuple[str, ...]:
    goal, figures = row.goal, row.figures
    word = row.verdict if row.samples else _lack(row)
    return (
        goal.mark,
        f"{goal.name}, {goal.unit}",
        number(row.mirror),
        number(row.baseline),
        number(row.figure),
        number(min(figures, default=None)),
        number(max(figures, default=None)),
        number(goal.floor),
        number(goal.goal),
        *(number(row.peer(name)) for name in peers),
        word + ("" if row.steady else " ~"),
    )


def _peers(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row.peers))


def number(value: float | None) -> str:
    """Three digits that count, whatever the size; a dash for nothing."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 or not value else f"{value:.3f}"


def document(rows: Sequence[Row], about: Mapping[str, object]) -> dict[str, Any]:
    """The whole run as JSON has it: *about* the machine and the run, then every row with its samples."""
    return {"form": FORM, "about": dict(about), "rows": [row.plain() for row in rows]}


def read(path: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows that `document` wrote to a file, and what it says about them.

    Raises `ValueError` for a file that is none of these, or one of another form.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["form"] != FORM:
            raise ValueError(f"{path} has form {said['form']}, and this reads {FORM}")
        return [Row.from_plain(row) for row in said["rows"]], said["about"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no measurements that this can read: {error!r}") from error


def region(
    rows: Sequence[Row], abouts: Sequence[Mapping[str, Any]], runs: Sequence[Sequence[Row]]
) -> str:
    """What stands between the marks of the page: the machine, then one line per row.

    *rows* has the samples of all *runs*; *abouts* has what each run says of itself.
    """
    about = abouts[-1]
    peers = _peers(rows)
    loads = [float(one[name]) for one in abouts for name in ("load_before", "load_after")]
    told = (
        f"{about['date']}, version {about['mirror']}: {about['processor']}, {about['cores']} cores,"
        f" Linux {about['kernel']}, Python {about['python']}, {about['nginx']};"
        f" {len(runs)} run{'s' * (len(runs) > 1)}, {about['scale']};"
        f" load average from {min(loads):.1f} to {max(loads):.1f}."
    )
    lines = [
        told,
        "",
        "| | what | mirror | beside it | figure | floor | goal |"
        + "".join(f" {name} |" for name in peers)
        + " verdict |",
        "|---|---|---|---|---|---|---|" + "---|" * len(peers) + "---|",
    ]
    for row in rows:
        goal = row.goal
        beside = f"{number(row.baseline)} ({goal.baseline})" if row.baseline is not None else "-"
        cells = [
            goal.mark,
            f"{goal.name}, {goal.unit}",
            number(row.mirror),
            beside,
            f"{number(row.figure)} {goal.figure_unit}" if row.samples else "-",
            number(goal.floor),
            number(goal.goal),
            *(number(row.peer(name)) for name in peers),
            _word(row, runs),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _word(row: Row, runs: Sequence[Sequence[Row]]) -> str:
    """The verdict; of several runs also in how many of them the floor held."""
    if not row.samples:
        return _lack(row)
    word = row.verdict + ("" if row.steady else " ~")
    same = [one for run in runs for one in run if one.goal == row.goal and one.samples]
    if len(same) > 1:
        word += f", {sum(not one.missed for one in same)} of {len(same)}"
    return word


def _lack(row: Row) -> str:
    return row.lack if row.lack.startswith("failed") else f"skipped: {row.lack}"


def rewritten(page: str, text: str) -> str:
    """The *page* with *text* between its marks; raises `ValueError` when it does not have both once."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs one line {BEGIN} and after it one {END}")
    before, after = page.split(BEGIN, maxsplit=1)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
