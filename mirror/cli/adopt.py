"""`modelmirror adopt`: take over what clients have downloaded already."""

import sys
from pathlib import Path

import click

from mirror.cli.adopted import Told, told_by
from mirror.cli.exits import FAILED
from mirror.cli.settings import read
from mirror.cli.working import followed, giving


def _named(
    _context: click.Context, _parameter: click.Parameter, paths: tuple[str, ...]
) -> tuple[Path, ...]:
    """The paths. An empty one, of a variable that is not set, is not the folder that one stands in."""
    if "" in paths:
        raise click.BadParameter("An empty PATH names no cache.")
    return tuple(map(Path, paths))


@click.command("adopt")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", callback=_named)
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
    with giving(settings) as give, voice:
        job = give("adopt", arguments)
        report = followed(give, job, voice.look, "adopt")
    voice.report(report)
    refused = any("refused" in outcomes for outcomes in report["caches"].values())
    if refused or report["stopped"]:
        sys.exit(FAILED)
