"""`modelmirror doctor`: do clients really use the mirror, and what is in their way?"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import click

from mirror.cli.address import UNTRUSTED, Address, mirror_address, reason
from mirror.cli.diagnosis.envfile import read_variables
from mirror.cli.diagnosis.findings import Finding
from mirror.cli.diagnosis.folders import check_folders, check_offline, holdings
from mirror.cli.diagnosis.looks import looks, roots
from mirror.cli.diagnosis.mending import mend, proxies, sentence
from mirror.cli.diagnosis.permissions import Reader, check_permissions
from mirror.cli.diagnosis.programs import other_programs
from mirror.cli.diagnosis.trials import WRONG, Bench, Interpreter, Trial, Verdict
from mirror.cli.diagnosis.variables import check_variables
from mirror.cli.exits import FAILED, OK, UNCHECKED
from mirror.cli.settings import started_with
from mirror.hook import FOLDER
from mirror.web import probe

# How long the mirror has to answer each of its own pages, in seconds.
PATIENCE: Final = 5.0
_TRUST: Final = "export SSL_CERT_FILE=AUTHORITIES.pem REQUESTS_CA_BUNDLE=AUTHORITIES.pem"


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
@click.option("--limit", default=60.0, show_default=True, help="Seconds that a client may take.")
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
    voice: _Voice = _Report() if as_json else _Plain(environment, address)
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


def _ask_mirror(address: Address, voice: "_Voice") -> str:
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
    bench: Bench, voice: "_Voice", *, only: tuple[str, ...], skip: tuple[str, ...]
) -> None:
    """Try the clients that are there: those of *only*, if there are any, but none of *skip*."""
    survey = bench.survey()
    names = [client.name for client in survey.clients]
    for name in (*only, *skip):
        if name not in names:
            raise click.UsageError(
                f"{survey.path} has no client {name}; it has {', '.join(names)}."
            )
    wanted = [
        client
        for client in survey.clients
        if client.name not in skip and (not only or client.name in only)
    ]
    voice.begin(survey, len(wanted))
    known = proxies(bench.environment)
    for trial in bench.try_all(wanted, voice.tried):
        line = mend(trial, bench.environment, bench.address, FOLDER, known)
        voice.trial(trial, sentence(trial, bench.environment), line)
    for program, line in other_programs(bench.address, bench.environment.get("PATH")):
        voice.program(program, line)


class _Voice(Protocol):
    """How it is told: to a person or to a program."""

    wrong: int

    def mirror(
        self, address: Address, why: str, report: Mapping[str, Any], *, ready: bool
    ) -> None: ...

    def finding(self, finding: Finding) -> None: ...

    def begin(self, survey: Interpreter, clients: int) -> None: ...

    def tried(self, trial: Trial) -> None: ...

    def trial(self, trial: Trial, what: str, line: str) -> None: ...

    def program(self, program: str, line: str) -> None: ...

    def end(self, code: int) -> None: ...


class _Report:
    """One JSON object at the end; docs/doctor.md lists its keys."""

    def __init__(self) -> None:
        self.wrong = 0
        self._told: dict[str, Any] = {"findings": [], "python": None, "clients": [], "programs": []}

    def mirror(self, address: Address, why: str, report: Mapping[str, Any], *, ready: bool) -> None:
        self.wrong += bool(why)
        self._told["mirror"] = {
            "url": address.url,
            "answers": not why,
            "why": why,
            "ready": ready,
            "version": report.get("version"),
            "state": report.get("state"),
        }

    def finding(self, finding: Finding) -> None:
        self.wrong += not finding.note
        self._told["findings"].append(
            {
                "kind": finding.kind,
                "where": finding.where,
                "what": finding.what,
                "mend": finding.mend,
                "wrong": not finding.note,
            }
        )

    def begin(self, survey: Interpreter, clients: int) -> None:
        del clients
        self._told["python"] = {"path": survey.path, "version": survey.version}

    def tried(self, trial: Trial) -> None:
        pass

    def trial(self, trial: Trial, what: str, line: str) -> None:
        self.wrong += trial.verdict in WRONG
        self._told["clients"].append(
            {
                "name": trial.client.name,
                "version": trial.client.version,
                "verdict": trial.verdict.value,
                "what": what,
                "asked": trial.asked,
                "programs": trial.programs,
                "by_way_of": trial.client.by_way_of,
                "error": trial.error,
                "hook": trial.hook is not None and bool(trial.hook.get("active")),
                "mend": line,
                "seconds": round(trial.seconds, 3),
            }
        )

    def program(self, program: str, line: str) -> None:
        self._told["programs"].append({"name": program, "use": line})

    def end(self, code: int) -> None:
        click.echo(json.dumps({"exit": code, "wrong": self.wrong, **self._told}, indent=2))


class _Plain:
    """Sentences; with a terminal, a bar below them while clients are tried."""

    def __init__(self, environment: Mapping[str, str], address: Address) -> None:
        self.wrong = 0
        self._environment, self._address = environment, address
        self._bar: Any = None

    def mirror(self, address: Address, why: str, report: Mapping[str, Any], *, ready: bool) -> None:
        if why:
            self.wrong += 1
            click.echo(f"wrong: The mirror at {address.url} does not answer: {why}.")
            untrusted = why.startswith(UNTRUSTED)
            click.echo(f"    {_TRUST if untrusted else 'modelmirror serve'}")
            return
        state = "" if ready else ", but not ready"
        click.echo(
            f"The mirror at {address.url} answers{state}: {report.get('state')},"
            f" version {report.get('version')}."
        )
        for trouble in report.get("reasons") or ():
            click.echo(f"note: {trouble}")

    def finding(self, finding: Finding) -> None:
        self.wrong += not finding.note
        click.echo(f"{'note' if finding.note else 'wrong'}: {finding.what}")
        if finding.mend:
            click.echo(f"    {finding.mend}")

    def begin(self, survey: Interpreter, clients: int) -> None:
        click.echo(f"Clients in {survey.path} (Python {survey.version}):")
        if sys.stderr.isatty() and clients:
            self._bar = click.progressbar(length=clients, label="Trying clients", file=sys.stderr)
            self._bar.render_progress()

    def tried(self, trial: Trial) -> None:
        del trial
        if self._bar is not None:
            self._bar.update(1)

    def trial(self, trial: Trial, what: str, line: str) -> None:
        self._end_bar()
        self.wrong += trial.verdict in WRONG
        name = f"{trial.client.name} {trial.client.version}".strip()
        word = "" if trial.verdict is Verdict.BY_WAY else f"{trial.verdict.value}: "
        click.echo(f"  {name:<26}  {word}{what}")
        if line:
            click.echo(f"    {line}")

    def program(self, program: str, line: str) -> None:
        click.echo(f"  {program:<26}  not Python: {line}")

    def end(self, code: int) -> None:
        self._end_bar()
        if code == UNCHECKED:
            click.echo("No client was tried.")
        elif self.wrong:
            click.echo(f"{self.wrong} {'thing is' if self.wrong == 1 else 'things are'} wrong.")
        else:
            click.echo("Nothing is wrong.")

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None
