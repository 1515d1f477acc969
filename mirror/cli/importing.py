"""`modelmirror import`: take in a bundle that another mirror exported."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click

from mirror.bundle.bundlewriting import Stream
from mirror.cli.settings import read
from mirror.cli.shown import counted
from mirror.cli.working import Progress, followed, giving
from mirror.errors import QuestionError
from mirror.index.grants import EVERYONE
from mirror.store.layout import Layout
from mirror.units import format_size

_PIECE: Final = 1 << 20
_SHOWN: Final = 20


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...|-")
@click.option(
    "--signers",
    type=click.Path(path_type=Path),
    help="A file of allowed signers, whose bundles are believed [default: bundle.signers].",
)
@click.option("--allow-unsigned", is_flag=True, help="Take a bundle whoever made it.")
@click.option("--allow-rollback", is_flag=True, help="Take one that is older than the last.")
@click.option(
    "--grant",
    "grants",
    multiple=True,
    metavar="PATTERN[=USER,...]",
    help="Let everyone, or these users, read the repos that PATTERN matches; may be given again.",
)
@click.option("--ask/--no-ask", default=True, help="Ask upstream who may read what [default: ask].")
@click.option("--dry-run", is_flag=True, help="Check the signature, say what is in it, and end.")
@click.option("--data", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one event a line, for programs.")
def command(  # noqa: PLR0913 -- one parameter a flag
    files: tuple[str, ...],
    signers: Path | None,
    grants: tuple[str, ...],
    data: Path | None,
    file: Path | None,
    *,
    allow_unsigned: bool,
    allow_rollback: bool,
    ask: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take in the bundle in FILE, or in all of its parts in any order, or from standard input (-).

    All of it is verified before anything of it can be seen. A bundle that is refused changes nothing, and
    what was verified of it is kept, so that the next try goes on from there. A running mirror serves it at
    once.
    """
    settings = read({"data": data}, file).settings
    believed = signers or settings.bundle_signers
    arguments: dict[str, Any] = {
        "signers": None if believed is None else str(believed.absolute()),
        "unsigned": allow_unsigned or settings.bundle_unsigned,
        "rollback": allow_rollback,
        "ask": ask,
        "dry_run": dry_run,
        "grants": [_grant(text) for text in grants],
    }
    with (
        Progress(as_json=as_json) as voice,
        giving(settings) as give,
        _paths(files, Layout(settings.data)) as paths,
    ):
        job = give("bundle-import", {**arguments, "paths": paths})
        try:
            report = followed(give, job, voice.follow)
        finally:
            with suppress(Exception):
                give("bundle-end", job)
    if as_json:
        voice.say("report", report)
    else:
        _tell(report)


def _grant(text: str) -> list[object]:
    pattern, _, names = text.partition("=")
    readers = [name.strip() for name in names.split(",") if name.strip()]
    return [pattern, readers or [EVERYONE]]


@contextmanager
def _paths(files: tuple[str, ...], layout: Layout) -> Iterator[list[str]]:
    """The files by their whole paths; standard input by way of a pipe in the data folder."""
    if "-" not in files:
        yield [str(Path(name).absolute()) for name in files]
        return
    if len(files) > 1:
        raise QuestionError("Standard input is the whole bundle: name no file beside it.")
    pipe = layout.temporary()
    os.mkfifo(pipe, 0o600)
    threading.Thread(target=_pump, args=(pipe,), name="pump", daemon=True).start()
    try:
        yield [str(pipe)]
    finally:
        pipe.unlink(missing_ok=True)


def _pump(pipe: Path) -> None:
    """Hand standard input on, from when the mirror has opened the pipe until it lets go of it."""
    with suppress(OSError):
        fd = os.open(pipe, os.O_WRONLY | os.O_CLOEXEC)
        try:
            out = Stream(fd)
            while data := os.read(sys.stdin.fileno(), _PIECE):
                out.write(data)
        finally:
            os.close(fd)


def _tell(report: Mapping[str, Any]) -> None:
    blobs, repos = report["blobs"], report["repos"]
    signer = f", signed by {report['signer']}" if report["signer"] else ""
    click.echo(
        f"Bundle {report['bundle'][:16]}, number {report['serial']} of {report['series']}{signer}:"
        f" {counted(blobs['files'], 'blob')} with {format_size(blobs['bytes'])},"
        f" {counted(len(repos), 'repo')}, {counted(report['addresses'], 'address')}."
    )
    if report["dry_run"]:
        for item in repos:
            click.echo(f"{item['repo']}: {item['audience']}")
        click.echo("Nothing was taken.")
        return
    for note in report["notes"]:
        click.echo(note)
    for item in report["undecided"][:_SHOWN]:
        click.echo(f"not open to all: {item['repo']}: {item['why']}. To open it: {item['line']}")
    if len(report["undecided"]) > _SHOWN:
        click.echo(f"… and {len(report['undecided']) - _SHOWN} more; --json lists them all.")
    taken = report["taken"]
    click.echo(f"Taken: {counted(taken['files'], 'blob')} with {format_size(taken['bytes'])}.")
