"""How a diagnosis is told: to a person or to a program."""

import json
import sys
from collections.abc import Mapping
from typing import Any, Final, Protocol

import click

from mirror.cli.address import UNTRUSTED, Address
from mirror.cli.diagnosis.findings import Finding
from mirror.cli.diagnosis.trials import WRONG, Interpreter, Trial, Verdict
from mirror.cli.exits import UNCHECKED

_TRUST: Final = "export SSL_CERT_FILE=AUTHORITIES.pem REQUESTS_CA_BUNDLE=AUTHORITIES.pem"


class Voice(Protocol):
    """How it is told: to a person or to a program."""

    wrong: int

    def mirror(self, address: Address, why: str, report: Mapping[str, Any], *, ready: bool) -> None:
        """Tell how the mirror at *address* is: *why* it cannot be used, or its own *report*."""
        ...

    def finding(self, finding: Finding) -> None:
        """Tell what was found."""
        ...

    def begin(self, survey: Interpreter, clients: int) -> None:
        """Tell whose *clients*, how many of them, are tried now."""
        ...

    def trial(self, trial: Trial, what: str, line: str) -> None:
        """Tell *what* became of a client, and the *line* that mends it."""
        ...

    def program(self, program: str, line: str) -> None:
        """Tell which *line* leads a program here that nothing else does."""
        ...

    def end(self, code: int) -> None:
        """Tell the whole, with the exit code."""
        ...


class Report:
    """One JSON object at the end; docs/doctor.md lists its keys."""

    def __init__(self) -> None:
        self.wrong = 0
        self._told: dict[str, Any] = {"findings": [], "python": None, "clients": [], "programs": []}

    def mirror(self, address: Address, why: str, report: Mapping[str, Any], *, ready: bool) -> None:
        """Tell how the mirror is."""
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
        """Tell what was found."""
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
        """Tell whose clients are tried."""
        del clients
        self._told["python"] = {"path": survey.path, "version": survey.version}

    def trial(self, trial: Trial, what: str, line: str) -> None:
        """Tell what became of a client."""
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
        """Tell what leads a program here."""
        self._told["programs"].append({"name": program, "use": line})

    def end(self, code: int) -> None:
        """Tell the whole."""
        click.echo(json.dumps({"exit": code, "wrong": self.wrong, **self._told}, indent=2))


class Plain:
    """Sentences; with a terminal, a bar while clients are tried."""

    def __init__(self) -> None:
        self.wrong = 0
        self._bar: Any = None
        self._held: list[str] = []

    def mirror(self, address: Address, why: str, report: Mapping[str, Any], *, ready: bool) -> None:
        """Tell how the mirror is."""
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
        """Tell what was found."""
        self.wrong += not finding.note
        click.echo(f"{'note' if finding.note else 'wrong'}: {finding.what}")
        if finding.mend:
            click.echo(f"    {finding.mend}")

    def begin(self, survey: Interpreter, clients: int) -> None:
        """Tell whose clients are tried."""
        click.echo(f"Clients in {survey.path} (Python {survey.version}):")
        if sys.stderr.isatty() and clients:
            self._bar = click.progressbar(length=clients, label="Trying clients", file=sys.stderr)
            self._bar.render_progress()

    def trial(self, trial: Trial, what: str, line: str) -> None:
        """Tell what became of a client."""
        self.wrong += trial.verdict in WRONG
        name = f"{trial.client.name} {trial.client.version}".strip()
        word = "" if trial.verdict is Verdict.BY_WAY else f"{trial.verdict.value}: "
        self._held.append(f"  {name:<26}  {word}{what}")
        if line:
            self._held.append(f"    {line}")
        if self._bar is not None:
            self._bar.update(1)
        else:
            self._say_held()

    def program(self, program: str, line: str) -> None:
        """Tell what leads a program here."""
        self._end_bar()
        click.echo(f"  {program:<26}  not Python: {line}")

    def end(self, code: int) -> None:
        """Tell the whole."""
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
        self._say_held()

    def _say_held(self) -> None:
        """Say what waited for the bar to end: in the order in which it came."""
        for line in self._held:
            click.echo(line)
        self._held.clear()
