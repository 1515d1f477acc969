"""How verbs show what they were told: aligned tables, sizes and ages for people, JSON for programs."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from mirror.units import format_size

# Spans are told in the largest unit that they have two of.
_SPANS: Final = ((86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
_HOUR: Final = 3600


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every verb about a data folder has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="As JSON, for programs."),
        click.option(
            "--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML)."
        ),
        click.option("--data", type=click.Path(path_type=Path), help="The data folder."),
    ):
        command = option(command)
    return command


def show(reply: Mapping[str, Any], *, as_json: bool, people: Callable[[], str]) -> None:
    """Print *reply* as JSON, or as *people* read it."""
    click.echo(json.dumps(reply, indent=2, ensure_ascii=False) if as_json else people())


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Write *rows* below *heads* in columns; those of *numbers* are flush right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        cells = [
            text.rjust(width) if place in numbers else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def size(value: int | None) -> str:
    """A number of bytes for people."""
    return "-" if value is None else format_size(value)


def age(moment: float | None, now: float | None = None) -> str:
    """How long ago the wall time *moment* was, to the hour."""
    if moment is None:
        return "-"
    seconds = (time.time() if now is None else now) - moment
    if seconds < _HOUR:
        return "just now"
    return f"{lasted(seconds)} ago" if seconds >= 2 * _HOUR else "an hour ago"


def lasted(seconds: float) -> str:
    """A span of time for people."""
    for unit, word in _SPANS:
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {word}"
    return "a moment"


def counted(number: int, what: str) -> str:
    """``1 file``, ``2 files``, ``2 addresses``."""
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"
