"""How warming is told: bars or sentences to people, the events of an export to programs."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, Self

import click

from mirror.bundle.needs import Need
from mirror.bundle.outcome import Outcome, Report
from mirror.bundle.warming import WarmVoice
from mirror.cli.telling import DRAW_EVERY, SAY_EVERY, Events, Pace, Telling, bar, targets_are
from mirror.errors import MirrorError
from mirror.units import format_size

# Files that have a bar of their own: more than come at once by default would fill a small terminal.
_MOST_BARS: Final = 8
_NAME: Final = 40


class WarmTelling(WarmVoice, Telling, Protocol):
    """The voice of `warm`, from its beginning to its end."""


class WarmEvents(Events):
    """One JSON object a line, each with the same keys; docs/warm.md lists them."""

    def __init__(self) -> None:
        super().__init__(None)
        # When the first of a file was told, how much that was, and when the last was.
        self._files: dict[str, tuple[float, int, float]] = {}

    def room(self, missing: int, unknown: int, free: int) -> None:
        """Whether there is room."""
        self._pace.since = time.monotonic()
        self._say("room", bytes=missing, unknown=unknown, free=free)

    def came(self, need: Need, done: int, size: int) -> None:
        """Some of a file has come."""
        now = time.monotonic()
        began, before, said = self._files.setdefault(need.source, (now, done, now))
        if now - said < 1.0 or done >= size:
            return
        self._files[need.source] = (began, before, now)
        rate = (done - before) / (now - began)
        self._say(
            "progress",
            target=need.of,
            file=need.name,
            bytes=done,
            total=size,
            percent=round(100 * done / size, 1),
            rate=round(rate),
            eta=round((size - done) / rate, 1) if rate else None,
        )

    def stored(self, need: Need, size: int) -> None:
        """A file is in the store."""
        self._say("file", target=need.of, file=need.name, bytes=size)

    def refused(self, need: Need, error: MirrorError) -> None:
        """A file will not come."""
        self._say(
            "file",
            target=need.of,
            file=need.name,
            error=error.message,
            next=error.hint or None,
        )


class WarmPlain:
    """Sentences; with a terminal, a bar for each file that comes, and one for all."""

    def __init__(self) -> None:
        self._drawn = sys.stderr.isatty()
        self._pace = Pace(DRAW_EVERY if self._drawn else SAY_EVERY)
        self._running: dict[str, tuple[int, int]] = {}
        self._lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        del kind, error, trace
        self._clear()

    def room(self, missing: int, unknown: int, free: int) -> None:
        """Whether there is room."""
        self._pace.since = time.monotonic()
        if not missing and not unknown:
            return
        more = f", and {unknown} of unknown size" if unknown else ""
        click.echo(f"{format_size(missing)} to fetch{more}; {format_size(free)} free.", err=True)

    def expect(self, size: int) -> None:
        """More is to come."""
        self._pace.total += size

    def advance(self, size: int) -> None:
        """Some has come."""
        self._pace.done += size
        if self._pace.due():
            self._draw()

    def came(self, need: Need, done: int, size: int) -> None:
        """Some of a file has come."""
        if done < size:
            self._running[need.name] = (done, size)
        else:
            self._running.pop(need.name, None)

    def placed(self, path: str, size: int) -> None:
        """A file has its name."""

    def stored(self, need: Need, size: int) -> None:
        """A file is in the store."""
        self._running.pop(need.name, None)
        if not self._drawn:
            click.echo(f"{need.of}: {need.name}: {format_size(size)}.", err=True)

    def refused(self, need: Need, error: MirrorError) -> None:
        """A file will not come."""
        self._running.pop(need.name, None)
        self._clear()
        click.echo(f"modelmirror: {need.of}: {need.name}: {error}", err=True)

    def ended(self, outcome: Outcome) -> None:
        """A target is whole, or cannot be made so."""
        self._clear()
        if outcome.error is not None:
            click.echo(f"modelmirror: {outcome.wanted}: {outcome.error}", err=True)
            return
        came = f"{format_size(outcome.fetched)} came now" if outcome.fetched else "nothing to fetch"
        files = "1 file" if outcome.files == 1 else f"{outcome.files} files"
        click.echo(f"{outcome.wanted}: {files} with {format_size(outcome.size)}, {came}.")

    def end(self, report: Report, environment: Mapping[str, str]) -> None:
        """All is said."""
        del environment
        self._clear()
        whole = [outcome for outcome in report.outcomes if not outcome.error]
        fetched = sum(outcome.fetched for outcome in report.outcomes)
        took = time.monotonic() - self._pace.began
        click.echo(
            f"{len(whole)} of {targets_are(len(report.outcomes))} here whole:"
            f" {format_size(fetched)} came now, in {took:.1f} s."
        )

    def _draw(self) -> None:
        pace = self._pace
        line = f"{format_size(pace.done)} of {format_size(pace.total)}, {format_size(pace.rate)}/s"
        if pace.left is not None:
            line += f", {max(pace.left, 0):.0f} s left"
        if not self._drawn:
            click.echo(f"{line}.", err=True)
            return
        self._clear()
        lines = [
            f"{bar(done, size)} {_short(name)}, {format_size(done)} of {format_size(size)}"
            for name, (done, size) in self._shown()
        ]
        lines.append(f"{bar(pace.done, pace.total)} {line}")
        click.echo("\n".join(lines), nl=False, err=True)
        self._lines = len(lines)

    def _shown(self) -> Sequence[tuple[str, tuple[int, int]]]:
        return list(self._running.items())[:_MOST_BARS]

    def _clear(self) -> None:
        if self._lines:
            up = f"\x1b[{self._lines - 1}A" if self._lines > 1 else ""
            click.echo(f"\r{up}\x1b[J", nl=False, err=True)
            self._lines = 0


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
