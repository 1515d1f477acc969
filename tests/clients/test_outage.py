"""Upstream goes away: warm calls take 2 s more at most, and what is not here is refused soon, by name.

huggingface_hub 2.4.0 under transformers and datasets, in one process with a warm cache; its mirror asks
about every branch every time. Each measured call is the first of an outage of its own.
"""

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.clients.available import client
from tests.clients.client import ROOT, Outcome, Report, client_environment
from tests.clients.mirror_process import MirrorProcess, running_mirror
from tests.clients.world import World
from tests.mirror.test_outage import black_hole
from tests.origin import Origin

_MORE, _REFUSAL = 2.0, 4.0

#: A machine that others use may spoil a measurement; only what fails each time is a failure.
_TRIES = 5


class Client:
    """A process of the libraries, told over its standard input what to call."""

    def __init__(self, process: subprocess.Popen[str], world: World) -> None:
        self._process = process
        self._asked = {"model": world.tiny.repo_id, "table": world.table.repo_id}

    def call(self, name: str, **more: Any) -> Outcome:
        """Make one call of `tests.clients.scenarios.outage` and give what it came to."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": name, **self._asked, **more}) + "\n")
        self._process.stdin.flush()
        line = "\n"
        while line == "\n":
            line = self._process.stdout.readline()
        return Report.parse(line, "")[name]


@pytest.fixture(scope="module")
def mirror(
    origin: Origin,
    world: World,  # noqa: ARG001 -- published before it is asked for
    tmp_path_factory: pytest.TempPathFactory,
    direct: bool,  # noqa: FBT001
) -> Iterator[MirrorProcess]:
    """Run a mirror that asks about every branch every time."""
    if direct:
        pytest.skip("an outage without a mirror is not ours to mend")
    folder = tmp_path_factory.mktemp("outage")
    with running_mirror(origin, folder, ref_lifetime="0s") as running:
        yield running


@pytest.fixture(scope="module")
def libraries(
    mirror: MirrorProcess, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """Start the libraries."""
    environment = client("ml")
    home = tmp_path_factory.mktemp("home")
    variables = client_environment(home, mirror.url, environment.commands)
    errors = home / "stderr"
    with (
        errors.open("w") as written,
        subprocess.Popen(
            [str(environment.python), "-m", "tests.clients.scenarios.outage"],
            cwd=home,
            env={**variables, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        ) as process,
    ):
        yield Client(process, world)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0, errors.read_text()[-4000:]


@contextlib.contextmanager
def _stopped(origin: Origin, mirror: MirrorProcess) -> Iterator[None]:
    """Upstream refuses connections, and is seen to be back afterwards."""
    origin.stop()
    try:
        yield
    finally:
        origin.start()
    _await_state(mirror, "online")


@contextlib.contextmanager
def _black_holed(origin: Origin, mirror: MirrorProcess) -> Iterator[None]:
    """Upstream swallows connections, and is seen to be back afterwards."""
    origin.stop()
    try:
        with black_hole(origin.url):
            yield
    finally:
        origin.start()
    _await_state(mirror, "online")


Away = Callable[[Origin, MirrorProcess], AbstractContextManager[None]]
AWAY = pytest.mark.parametrize("away", [_stopped, _black_holed])


@AWAY
@pytest.mark.parametrize("call", ["tokens", "snapshot", "rows"])
def test_outage_costs_a_warm_call_two_seconds_at_most(
    origin: Origin,
    world: World,
    mirror: MirrorProcess,
    libraries: Client,
    call: str,
    away: Away,
) -> None:
    """AutoTokenizer, snapshot_download and load_dataset give the same, no more than 2 s later."""
    expected = {
        "tokens": [2, 5, 6, 7, 8, 9, 10, 3],
        "snapshot": world.tiny.digests(),
        "rows": {"train": 50, "test": 10},
    }[call]
    assert libraries.call(call).got() == expected  # the caches are warm from here on
    running, gone = [], []
    for _ in range(3):
        origin.clear_log()
        outcome = libraries.call(call)
        assert outcome.got() == expected
        assert origin.log, "the mirror did not have to ask"
        running.append(outcome.seconds)
    for _ in range(_TRIES):
        with away(origin, mirror):
            outcome = libraries.call(call)
            assert _state(mirror) == "degraded"
        assert outcome.got() == expected
        gone.append(outcome.seconds)
        if gone[-1] <= min(running) + _MORE:
            return
    pytest.fail(f"{call}: {gone} s, and {running} s with upstream running")


@AWAY
def test_outage_refuses_an_unknown_file_soon(
    origin: Origin, mirror: MirrorProcess, libraries: Client, away: Away
) -> None:
    """A file that is not here is refused in under 4 s, by a sentence that names it."""
    took: list[Mapping[str, float]] = []
    for _ in range(_TRIES):
        seconds = {}
        for repo, path in (("acme/untouched", "config.json"), ("acme/forty", "shard-0.bin")):
            with away(origin, mirror):
                outcome = libraries.call("file", file=[repo, path])
            assert outcome.errors, "what is not here was served"
            sentence = next(
                line for line in outcome.message.splitlines() if "modelmirror does not have" in line
            )
            assert repo in sentence
            assert path in sentence
            seconds[repo] = outcome.seconds
        took.append(seconds)
        if max(seconds.values()) < _REFUSAL:
            return
    pytest.fail(f"refused after {took} s")


def _state(mirror: MirrorProcess) -> str:
    with urllib.request.urlopen(f"{mirror.url}/-/status") as answer:  # noqa: S310 -- our own
        return str(json.load(answer)["state"])


def _await_state(mirror: MirrorProcess, state: str) -> None:
    deadline = time.monotonic() + 60
    while _state(mirror) != state:
        assert time.monotonic() < deadline, mirror.log.read_text()[-4000:]
        time.sleep(0.05)
