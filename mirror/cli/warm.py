"""`modelmirror warm`: have the mirror fetch what will be needed, before it is."""

import json
import sys
from pathlib import Path

import click

from mirror.bundle import projects, scanning
from mirror.bundle.endpoint import UnreachableError
from mirror.bundle.outcome import Report
from mirror.bundle.warming import Warming, failures, goals
from mirror.cli.exits import FAILED
from mirror.cli.wanting import Choice, Where, counted, options, usage
from mirror.cli.warmtelling import WarmEvents, WarmPlain, WarmTelling
from mirror.upkeep.warm import AT_ONCE, MOST_AT_ONCE


@click.command("warm")
@options
@click.option("--locked", is_flag=True, help="What models.lock has, byte for byte.")
@click.option(
    "--jobs",
    type=click.IntRange(1, MOST_AT_ONCE),
    default=AT_ONCE,
    show_default=True,
    help="How many files come at once.",
)
@click.option("--evict", is_flag=True, help="Let what is least used go where there is no room.")
@click.option(
    "--scan",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Fetch nothing: print the targets that the files of a project name, for models.toml.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, one event a line, for programs.")
def command(
    *,
    choice: Choice,
    where: Where,
    locked: bool,
    jobs: int,
    evict: bool,
    scan: Path | None,
    as_json: bool,
) -> None:
    """Have the mirror fetch TARGETs, by default those of models.toml, as far as they are not there.

    TARGET is org/name[@revision], dataset:org/name, space:org/name, whisper:base,
    torch:resnet18-f37072fd.pth, torchhub:owner/repo[:ref], tfhub:google/yamnet/1,
    kaggle:owner/model/framework/variation/version, tiktoken:cl100k_base, nltk:punkt_tab,
    spacy:de_core_news_lg[==3.8.0], or https://host/path.

    Without --endpoint the mirror that runs on the data folder is asked, or one is started until all is done.
    """
    if scan is not None:
        _scan(scan, as_json=as_json)
        return
    with usage():
        held = choice.locked() if locked else None
        wanted = [] if held is not None else list(choice.wanted())
    voice: WarmTelling = WarmEvents() if as_json else WarmPlain()
    with voice, where.asked() as asked:
        good, bad = goals(wanted, asked) if held is None else ([one.goal for one in held], [])
        if bad and not good and all(isinstance(error, UnreachableError) for _, error in bad):
            raise bad[0][1]  # once, for all of them
        outcomes = failures(bad, voice)
        outcomes += Warming(asked, voice, at_once=jobs, evict=evict).run(good)
        report = Report(outcomes, {})
        voice.end(report, {})
    if report.failed:
        sys.exit(FAILED)


def _scan(folder: Path, *, as_json: bool) -> None:
    """Print what is found, as a group that can be put into models.toml once somebody has looked at it."""
    with usage():
        found = scanning.scan(folder)
    if as_json:
        click.echo(json.dumps({"targets": found.targets, "unclear": found.unclear}, indent=1))
        return
    click.echo(scanning.listing(found, folder.resolve().name))
    click.echo(
        f"{counted(len(found.targets), 'target')} found, {len(found.unclear)} unclear. Look through them,"
        f" put them into {projects.FILE}, then run modelmirror warm.",
        err=True,
    )
