"""How an adoption is told: to a person, with a bar or in lines, or to a program."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import click

from mirror.units import format_size

# How often it is said how far it is where there is no terminal, in seconds.
SAY_EVERY: Final = 10.0

_STEPS: Final = {"look": "Looking", "plan": "Planning", "take": "Taking"}
_SHOWN: Final = 20


class Told(Protocol):
    """How it is told."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_error: object) -> None: ...

    def look(self, state: Mapping[str, Any]) -> None:
        """Hear how far it is."""
        ...

    def report(self, report: Mapping[str, Any]) -> None:
        """Tell what became of it."""
        ...


def told_by(*, as_json: bool) -> Told:
    """The way to tell it."""
    return Events() if as_json else Plain()


class Events:
    """One JSON object a line; docs/adopt.md lists them."""

    def __init__(self) -> None:
        self._said = 0.0
        self._step = ""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def look(self, state: Mapping[str, Any]) -> None:
        """Say it at each new step, and now and then."""
        if state["step"] != self._step or time.monotonic() - self._said >= SAY_EVERY:
            self._step, self._said = state["step"], time.monotonic()
            told = {key: state[key] for key in ("step", "done", "total")}
            click.echo(json.dumps({"event": "progress", **told}))

    def report(self, report: Mapping[str, Any]) -> None:
        """Say all of it."""
        click.echo(json.dumps({"event": "report", **report}))


class Plain:
    """Sentences; with a terminal, a bar before them."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._step = ""
        self._shown = 0
        self._said = time.monotonic()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end_bar()

    def look(self, state: Mapping[str, Any]) -> None:
        """Draw how far it is, or say it now and then."""
        step, done, total = state["step"], state["done"], state["total"]
        if step != self._step or (self._bar is not None and total != self._bar.length):
            self._end_bar()
            self._step, self._shown = step, 0
            if sys.stderr.isatty() and total:
                self._bar = click.progressbar(length=total, label=_STEPS[step], file=sys.stderr)
                self._bar.render_progress()
        if self._bar is not None:
            self._bar.update(done - self._shown)
            self._shown = done
        elif time.monotonic() - self._said >= SAY_EVERY:
            self._said = time.monotonic()
            far = f"{format_size(done)} of {format_size(total)}" if step == "take" else f"{done}"
            click.echo(f"{_STEPS[step]}: {far}.", err=True)

    def report(self, report: Mapping[str, Any]) -> None:
        """Say what became of each kind of cache, why, and what to do next."""
        for line in _table(report["caches"]):
            click.echo(line)
        remarks = report["remarks"]
        refused = [remark for remark in remarks if remark["outcome"] == "refused"]
        for remark in refused:
            click.echo(f"refused: {shown(remark['path'])}: {shown(remark['why'])}")
        left: dict[str, list[str]] = {}
        for remark in remarks:
            if remark["outcome"] == "skipped":
                left.setdefault(remark["why"], []).append(remark["path"])
        for why, paths in left.items():
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            click.echo(f"left alone: {shown(paths[0])}{more}: {shown(why)}")
        for item in report["undecided"][:_SHOWN]:
            click.echo(
                f"not open to all: {item['repo']}: {item['why']}. To open it: {item['line']}"
            )
        if len(report["undecided"]) > _SHOWN:
            click.echo(
                f"… and {len(report['undecided']) - _SHOWN} more repos; --json lists them all."
            )
        for note in report["notes"]:
            click.echo(note)
        click.echo(_end(report))

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None


def _table(caches: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    """What became of each kind of cache, a line each."""
    lines = []
    for cache, outcomes in caches.items():
        said = [
            f"{outcome} {tally['files']} ({format_size(tally['bytes'])})"
            for outcome, tally in outcomes.items()
        ]
        lines.append(f"{cache:<10}{', '.join(said)}")
    return lines


def _end(report: Mapping[str, Any]) -> str:
    room = report["room"]
    if report["dry_run"]:
        return (
            f"Nothing was taken. It would need {format_size(room['needed'])} at most;"
            f" {format_size(room['free'])} are free."
        )
    taken = report["taken"]
    number = sum(tally["files"] for tally in taken.values())
    size = sum(tally["bytes"] for tally in taken.values())
    were = "1 file with {} was" if number == 1 else f"{number} files with {{}} were"
    taken_now = f"{were.format(format_size(size))} taken"
    ways = ", ".join(f"{tally['files']} by {how}" for how, tally in taken.items())
    if report["stopped"]:
        return f"Stopped: {taken_now}. Run it again to go on."
    if not number:
        return "Nothing new was taken."
    return f"{taken_now} ({ways})."


def shown(text: str) -> str:
    """*text* as a terminal may show it: names in a cache may hold anything."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
