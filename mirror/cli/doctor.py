"""`modelmirror doctor`: do clients really use the mirror, and what is in their way?"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from mirror.cli.address import Address, mirror_address, reason
from mirror.cli.diagnosis.findings import Finding
from mirror.cli.diagnosis.folders import check_folders, check_offline, holdings
from mirror.cli.diagnosis.looks import looks, roots
from mirror.cli.diagnosis.mending import mend, proxies, sentence
from mirror.cli.diagnosis.permissions import Reader, check_permissions
from mirror.cli.diagnosis.programs import other_programs
from mirror.cli.diagnosis.telling import Plain, Report, Voice
from mirror.cli.diagnosis.trials import Bench
from mirror.cli.diagnosis.variables import check_variables
from mirror.cli.envfile import read_variables
from mirror.cli.exits import FAILED, OK, UNCHECKED
from mirror.cli.settings import started_with
from mirror.hook import FOLDER
from mirror.web import probe

# How long the mirror has to answer each of its own pages, in seconds.
PATIENCE: Final = 5.0


@click.command("doctor")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path), metavar="[FOLDER]...")
@click.option("--python", default=sys.executable, help="The Python whose clients to try.")
@click.option(
    "--url", help="The mirror's address [default: MODELMIRROR_URL, else as serve is set]."
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    help="A .env file or Dockerfile with variables that the clients have besides.",
)
@click.option("--user", help="Who will read the folders, as UID:GID [default: who runs this].")
@click.option("--only", multiple=True, metavar="NAME", help="Try this client; may be given again.")
@click.option("--skip", multiple=True, metavar="NAME", help="Do not try it; may be given again.")
@click.option(
    "--client",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A Python file with more clients; may be given again.",
)
@click.option(
    "--limit",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds that a client may take.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(
    folders: tuple[Path, ...],
    python: str,
    url: str | None,
    env_file: Path | None,
    *,
    as_json: bool,
    user: str | None,
    **trying: Any,
) -> None:
    """Find out whether the clients here use the mirror, and what is in their way.

    Each client of a Python fetches a made-up file as it fetches any other, behind a wall that lets nothing
    out but to the mirror. Variables and cache folders are looked at too, and FOLDERs besides. Exits with 1
    when something is wrong, with 3 when the mirror does not answer.
    """
    address = mirror_address(url)
    environment = started_with()
    if env_file is not None:
        environment |= read_variables(env_file)
    reader = Reader.parse(user) if user else Reader.of_this_process()
    voice: Voice = Report() if as_json else Plain()
    silent = _ask_mirror(address, voice)
    prefix = Path(shutil.which(python) or python).absolute().parent.parent
    for finding in _look_around(environment, address, folders, prefix, reader):
        voice.finding(finding)
    wrong = voice.wrong
    if not silent:
        files = tuple(file.absolute() for file in trying.pop("files"))
        bench = Bench(python, environment, address, files, trying.pop("limit"))
        _try_clients(bench, voice, **trying)
        wrong = voice.wrong
    code = UNCHECKED if silent else FAILED if wrong else OK
    voice.end(code)
    sys.exit(code)


def _ask_mirror(address: Address, voice: Voice) -> str:
    """Ask the mirror how it is; why it cannot be used, ``""`` if it can."""
    why = address.silence(PATIENCE)
    report: Mapping[str, Any] = {}
    ready = False
    if not why:
        nonce = os.urandom(16).hex()
        try:
            ready = address.ask("/-/ready", PATIENCE)[0] == 200
            report = address.status(PATIENCE)
            path = f"/-/host/huggingface.co/{probe.name(nonce)}"
            if address.ask(path, PATIENCE) != (200, probe.body(nonce)):
                why = "it does not know what doctor asks; it is another version"
        except OSError as error:
            why = reason(error)
    voice.mirror(address, why, report, ready=ready)
    return why


def _look_around(
    environment: Mapping[str, str],
    address: Address,
    more: tuple[Path, ...],
    prefix: Path,
    reader: Reader,
) -> Iterator[Finding]:
    """Look at variables and folders."""
    home = Path(environment.get("HOME") or Path.home())
    found = looks(environment, home, prefix)
    places = [*(folder.absolute() for folder in more), *roots(environment, home)]
    held = holdings(places, found)
    yield from check_variables(environment, address)
    yield from check_offline(environment, found, held)
    yield from check_folders(found, held)
    looked = [look.folders[0] for look in found if look.why or look.folders[0].exists()]
    yield from check_permissions([*more, *looked, *(holding.folder for holding in held)], reader)


def _try_clients(
    bench: Bench, voice: Voice, *, only: tuple[str, ...], skip: tuple[str, ...]
) -> None:
    """Try the clients that are there: those of *only*, if there are any, but none of *skip*."""
    survey = bench.survey()
    names = [client.name for client in survey.clients]
    for name in (*only, *skip):
        if name not in names:
            raise click.UsageError(
                f"{survey.path} has no client {name}; it has {', '.join(names)}."
            )
    asked = {client.name for client in survey.clients if not only or client.name in only}
    # What goes by way of another is as well off as that: it has to be tried.
    asked |= {
        other for client in survey.clients if client.name in asked for other in client.by_way_of
    }
    wanted = [each for each in survey.clients if each.name in asked and each.name not in skip]
    voice.begin(survey, len(wanted))
    known = proxies(bench.environment)
    for trial in bench.try_all(wanted):
        line = mend(trial, bench.environment, bench.address, FOLDER, known)
        voice.trial(trial, sentence(trial, bench.environment), line)
    for program, line in other_programs(bench.address, bench.environment.get("PATH")):
        voice.program(program, line)
