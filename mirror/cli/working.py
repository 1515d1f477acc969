"""Following long work from the command line: begun by an order, looked at until it is over."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

import click

from mirror.cli.ownmirror import Give, own_mirror
from mirror.config import Settings
from mirror.errors import MirrorError
from mirror.store.layout import Layout
from mirror.units import format_size
from mirror.upkeep.reach import order

LOOK_EVERY: Final = 0.1
SAY_EVERY: Final = 10.0
DRAW_EVERY: Final = 0.1
_WORDS: Final = {
    "look": "Looking",
    "take": "Taking",
    "publish": "Publishing",
    "write": "Writing",
}
_BYTES: Final = frozenset({"take", "write"})


@contextmanager
def giving(settings: Settings) -> Iterator[Give]:
    """A way to give orders: to the server that runs on the folder, else to a mirror of our own."""
    layout = Layout(settings.data)
    if layout.root.is_dir() and order(layout.control, "grants", {}) is not None:
        yield given_to(layout)
        return
    with own_mirror(settings) as own:
        yield own.give


def given_to(layout: Layout) -> Give:
    """A way to give orders to the server that runs on the folder of *layout*."""

    def give(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        reply = order(layout.control, name, arguments)
        if reply is None:
            raise MirrorError(
                "The server has stopped.", hint="Run it again: what was done is kept."
            )
        return reply

    return give


def followed(
    give: Give,
    job: Mapping[str, Any],
    look: Callable[[Mapping[str, Any]], None],
    work: str = "bundle",
) -> Mapping[str, Any]:
    """Have *look* see how far *job* is until it is over; returns its report, or raises why there is none.

    Its orders begin with *work*. Ctrl-C has it stop, and its report told all the same.
    """
    stopping = False
    while True:
        try:
            state = give(f"{work}-look", job)
            look(state)
            if state["over"]:
                return _report(state)
            time.sleep(LOOK_EVERY)
        except KeyboardInterrupt:
            if stopping:
                raise
            stopping = True
            give(f"{work}-stop", job)


def _report(state: Mapping[str, Any]) -> Mapping[str, Any]:
    if state["failed"] is not None:
        raise MirrorError(state["failed"]["error"], hint=state["failed"]["hint"])
    report: Mapping[str, Any] = state["report"]
    return report


class Progress:
    """How far the work is: a bar on a terminal, a line now and then elsewhere, events with *as_json*.

    All of it goes to standard error, but for events: those go there with *events_on_stderr*, where the
    bundle itself goes to standard output.
    """

    def __init__(self, *, as_json: bool, events_on_stderr: bool = False) -> None:
        self._as_json = as_json
        self._err = events_on_stderr
        self._bar: Any = None
        self._step = ""
        self._shown = 0
        self._drawn = 0.0
        self._said = self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end_bar()

    def follow(self, state: Mapping[str, Any]) -> None:
        """Say how far a job is, by what was told of it."""
        self.look(state["step"], state["done"], state["total"])

    def look(self, step: str, done: int, total: int) -> None:
        """Say that so much of *step* is done."""
        new = step != self._step
        if new:
            self._end_bar()
            self._step, self._shown, self._began = step, 0, time.monotonic()
        if self._as_json:
            self._event(step, done, total, new=new)
        elif sys.stderr.isatty() and total:
            self._draw(step, done, total)
        elif time.monotonic() - self._said >= SAY_EVERY:
            self._said = time.monotonic()
            click.echo(f"{_WORDS[step]}: {self._far(step, done, total)}.", err=True)

    def say(self, event: str, form: Mapping[str, Any]) -> None:
        """Say an event, where those are wanted."""
        if self._as_json:
            click.echo(json.dumps({"event": event, **form}), err=self._err)

    def _event(self, step: str, done: int, total: int, *, new: bool) -> None:
        now = time.monotonic()
        if new or now - self._said >= 1.0:
            self._said = now
            rate = done / max(now - self._began, 0.001)
            left = (total - done) / rate if rate and total else None
            form = {"step": step, "done": done, "total": total, "rate": rate, "eta": left}
            self.say("progress", form)

    def _draw(self, step: str, done: int, total: int) -> None:
        if self._bar is None or self._bar.length != total:
            self._end_bar()
            self._shown = 0
            self._bar = click.progressbar(
                length=total,
                label=_WORDS[step],
                file=sys.stderr,
                item_show_func=lambda _: self._far(step, self._shown, total),
            )
        now = time.monotonic()
        if done < total and now - self._drawn < DRAW_EVERY:
            return
        before, self._shown, self._drawn = self._shown, done, now
        self._bar.update(done - before)

    def _far(self, step: str, done: int, total: int) -> str:
        if step not in _BYTES:
            return f"{done} of {total}"
        rate = done / max(time.monotonic() - self._began, 0.001)
        return f"{format_size(done)} of {format_size(total)}, {format_size(rate)}/s"

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None
