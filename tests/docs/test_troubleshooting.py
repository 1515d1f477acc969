"""Each error that heads a case of docs/troubleshooting.md is one that people get: all are provoked here."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.house.checkout import ROOT
from tests.mirror.running import Running
from tests.origin import Origin

PAGE: Final = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
#: Texts that head a case, without what is no text of a program.
HEADINGS: Final = re.findall(r"^## (?P<ticks>`+)(.+)(?P=ticks)$", PAGE, re.MULTILINE)
BIN: Final = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class World:
    """A mirror before an origin, and a home in which clients have downloaded one model."""

    origin: Origin
    mirror: Running
    home: Path

    def type(self, *words: str | Path, **variables: str | Path) -> str:
        """What the terminal shows when *words* are typed."""
        done = subprocess.run(
            [str(word) for word in words],
            env={
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "HOME": str(self.home),
                "HF_ENDPOINT": self.mirror.url,
                "HF_HUB_DISABLE_UPDATE_CHECK": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "NO_COLOR": "1",
                **{name: str(value) for name, value in variables.items()},
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout + done.stderr

    def another(self, *flags: str, **settings: str) -> Running:
        """Another mirror before the origin, with a folder of its own."""
        folder = self.home / f"another-{len(list(self.home.iterdir()))}"
        return Running(folder, self.origin, flags=flags, settings=settings)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The mirror and its surroundings."""
    home = tmp_path_factory.mktemp("home")
    with Origin() as origin, Running(tmp_path_factory.mktemp("mirror") / "data", origin) as mirror:
        origin.tokens = {"tokenA": "alice"}
        files = {"config.json": b"{}", "model.safetensors": os.urandom(2 << 20)}
        origin.add_repo("models", "acme/tiny", files=files)
        origin.add_repo(
            "models", "acme/gated", files={"config.json": b"{}"}, gated="manual", readers=["tokenA"]
        )
        made = World(origin, mirror, home)
        assert "Downloaded" in made.type("hf", "download", "acme/tiny")
        yield made


def _offline(world: World) -> str:
    with world.another("--offline") as mirror:
        return world.type("hf", "download", "acme/nope", HF_ENDPOINT=mirror.url)


def _outage(world: World) -> str:
    with world.another(MODELMIRROR_HUGGINGFACE_UPSTREAMS="http://127.0.0.1:1") as mirror:
        return world.type("hf", "download", "acme/nope", HF_ENDPOINT=mirror.url)


def _proxy(world: World) -> str:
    return world.type(
        "modelmirror",
        "doctor",
        "--only",
        "curl",
        "--url",
        world.mirror.url,
        HTTP_PROXY="http://127.0.0.1:9",
    )


def _misplaced(world: World) -> str:
    return world.type(
        "modelmirror",
        "doctor",
        "--only",
        "curl",
        "--url",
        world.mirror.url,
        HF_HOME=world.home / "other",
    )


def _led(world: World, how: str) -> str:
    """A program with the start-up hook, whose mirror is away: it fetches a file, or looks up a host."""
    script = {
        "urlopen": "import urllib.request as r; r.urlopen('https://download.pytorch.org/models/x.pth')",
        "lookup": "import socket; socket.getaddrinfo('huggingface.co', 443)",
    }
    return world.type(
        sys.executable,
        "-c",
        script[how],
        PYTHONPATH=ROOT / "mirror" / "hook",
        MODELMIRROR_URL="http://127.0.0.1:1",
        MODELMIRROR_STRICT="1",
    )


def _permission(world: World) -> str:
    """A cache that may not be written, for root too."""
    closed = world.home / "closed"
    closed.mkdir(mode=0o500)
    powerless: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv, or another user than root")
        powerless = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--")
    return world.type(*powerless, "hf", "download", "acme/tiny", HF_HOME=closed / "cache")


def _room(world: World) -> str:
    with world.another("--quota", "1MiB") as mirror:
        return world.type("modelmirror", "warm", "acme/tiny", "--endpoint", mirror.url)


def _taken(world: World) -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        data = world.home / "taken"
        said = world.type("modelmirror", "serve", "--data", data, "--port", port)
    return said.replace(port, "8090")


def _in_use(world: World) -> str:
    return world.type("modelmirror", "serve", "--data", world.mirror.data, "--port", "0")


PROVOKED: Final[Mapping[str, Callable[[World], str]]] = {
    "Error: Model 'acme/nope' not found.": lambda world: world.type("hf", "download", "acme/nope"),
    "Error: Access denied.": lambda world: world.type("hf", "download", "acme/gated"),
    "modelmirror is offline": _offline,
    "modelmirror does not have": _outage,
    "Error: Local entry not found. [Errno 111]": lambda world: world.type(
        "hf", "download", "acme/other", HF_ENDPOINT="http://127.0.0.1:1"
    ),
    "the mirror at … (MODELMIRROR_URL)": lambda world: _led(world, "urlopen"),
    "MODELMIRROR_STRICT": lambda world: _led(world, "lookup"),
    "HTTP_PROXY is set": _proxy,
    "Error: Local entry not found. [SSL": lambda world: world.type(
        "hf", "download", "acme/other", HF_ENDPOINT=world.mirror.url.replace("http", "https")
    ),
    "offline mode is enabled": lambda world: world.type(
        "hf", "download", "acme/other", HF_HUB_OFFLINE="1"
    ),
    "… lies in …": _misplaced,
    "[Errno 13] Permission denied": _permission,
    "… are to come": _room,
    "modelmirror: cannot listen": _taken,
    "The data folder … is in use": _in_use,
    "There is no store in": lambda world: world.type("modelmirror", "ls"),
}
#: Provoked with the library that says it: tests/clients/test_troubleshooting.py.
ELSEWHERE: Final = ("SafetensorError",)


@pytest.mark.parametrize("heading", [text for _, text in HEADINGS])
def test_heading_is_what_the_terminal_shows(world: World, heading: str) -> None:
    """The error is provoked, and the program's own words are those of the page."""
    if heading.startswith(ELSEWHERE):
        pytest.skip("provoked with the client's own library, in tests/clients")
    (provoke,) = (provoke for begin, provoke in PROVOKED.items() if heading.startswith(begin))
    shown = " ".join(provoke(world).split())
    assert re.search(".*".join(map(re.escape, heading.split("…"))), shown), shown


def test_full_disk_is_told_as_the_page_has_it(world: World) -> None:
    """What is said beside the heading: in the log, and on the page."""
    alarm, page = re.findall(r"`(There is no room[^`]+|Files cannot[^`]+)`", PAGE)
    with world.another("--min-free", "1000TiB") as mirror:
        assert "Downloaded" in world.type(
            "hf", "download", "acme/tiny", "--force-download", HF_ENDPOINT=mirror.url
        )
        assert page in mirror.ask("/").body.decode()
        assert re.search(".*".join(map(re.escape, alarm.split("…"))), mirror.log.read_text())


def test_every_case_has_a_cause_and_a_way_out() -> None:
    """No heading stands alone."""
    for case in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, body = case.partition("\n")
        assert len(body.split()) > 25, heading
        assert "`" in body, heading
