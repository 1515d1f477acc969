"""How long work on targets is told: sentences and a bar to people, one JSON object a line to programs."""

import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self

import click

from mirror.bundle.outcome import Outcome, Report, Voice
from mirror.errors import MirrorError
from mirror.units import format_size

# How often it is said how far an export is where there is no bar, in seconds; a bar is drawn more often.
SAY_EVERY: Final = 10.0
DRAW_EVERY: Final = 0.1
_WIDTH: Final = 30
# The version of the events of --json.
SCHEMA: Final = 1


class Telling(Voice, Protocol):
    """An export's voice, from its beginning to its end."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, error: object, trace: object) -> None: ...

    def end(self, report: Report, environment: Mapping[str, str]) -> None:
        """Tell how it ended, and what is to be *set*: variables by paths as the app sees them."""
        ...


class Pace:
    """How many bytes of how many have come, and when that was said last."""

    def __init__(self, every: float) -> None:
        self.done, self.total = 0, 0
        self.began = time.monotonic()
        # When the first of them may have come.
        self.since = self.began
        self._every = every
        self._said = self.began
        self.lock = threading.RLock()

    def due(self) -> bool:
        """Whether it is time to say it again."""
        now = time.monotonic()
        if now - self._said < self._every:
            return False
        self._said = now
        return True

    @property
    def rate(self) -> float:
        """Bytes a second since they may come."""
        return self.done / max(time.monotonic() - self.since, 0.001)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take at this rate, `None` while nothing can be said."""
        return (self.total - self.done) / self.rate if self.done and self.total else None


class Events:
    """One JSON object a line, each with the same keys; docs/native-caches.md lists them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._pace = Pace(1.0)

    def __enter__(self) -> Self:
        self._say(
            "start", schema=SCHEMA, folder=None if self._folder is None else str(self._folder)
        )
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        del kind, trace
        if isinstance(error, MirrorError):
            self._say("end", error=error.message, next=error.hint or None)

    def expect(self, size: int) -> None:
        """More is to come."""
        with self._pace.lock:
            self._pace.total += size

    def advance(self, size: int) -> None:
        """Some has come."""
        with self._pace.lock:
            self._pace.done += size
            if self._pace.due():
                self._say("progress", bytes=self._pace.done)

    def placed(self, path: str, size: int) -> None:
        """Something has its name."""
        with self._pace.lock:
            self._say("file", file=path, bytes=size)

    def ended(self, outcome: Outcome) -> None:
        """A target is whole, or cannot be made so."""
        error = outcome.error
        with self._pace.lock:
            self._say(
                "target",
                target=str(outcome.wanted),
                bytes=outcome.size,
                files=outcome.files,
                fetched=outcome.fetched,
                note=outcome.note,
                error=None if error is None else error.message,
                next=None if error is None else error.hint or None,
            )

    def end(self, report: Report, environment: Mapping[str, str]) -> None:
        """All is said."""
        failed = [str(outcome.wanted) for outcome in report.outcomes if outcome.error]
        self._say(
            "end",
            bytes=sum(outcome.size for outcome in report.outcomes),
            fetched=sum(outcome.fetched for outcome in report.outcomes),
            failed=failed,
            environment=environment,
        )

    def _say(self, event: str, **fields: Any) -> None:
        pace = self._pace
        left = pace.left
        common = {
            "target": None,
            "file": None,
            "bytes": None,
            "total": pace.total,
            "percent": round(100 * pace.done / pace.total, 1) if pace.total else None,
            "rate": round(pace.rate),
            "eta": None if left is None else round(left, 1),
            "error": None,
            "next": None,
        }
        click.echo(json.dumps({"event": event, **common, **fields}, ensure_ascii=False))


class Plain:
    """Sentences; with a terminal, a bar below them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawn = sys.stderr.isatty()
        self._pace = Pace(DRAW_EVERY if self._drawn else SAY_EVERY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        del kind, error, trace
        self._clear()

    def expect(self, size: int) -> None:
        """More is to come."""
        with self._pace.lock:
            self._pace.total += size

    def advance(self, size: int) -> None:
        """Some has come."""
        with self._pace.lock:
            self._pace.done += size
            if self._pace.due():
                self._draw()

    def placed(self, path: str, size: int) -> None:
        """Something has its name."""
        del path, size

    def ended(self, outcome: Outcome) -> None:
        """A target is whole, or cannot be made so."""
        with self._pace.lock:
            self._clear()
            if outcome.error is not None:
                click.echo(f"modelmirror: {outcome.wanted}: {outcome.error}", err=True)
                return
            came = (
                f"{format_size(outcome.fetched)} came now"
                if outcome.fetched
                else "nothing to fetch"
            )
            files = "1 file" if outcome.files == 1 else f"{outcome.files} files"
            click.echo(f"{outcome.wanted}: {files} with {format_size(outcome.size)}, {came}.")
            if outcome.note:
                click.echo(f"modelmirror: {outcome.wanted}: {outcome.note}", err=True)

    def end(self, report: Report, environment: Mapping[str, str]) -> None:
        """All is said."""
        self._clear()
        whole = [outcome for outcome in report.outcomes if not outcome.error]
        size = sum(outcome.size for outcome in whole)
        took = time.monotonic() - self._pace.began
        click.echo(
            f"{len(whole)} of {targets_are(len(report.outcomes))} whole in {self._folder}:"
            f" {format_size(size)}, in {took:.1f} s."
        )
        if environment and whole:
            click.echo("\nSet for the app:")
            for name, value in environment.items():
                click.echo(f"  {name}={value}")

    def _draw(self) -> None:
        pace = self._pace
        line = f"{format_size(pace.done)} of {format_size(pace.total)}, {format_size(pace.rate)}/s"
        if pace.left is not None:
            line += f", {pace.left:.0f} s left"
        if self._drawn:
            click.echo(f"\r{bar(pace.done, pace.total)} {line}\x1b[K", nl=False, err=True)
        else:
            click.echo(f"{line}.", err=True)

    def _clear(self) -> None:
        if self._drawn:
            click.echo("\r\x1b[K", nl=False, err=True)


def bar(done: int, total: int) -> str:
    """A bar of 30 places for *done* of *total*."""
    filled = min(_WIDTH, round(_WIDTH * done / total)) if total else 0
    return f"[{'#' * filled}{'-' * (_WIDTH - filled)}]"


def targets_are(number: int) -> str:
    """``1 target is``, ``2 targets are``."""
    return "1 target is" if number == 1 else f"{number} targets are"
