"""What runs in other people's Python: any that is 3.8 or newer."""

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

import mirror.cli.diagnosis
from mirror.cli.diagnosis.child import modelmirror_trying
from mirror.hook import modelmirror_hook
from mirror.web import probe
from tests.house.interpreters import OLDEST, interpreters

CHILD: Final = Path(mirror.cli.diagnosis.__file__).parent / "child"
PYTHONS: Final = tuple(interpreters())
NONCE: Final = "0123456789abcdef" * 2


@pytest.mark.parametrize("file", sorted(CHILD.glob("*.py")), ids=lambda file: file.name)
def test_child_is_written_for_the_oldest_python(file: Path) -> None:
    """Its syntax is that of Python 3.8."""
    ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, OLDEST))


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: Path(path).name)
def test_child_runs_on_every_python_that_is_here(python: str, tmp_path: Path) -> None:
    """It lists what it finds there, behind the wall; urllib is in all of them."""
    result = tmp_path / "result"
    subprocess.run(
        [python, CHILD / "modelmirror_trying.py", result, "list"],
        check=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHILD),
            "MODELMIRROR_DOCTOR_REPORT": str(tmp_path / "report"),
            "MODELMIRROR_DOCTOR_MIRROR": "127.0.0.1 9",
        },
    )
    told = json.loads(result.read_bytes())

    assert Path(python).name == f"python{told['python'].rpartition('.')[0]}"
    assert "urllib" in [client["name"] for client in told["clients"]]


@pytest.mark.parametrize("entry", modelmirror_trying.CLIENTS, ids=lambda entry: entry[0])
def test_clients_are_tried_with_what_the_hook_leads(
    entry: tuple[str, str, str, object],
) -> None:
    """Each one's address is of a known host and of a path that is led; the mirror knows it for a probe."""
    asked = modelmirror_trying.Probe(NONCE, entry[2], "")
    host, _, target = asked.url.partition("://")[2].partition("/")
    method = "POST" if host == "api.kaggle.com" else "GET"

    assert modelmirror_hook.served(host, f"/{target}", method)
    path, _, query = target.partition("?")
    assert probe.nonce_of(f"/-/host/{host}/{path}", query) == NONCE


def test_mirror_and_child_mean_the_same_by_a_probe() -> None:
    """The name and the body, written down on both sides because the child imports nothing of the mirror."""
    asked = modelmirror_trying.Probe(NONCE, "https://hub.example/{probe}", "")

    assert (asked.name, asked.body) == (probe.name(NONCE), probe.body(NONCE))


def test_clients_go_by_way_of_those_that_are_tried() -> None:
    """No client is said to be as well off as one that nobody tries."""
    tried = {entry[0] for entry in modelmirror_trying.CLIENTS}

    assert set().union(*modelmirror_trying.BY_WAY_OF.values()) <= tried
    assert tried.isdisjoint(modelmirror_trying.BY_WAY_OF)
