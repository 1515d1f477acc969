"""Completion in a shell knows what is here: by the shells themselves, on a running mirror and on none."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.available import program
from tests.mirror.operating import order
from tests.mirror.running import Running
from tests.origin import Origin

_BIN = Path(sys.executable).parent


def _shell(*words: str) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{_BIN}:{os.environ['PATH']}"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def _bash(line: str) -> set[str]:
    """What bash's own function for the command would offer for the last word of *line*."""
    words = line.split(" ")
    script = (
        "source <(_MODELMIRROR_COMPLETE=bash_source modelmirror)\n"
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        '_modelmirror_completion modelmirror; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return set(_shell("bash", "--norc", "-c", script).split())


def _fish(line: str) -> set[str]:
    script = (
        f"_MODELMIRROR_COMPLETE=fish_source modelmirror | source; complete -C {shlex.quote(line)}"
    )
    return {
        row.partition("\t")[0]
        for row in _shell(program("fish", "fish"), "-c", script).split("\n")
        if row
    }


@pytest.fixture
def filled(origin: Origin, mirror: Running) -> Running:
    """A mirror with two repos, one pinned."""
    origin.add_repo(
        "models", "acme/tiny", files={"a.bin": b"a" * 9, "b.json": b"{}"}, tags={"v1": "main"}
    )
    origin.add_repo("datasets", "acme/words", files={"w.csv": b"w" * 99})
    for path in ("acme/tiny/resolve/v1/a.bin", "datasets/acme/words/resolve/main/w.csv"):
        assert mirror.ask(f"/{path}").status == 200
    assert order(mirror.data, "pin", "acme/tiny", "--for", "chat").returncode == 0
    mirror.settle()
    return mirror


@pytest.mark.parametrize("complete", [_bash, _fish], ids=["bash", "fish"])
def test_completion_knows_what_is_here(
    filled: Running, complete: Callable[[str], set[str]]
) -> None:
    """Names, branches and tags, files of a repo, pins; at rest as well, and nothing without a store."""
    for running in (True, False):
        if not running:
            assert filled.stop() == 0
        data = f"--data {filled.data}"
        assert complete(f"modelmirror ls {data} ac") == {"acme/tiny"}
        assert complete(f"modelmirror rm {data} acme/tiny@") == {"acme/tiny@v1"}
        assert complete(f"modelmirror rm {data} acme/tiny ") == {"a.bin"}
        assert complete(f"modelmirror unpin {data} ") == {"acme/tiny"}
        assert complete(f"modelmirror check {data} acme/tiny d") == {"dataset:acme/words"}
        assert complete(f"modelmirror accept {data} ") == set()
    assert complete(f"modelmirror ls --data {filled.data}/none ac") == set()
