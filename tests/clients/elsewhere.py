"""Hubs that are not the Hugging Face Hub, as scripted hosts beside its origin, and visits of their clients.

A client is led to the mirror in one of four ways. In the first three a visit is made twice, each into an
empty home: once with everything there, and once with every host gone and the mirror restarted, so that what
moves is no longer fresh. In the last one there is no mirror and no network, only a cache that was exported.
"""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from tests.clients.client import Report, client_environment, run_scenario
from tests.clients.environments import Environment
from tests.clients.mirror_process import running_mirror
from tests.clients.world import sha256
from tests.hosts import Hosts
from tests.origin import Origin

ROOT = Path(__file__).resolve().parents[2]

#: Every host that a client of these tests names, and every one that it is sent on to.
HOSTS = (
    "api.github.com",
    "api.kaggle.com",
    "codeload.github.com",
    "download.pytorch.org",
    "github.com",
    "openaipublic.azureedge.net",
    "openaipublic.blob.core.windows.net",
    "raw.githubusercontent.com",
    "release-assets.githubusercontent.com",
    "storage.googleapis.com",
    "tfhub.dev",
    "www.kaggle.com",
)

#: Nothing listens there: whatever leaves for a host by HTTPS instead of the mirror by HTTP fails.
DEAD_PROXY = "http://127.0.0.1:1"


class Way(StrEnum):
    """How a client comes to ask the mirror, or not to ask at all."""

    ADDRESS = "address"
    """Its user names the mirror where a host stood."""
    NATIVE = "native"
    """A setting of its own says where to ask."""
    HOOK = "hook"
    """The start-up hook leads it there."""
    CACHE = "cache"
    """Its cache was exported, lies on a read-only mount, and there is no network."""


#: Runs a client: its home and the base URL of the mirror in; what it reports out.
Visit = Callable[[Path, str], Report]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Everything that is upstream: the Hub and the hosts."""

    origin: Origin
    hosts: Hosts

    @property
    def settings(self) -> dict[str, str]:
        """Settings of a mirror that asks these hosts."""
        return {"MODELMIRROR_UPSTREAM_HOSTS": self.hosts.setting(*HOSTS)}

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Let nothing of it answer for as long as the block lasts."""
        self.origin.stop()
        try:
            with self.hosts.away():
                yield
        finally:
            self.origin.start()

    def forget(self) -> None:
        """Forget what was asked."""
        self.origin.clear_log()
        self.hosts.seen.clear()

    def bodies(self) -> Counter[str]:
        """Count how often each file and document of a host was asked for, and each file of the Hub.

        What only looked at the head of a file is left out, and so are the Hub's redirects.
        """
        counted = Counter(
            f"{one.method} {one.host}{one.target}"
            for one in self.hosts.seen
            if one.method != "HEAD" and one.headers.get("range") != "bytes=0-0"
        )
        for seen in self.origin.log:
            path = seen.path.partition("?")[0]
            whole = seen.method == "GET" and 200 <= seen.status < 300
            if whole and (seen.server != "hub" or "/resolve" in path):
                counted[f"GET {seen.server}{path}"] += 1
        return counted

    @contextlib.contextmanager
    def spoiled(self, *places: tuple[str, str]) -> Iterator[None]:
        """Flip a bit of the last byte at each place, a host and a target, for as long as the block lasts."""
        right = {place: self.hosts.things[place] for place in places}
        for place, thing in right.items():
            wrong = thing.body[:-1] + bytes([thing.body[-1] ^ 1])
            self.hosts.put(*place, dataclasses.replace(thing, body=wrong))
        try:
            yield
        finally:
            self.hosts.things.update(right)


def made(environment: Environment, scenario: str, folder: Path) -> Report:
    """Let a scenario make small models in *folder* with its own libraries, and no mirror to ask."""
    nowhere = client_environment(folder / "home", "http://none")
    return run_scenario(environment, scenario, {"folder": str(folder)}, nowhere)


def variables(way: Way, home: Path, mirror: str, commands: Path) -> dict[str, str]:
    """Give the environment of a user who is led to the mirror in one way and in no other.

    Args:
        way: Which one.
        home: A clean home folder.
        mirror: Base URL of the mirror.
        commands: Folder of the client's commands.
    """
    chosen = client_environment(home, mirror, commands)
    if way is not Way.NATIVE:
        del chosen["HF_ENDPOINT"]
    if way is Way.HOOK:
        folder = ROOT / "mirror" / "hook"
        chosen |= {
            "PYTHONPATH": os.fspath(folder),
            "MODELMIRROR_URL": mirror,
            "MODELMIRROR_STRICT": "1",
        }
    if way is Way.CACHE:
        del chosen["HF_HOME"]
        chosen["HF_HUB_OFFLINE"] = "1"
    return {**chosen, "HTTPS_PROXY": DEAD_PROXY}


@dataclass(frozen=True, slots=True)
class Visits:
    """What became of the two visits that were made in one way.

    Attributes:
        way: By which the client was led.
        reports: Of each visit.
        bodies: How often each file and document was asked for upstream; see `Elsewhere.bodies`.
    """

    way: Way
    reports: Mapping[str, Report]
    bodies: Mapping[str, int]

    def agree(self, case: str, expected: object) -> None:
        """Assert that a case came to what is expected, on both visits."""
        for name, report in self.reports.items():
            got = report[case].got()
            assert got == expected, f"{name}: {got!r} is not {expected!r}"

    def asked_once(self) -> None:
        """Assert that something was asked for upstream, and nothing twice."""
        assert self.bodies, "upstream was asked for nothing"
        often = {name: count for name, count in self.bodies.items() if count != 1}
        assert not often, f"asked for more than once: {often}"


#: Gives the visits that were made in one way, and makes them the first time.
Visited = Callable[[Way], Visits]


def visits_of(
    upstream: Elsewhere,
    folders: pytest.TempPathFactory,
    visit: Callable[[Way, Path, str], Report],
) -> Visited:
    """Let all clients that go one way make both visits (see `visit_twice`), in one process each."""

    @functools.cache
    def visited(way: Way) -> Visits:
        return visit_twice(way, upstream, folders.mktemp(way), functools.partial(visit, way))

    return visited


def visit_twice(way: Way, upstream: Elsewhere, folder: Path, visit: Visit) -> Visits:
    """Visit a new mirror, then the same one, restarted, with everything behind it gone.

    Args:
        way: By which the client is led.
        upstream: What the mirror mirrors; it is there again when this returns.
        folder: Holds the mirror's data and the homes of the client.
        visit: Runs the client once.
    """
    if way is Way.CACHE and (lacking := _lacking()):
        pytest.skip(lacking)
    upstream.forget()
    settings, data = upstream.settings, folder / "mirror"
    with running_mirror(upstream.origin, data, settings=settings) as mirror:
        first = visit(folder / "home", mirror.url)
    with (
        upstream.away(),
        running_mirror(upstream.origin, data, ref_lifetime="1s", settings=settings) as mirror,
    ):
        second = visit(folder / "empty-home", mirror.url)
    return Visits(way, {"with upstream": first, "without": second}, upstream.bodies())


def visit_spoiled(
    upstream: Elsewhere, folder: Path, visit: Visit, *places: tuple[str, str]
) -> tuple[Report, Report]:
    """Visit a mirror while a bit at each place is wrong, and once more when all are right.

    That the mirror keeps none of the wrong bytes and raises the alarm is asserted here.

    Args:
        upstream: What the mirror mirrors.
        folder: Holds the mirror's data and the homes of the client.
        visit: Runs the client once.
        places: Host and target of what is spoiled.
    """
    with running_mirror(upstream.origin, folder, settings=upstream.settings) as mirror:
        with upstream.spoiled(*places):
            wrong = {sha256(upstream.hosts.things[place].body) for place in places}
            first = visit(folder / "home", mirror.url)
        alarms = mirror.log.read_text().count("digest-mismatch")
        second = visit(folder / "another-home", mirror.url)
        kept = {path.name for path in (mirror.data / "v1" / "blobs").rglob("*") if path.is_file()}
    assert alarms >= len(places)
    assert wrong & kept == set()
    return first, second


def cases(table: Mapping[Way, Sequence[str]]) -> list[Any]:
    """List each way with each case that goes it, for a test of `way` and `case`."""
    return [
        pytest.param(way, case, id=f"{way}-{case}")
        for way, names in table.items()
        for case in names
    ]


#: What runs a command as root of namespaces of its own, without a mount or an interface of this machine.
_NAMESPACES = ("unshare", "--map-root-user", "--mount", "--net")


@functools.cache
def _lacking() -> str:
    """Say what is missing here for namespaces; nothing where they can be made."""
    if shutil.which(_NAMESPACES[0]) is None:
        return "unshare is not installed: apt-get install util-linux"
    done = subprocess.run([*_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return f"no namespaces can be made here: {done.stderr.strip()}" if done.returncode else ""


@dataclass(frozen=True, slots=True)
class Exported:
    """A cache as `modelmirror export` made it, and what leads clients there.

    Attributes:
        folder: Where it lies.
        mount: Where clients see it, read-only.
        environment: What the export says to set, and what it was told is set.
    """

    folder: Path
    mount: Path
    environment: Mapping[str, str]

    def sealed(self) -> list[str]:
        """Give what to put before a command that is to see the cache at its mount, and no network.

        The command gets a network namespace with no interface up, not even loopback's, and no route.
        """
        script = (
            'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" || exit; '
            '! touch "$2/written" 2>/dev/null && [ -z "$(tail -n +2 /proc/net/route)" ] || exit; '
            'shift 2; exec "$@"'
        )
        return [*_NAMESPACES, "sh", "-c", script, "sh", str(self.folder), str(self.mount)]


def export(
    home: Path, mirror: str, targets: Sequence[str], settings: Mapping[str, str] | None = None
) -> Exported:
    """Let `modelmirror export` make a cache from a running mirror, as on a machine without a store.

    Args:
        home: Home folder of the client; the cache comes beside it, its mount into it.
        mirror: Base URL of the mirror.
        targets: What is wanted, as on the command line; `$MOUNT` stands for the mount.
        settings: Variables of the app, with `$MOUNT` in them.

    Raises:
        AssertionError: It failed; what it said is in the text.
    """
    folder, mount = home.with_name(f"exported-for-{home.name}"), home / "models"
    mount.mkdir(parents=True)
    told = {name: value.replace("$MOUNT", str(mount)) for name, value in (settings or {}).items()}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mirror", "export", "--format", "cache", "--json"),
            *("--endpoint", mirror, "--root", mount),
            *(f"--set={name}={value}" for name, value in told.items()),
            folder,
            *(target.replace("$MOUNT", str(mount)) for target in targets),
        ],
        cwd=ROOT,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    last = json.loads(done.stdout.splitlines()[-1])
    return Exported(folder, mount, told | last["environment"])
