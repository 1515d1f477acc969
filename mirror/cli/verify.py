"""`modelmirror verify`: is everything here that should be, and is it what it was?"""

import json
import random
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

import click

from mirror.cli.exits import FAILED, OK, UNCHECKED
from mirror.cli.settings import read
from mirror.errors import MirrorError
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.units import format_size
from mirror.upkeep.findings import Finding, Level, Loss, Report
from mirror.upkeep.running import boot_id
from mirror.upkeep.subset import Subset
from mirror.upkeep.verify import Options, Verification

# How often a check says how far it is where there is no terminal, in seconds.
SAY_EVERY: Final = 10.0

_CODES: Final = {"fine": OK, "damaged": FAILED, "unchecked": UNCHECKED}


class _Subset(click.ParamType[Subset]):
    name = "5%|1/7|10GiB"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Subset:
        try:
            return Subset.parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


@click.command("verify")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--data", is_flag=True, help="Read every stored byte and hash it again.")
@click.option("--subset", type=_Subset(), help="With --data: a share, a part of a rota, or a size.")
@click.option("--repair", is_flag=True, help="Set aside what is bad, and mend what can be.")
@click.option("--rebuild-index", is_flag=True, help="Make the index again from what is durable.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one event a line, for programs.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
def command(
    folder: Path | None,
    file: Path | None,
    subset: Subset | None,
    *,
    data: bool,
    repair: bool,
    rebuild_index: bool,
    as_json: bool,
) -> None:
    """Check the data folder FOLDER (default: the one that `serve` uses).

    Exits with 0 when everything is fine, 1 when something is damaged, also when it was mended, and 3 when
    the store, or a part of it, could not be checked. No server may be using the folder.
    """
    if subset is not None and not data:
        raise click.UsageError("--subset says what --data reads; give both.")
    settings = read({} if folder is None else {"data": folder}, file).settings
    layout = Layout(settings.data)
    options = Options(read=data, subset=subset, mend=repair, anew=rebuild_index)
    voice: _Voice = _Events() if as_json else _Plain()
    with ExitStack() as stack:
        stack.enter_context(voice)
        try:
            stack.callback(_alone(layout).release)
            voice.start(layout, options)
            report = Verification(
                layout, options, voice, boot=boot_id(), draw=random.SystemRandom()
            ).run()
        except (MirrorError, OSError) as error:
            voice.failed(str(error))
            sys.exit(UNCHECKED)
        except KeyboardInterrupt:
            voice.failed("Stopped before the end; nothing is known of the rest.")
            sys.exit(UNCHECKED)
        voice.end(report)
    sys.exit(_CODES[report.result])


def _alone(layout: Layout) -> durable.StoreLock:
    """Take the lock of the folder, or say why it cannot be checked now."""
    if not layout.root.is_dir():
        raise MirrorError(
            f"There is no store in {layout.data}.",
            hint="Name its folder: modelmirror verify FOLDER",
        )
    lock = durable.StoreLock(layout.lock)
    try:
        lock.acquire()
    except MirrorError as error:
        raise MirrorError(
            error.message,
            hint="Stop that one first and check then; while it runs, its scrub (scrub.period) reads"
            " everything again by itself.",
        ) from error
    return lock


class _Voice(Protocol):
    """How a check is told: to a person or to a program."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_error: object) -> None: ...

    def start(self, layout: Layout, options: Options) -> None: ...

    def begin(self, step: str, total: int) -> None: ...

    def advance(self, amount: int) -> None: ...

    def found(self, finding: Finding) -> None: ...

    def failed(self, why: str) -> None: ...

    def end(self, report: Report) -> None: ...


class _Progress:
    """How far the step at hand is: *done* of *total*, and when that was said last."""

    def __init__(self) -> None:
        self.step, self.done, self.total = "", 0, 0
        self._said = time.monotonic()

    def begin(self, step: str, total: int) -> None:
        self.step, self.done, self.total = step, 0, total

    def advance(self, amount: int) -> bool:
        """Count, and tell whether it is time to say so."""
        self.done += amount
        if time.monotonic() - self._said < SAY_EVERY:
            return False
        self._said = time.monotonic()
        return True


class _Events:
    """One JSON object a line; docs/reliability.md lists them."""

    def __init__(self) -> None:
        self._progress = _Progress()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def start(self, layout: Layout, options: Options) -> None:
        self._say("start", folder=str(layout.data), data=options.read, repair=options.mend)

    def begin(self, step: str, total: int) -> None:
        self._progress.begin(step, total)
        self._say("progress", step=step, done=0, total=total)

    def advance(self, amount: int) -> None:
        now = self._progress
        if now.advance(amount):
            self._say("progress", step=now.step, done=now.done, total=now.total)

    def found(self, finding: Finding) -> None:
        self._say("finding", **{**asdict(finding), "level": finding.level.value})

    def failed(self, why: str) -> None:
        self._say("end", result="unchecked", why=why)

    def end(self, report: Report) -> None:
        for loss in report.losses:
            self._say("lost", **{**asdict(loss), "digest": str(loss.digest)})
        self._say(
            "end",
            result=report.result,
            blobs=report.blobs,
            bytes=report.size,
            blobs_read=report.blobs_read,
            bytes_read=report.size_read,
            records=report.records,
            damaged=report.count(Level.DAMAGE),
            unchecked=report.count(Level.UNCHECKED),
            notes=report.count(Level.NOTE),
            mended=report.mended,
        )

    def _say(self, event: str, **fields: Any) -> None:
        click.echo(json.dumps({"event": event, **fields}))


class _Plain:
    """Sentences; with a terminal, a bar below them."""

    def __init__(self) -> None:
        self._progress = _Progress()
        self._began = time.monotonic()
        self._bar: Any = None
        self._folder = Path()
        self._mending = False

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end_bar()

    def start(self, layout: Layout, options: Options) -> None:
        self._folder, self._mending = layout.data, options.mend
        click.echo(f"Checking {layout.data}.")

    def begin(self, step: str, total: int) -> None:
        self._end_bar()
        self._progress.begin(step, total)
        if sys.stderr.isatty() and total:
            label = "Reading blobs" if step == "read" else "Reading names"
            self._bar = click.progressbar(length=total, label=label, file=sys.stderr)
            self._bar.render_progress()

    def advance(self, amount: int) -> None:
        if self._bar is not None:
            self._bar.update(amount)
        elif self._progress.advance(amount) and self._progress.step == "read":
            done, total = self._progress.done, self._progress.total
            click.echo(f"{format_size(done)} of {format_size(total)} read.", err=True)

    def found(self, finding: Finding) -> None:
        if self._bar is not None:
            click.echo(err=True)  # beyond the bar, which is drawn again below
        mended = f" {finding.mended}" if finding.mended else ""
        click.echo(f"{finding.level.value}: {finding.what}: {finding.detail}{mended}")

    def failed(self, why: str) -> None:
        self._end_bar()
        click.echo(f"modelmirror: {why}", err=True)

    def end(self, report: Report) -> None:
        self._end_bar()
        for loss in report.losses:
            click.echo(f"to be fetched again: {_name(loss)}")
        damaged = report.count(Level.DAMAGE)
        read_again = f", {format_size(report.size_read)} of them read" if report.blobs_read else ""
        click.echo(
            f"{report.result}: {report.blobs} blobs with {format_size(report.size)}{read_again},"
            f" {report.records} records; {damaged} damaged, {report.count(Level.UNCHECKED)}"
            f" not checked, {report.mended} mended, in {time.monotonic() - self._began:.1f} s."
        )
        if damaged and not self._mending:
            click.echo(f"Mend it with: modelmirror verify --data --repair {self._folder}")

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None


def _name(loss: Loss) -> str:
    return f"{loss.hub} {loss.repo} {loss.commit[:12]} {loss.path}"
