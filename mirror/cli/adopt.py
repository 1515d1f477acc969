"""`modelmirror adopt`: take over what clients have downloaded already."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from mirror.cli.adopted import Told, told_by
from mirror.cli.exits import FAILED
from mirror.cli.ownmirror import own_mirror
from mirror.cli.settings import read
from mirror.config import Settings
from mirror.errors import MirrorError
from mirror.store.layout import Layout
from mirror.upkeep.reach import order

Give: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]

# How often it is looked how far the work is, in seconds: a bar that is drawn more often shows no more.
LOOK_EVERY: Final = 0.2


@click.command("adopt")
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path)
)
@click.option(
    "--link",
    type=click.Choice(["reflink", "hard", "none"]),
    default="reflink",
    show_default=True,
    help="How bytes come into the store; where that cannot be, they are copied.",
)
@click.option(
    "--allow-unverified",
    is_flag=True,
    help="Take what nothing is published of, too; it is served as the first that was seen.",
)
@click.option(
    "--grant",
    "grants",
    multiple=True,
    metavar="PATTERN",
    help="Let everyone read the repos that PATTERN matches; may be given again.",
)
@click.option(
    "--ask/--no-ask", default=True, help="Ask upstream about what is found [default: ask]."
)
@click.option("--dry-run", is_flag=True, help="Say what would be taken, and take nothing.")
@click.option("--data", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one event a line, for programs.")
def command(  # noqa: PLR0913 -- one parameter a flag
    paths: tuple[Path, ...],
    link: str,
    grants: tuple[str, ...],
    data: Path | None,
    file: Path | None,
    *,
    allow_unverified: bool,
    ask: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take over the caches below each PATH: the Hub's, torch, Whisper, TF Hub, Ollama and others.

    Every file is read and held against its digest. Nothing is moved, changed or removed where it lies. A
    running mirror does it, and serves what it has at once; where none runs, the data folder is opened.
    """
    settings = read({"data": data}, file).settings
    voice: Told = told_by(as_json=as_json)
    arguments = {
        "paths": [str(path.absolute()) for path in paths],
        "link": link,
        "dry_run": dry_run,
        "unverified": allow_unverified,
        "ask": ask,
        "grants": list(grants),
    }
    with _giving(settings) as give, voice:
        job = give("adopt", arguments)
        report = _followed(give, job, voice)
    voice.report(report)
    refused = any("refused" in outcomes for outcomes in report["caches"].values())
    if refused or report["stopped"]:
        sys.exit(FAILED)


@contextlib.contextmanager
def _giving(settings: Settings) -> Iterator[Give]:
    """A way to give orders: to the server that runs on the folder, else to a mirror of our own."""
    layout = Layout(settings.data)
    control = layout.control

    def give(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        reply = order(control, name, arguments)
        if reply is None:
            raise MirrorError(
                "The server has stopped.", hint="Run it again: what was taken is kept."
            )
        return reply

    if layout.root.is_dir() and order(control, "grants", {}) is not None:
        yield give
        return
    with own_mirror(settings) as carry_out:
        yield carry_out


def _followed(give: Give, job: Mapping[str, Any], voice: Told) -> Mapping[str, Any]:
    """Look how far the work is until it is over; Ctrl-C has it stop, and its report told all the same."""
    stopping = False
    while True:
        try:
            state = give("adopt-look", job)
            voice.look(state)
            if state["over"]:
                return _report(state)
            time.sleep(LOOK_EVERY)
        except KeyboardInterrupt:
            if stopping:
                raise
            stopping = True
            give("adopt-stop", job)


def _report(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an adoption that is over came to; raises why there is no report."""
    failed = state["failed"]
    if failed is not None:
        raise MirrorError(failed["error"], hint=failed["hint"])
    report: Mapping[str, Any] = state["report"]
    return report
