"""`modelmirror doctor` on the environments of real clients: what it says of each is what they do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.clients.available import client
from tests.clients.environments import PYTHON_GROUPS, WITHOUT_CLIENT
from tests.clients.mirror_process import running_mirror
from tests.mirror.commands import environment, report
from tests.origin import Origin

CLIENTS: Final = tuple(group for group in PYTHON_GROUPS if group not in WITHOUT_CLIENT)

#: It refuses servers in a private network by design, after it has looked up their names.
REFUSES: Final = frozenset({"nltk"})


@pytest.fixture(scope="module")
def mirror(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one mirror for all: what a probe asks is kept nowhere."""
    with running_mirror(origin, tmp_path_factory.mktemp("mirror")) as running:
        yield running.url


@pytest.mark.parametrize("group", CLIENTS)
def test_doctor_finds_real_clients_through(group: str, mirror: str, tmp_path: Path) -> None:
    """With what `modelmirror env` sets, each client's bytes came through by its own call."""
    python = str(client(group).python)
    variables = report("env", "--url", mirror, variables=environment(tmp_path))["set"]
    told = report(
        "doctor", "--python", python, variables=environment(tmp_path, **variables), timeout=600
    )
    tried = {each["name"]: each for each in told["clients"] if not each["by_way_of"]}

    assert {"urllib", "pip"} < tried.keys()
    assert {
        name: each["what"] for name, each in tried.items() if each["verdict"] != "through"
    }.keys() <= REFUSES, tried


@pytest.mark.parametrize("group", CLIENTS)
def test_doctor_finds_real_clients_leak(group: str, mirror: str, tmp_path: Path) -> None:
    """With nothing set, each would have asked its hub: so each one's way out is seen."""
    python = str(client(group).python)
    flags = ("--python", python, "--url", mirror)
    told = report("doctor", *flags, variables=environment(tmp_path), timeout=600)
    tried = {each["name"]: each for each in told["clients"] if not each["by_way_of"]}

    assert {each["verdict"] for each in tried.values()} == {"leaks"}, tried
    assert all(each["asked"] and each["mend"] for each in tried.values())
