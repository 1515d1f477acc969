"""The lock files are what pyproject.toml asks for, with hashes, and say nothing else."""

import re
import tomllib
from collections.abc import Iterator
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.checkout import ROOT
from tests.house.requirements import requirements

LOCKS: Final = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
PINNED: Final = (*LOCKS.values(), "tests/bench/olah.lock")
PIN: Final = re.compile(
    r"([a-z0-9-]+)==([^ ]+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)


@pytest.mark.parametrize("lock", PINNED)
def test_lock_is_pins_with_hashes(lock: str) -> None:
    """A lock holds pins and their hashes: no index, no path, no pin without a hash."""
    assert PIN.sub("", (ROOT / lock).read_text(encoding="utf-8")) == ""


@pytest.mark.parametrize("which", LOCKS)
def test_lock_meets_every_requirement(which: str) -> None:
    """Each requirement of pyproject.toml is pinned, at a version that it allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pins = dict(_pins(which))
    unmet = [line for line in requirements(project, which) if not _met(Requirement(line), pins)]

    assert unmet == []


def test_locks_agree() -> None:
    """What is served is what was tested: the longer lock has every pin of the shorter one."""
    assert dict(_pins("run")).items() <= dict(_pins("dev")).items()


def _met(asked: Requirement, pins: dict[str, str]) -> bool:
    version = pins.get(canonicalize_name(asked.name))
    return version is not None and version in asked.specifier


def _pins(which: str) -> Iterator[tuple[str, str]]:
    for name, version, _ in PIN.findall(_text(which)):
        yield name, version


def _text(which: str) -> str:
    return (ROOT / LOCKS[which]).read_text(encoding="utf-8")
