"""Running a scenario inside a client's environment, as a user with a clean home would.

A scenario is a small script that calls the client, catches what it raises and prints one line of
JSON: for each case what it got, or how it was refused. One process runs all cases of a phase, for
importing these libraries costs more than the calls.
"""

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.clients.environments import Environment

ROOT = Path(__file__).resolve().parents[2]

_SCENARIO_SECONDS = 300
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What one case came to: a value, or the names of the exception's classes and its text."""

    value: Any
    errors: tuple[str, ...]
    message: str
    seconds: float

    def got(self) -> Any:
        """Give the value.

        Raises:
            AssertionError: The client was refused.
        """
        assert not self.errors, f"{self.errors[0]}: {self.message}"
        return self.value


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The outcomes of one scenario run, by the name of the case, and what it wrote besides."""

    outcomes: Mapping[str, Outcome]
    stderr: str

    def __getitem__(self, case: str) -> Outcome:
        assert case in self.outcomes, f"no case {case!r} in {sorted(self.outcomes)}"
        return self.outcomes[case]

    @classmethod
    def parse(cls, stdout: str, stderr: str) -> Self:
        """Read the last line of a scenario's output.

        Raises:
            AssertionError: There is no report; the scenario's own error is in the text.
        """
        lines = stdout.strip().splitlines()
        assert lines, f"the scenario printed nothing:\n{stderr[-4000:]}"
        try:
            cases = json.loads(lines[-1])
        except json.JSONDecodeError:
            raise AssertionError(f"no report in {stdout[-2000:]!r}:\n{stderr[-4000:]}") from None
        outcomes = {
            name: Outcome(
                case.get("value"),
                tuple(case.get("errors", ())),
                case.get("message", ""),
                case["seconds"],
            )
            for name, case in cases.items()
        }
        return cls(outcomes, stderr)


def client_environment(
    home: Path,
    endpoint: str,
    commands: Path | None = None,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Give the environment of a user whose only setting is where the hub is.

    Update checks are off because they leave for the package index, which a user behind a mirror
    switches off for the same reason.

    Args:
        home: Clean home folder; every cache of the client lies below it.
        endpoint: Base URL of the mirror.
        commands: Folder of the group's commands, put first on PATH.
        extra: More variables of the scenario.
    """
    home.mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "PATH": f"{commands}:{_SYSTEM_PATH}" if commands else _SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **(extra or {}),
    }


def run_scenario(
    environment: Environment,
    scenario: str,
    task: Mapping[str, Any] | Sequence[Any],
    variables: Mapping[str, str],
    before: Sequence[str] = (),
) -> Report:
    """Run a Python scenario in its environment and read its report.

    Args:
        environment: Where the client is installed.
        scenario: Module name below `tests.clients.scenarios`.
        task: What it is to do; given to it as JSON on standard input.
        variables: Its whole environment, as `client_environment` makes it.
        before: A program that becomes the scenario's, with its arguments.
    """
    path = [*filter(None, [variables.get("PYTHONPATH")]), str(ROOT)]
    return run_reporting(
        [*before, str(environment.python), "-m", f"tests.clients.scenarios.{scenario}"],
        task,
        {**variables, "PYTHONPATH": os.pathsep.join(path)},
    )


def run_reporting(
    arguments: Sequence[str],
    task: Mapping[str, Any] | Sequence[Any],
    variables: Mapping[str, str],
) -> Report:
    """Run any program that takes a task on standard input and ends with a report."""
    done = subprocess.run(
        arguments,
        input=json.dumps(task),
        cwd=variables["HOME"],
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=_SCENARIO_SECONDS,
        check=False,
    )
    return Report.parse(done.stdout, f"exit {done.returncode}\n{done.stderr}")


def run_command(
    arguments: Sequence[str | Path],
    variables: Mapping[str, str],
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end in a folder (the home by default); nothing is asserted of it."""
    return subprocess.run(
        [os.fspath(argument) for argument in arguments],
        cwd=folder or variables["HOME"],
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SCENARIO_SECONDS,
        check=False,
    )
