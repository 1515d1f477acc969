"""The image is what it promises, and the mirror in it serves without any right."""

import os
import re
import stat
import subprocess
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from mirror import __version__
from tests.house.checkout import ROOT
from tests.mirror.running import Process, Running
from tests.origin import Origin
from tests.shipped.images import Builder, Container, Image

NOBODY = 10001
WEIGHTS = bytes(range(256)) * 8192


@dataclass
class Contained(Running):
    """A mirror in a container: the image says what runs, variables say the rest."""

    container: Container | None = None
    port: int = 0

    def spawn(
        self, arguments: list[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> Process:
        """Start the image's own command; of the environment only our own variables go in."""
        del arguments
        assert self.container is not None
        said = {k: v for k, v in environment.items() if k.startswith("MODELMIRROR_")}
        self.inside = Container(
            self.container.image,
            self.container.root,
            {**said, "MODELMIRROR_PORT": str(self.port)},
            [(self.data, "/data", "rw")],
        )
        return self.inside.start(log)

    def start(self) -> None:
        """Start it; inside it listens everywhere, here it is asked at the loopback address."""
        super().start()
        self.url = self.url.replace("0.0.0.0", "127.0.0.1")


@pytest.fixture
def volume(shipping: Builder) -> Path:
    """A fresh volume: an engine gives it the owner that its folder has in the image."""
    folder = shipping.folder / f"volume-{time.monotonic_ns()}"
    folder.mkdir(mode=0o750)
    os.chown(folder, NOBODY, NOBODY)
    return folder


def test_the_image_says_what_it_promises(image: Image) -> None:
    """User, folder, port, command, stop signal, check of health and labels, as engines read them."""
    config = image.config
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }

    assert config["User"] == f"{NOBODY}:{NOBODY}"
    assert config["ExposedPorts"] == {"8090/tcp": {}}
    assert config["Volumes"] == {"/data": {}}
    assert (config["Entrypoint"], config["Cmd"]) == (["modelmirror"], ["serve"])
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "modelmirror", "healthcheck"]
    assert labels["title"] == "modelmirror"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert labels["revision"] == "0123abc"


def test_the_image_is_slim(shipping: Builder, image: Image) -> None:
    """What built it stayed behind, and it adds less than 100 MB to its base."""
    root = shipping.root(image)
    packages = next((root / "opt/modelmirror/lib").glob("python3.*/site-packages"))
    names = {re.sub(r"-.*", "", path.name).lower() for path in packages.glob("*.dist-info")}
    done = subprocess.run(
        ["du", "-sxm", str(root / "opt/modelmirror")], capture_output=True, text=True, check=True
    )

    assert "modelmirror_server" in names
    assert names.isdisjoint({"pip", "setuptools", "hatchling", "pathspec", "pluggy"})
    assert int(done.stdout.split()[0]) < 100
    assert not (root / "source").exists()


def test_the_image_has_exactly_what_is_locked(shipping: Builder, image: Image) -> None:
    """Every package in it is one of requirements.lock, in the version that stands there."""
    packages = next((shipping.root(image) / "opt/modelmirror/lib").glob("python3.*/site-packages"))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = {
        (name.replace("-", "_").lower(), version)
        for name, version in re.findall(r"^([\w-]+)==(\S+)", lock, re.MULTILINE)
    }
    found = {
        (match[1].lower(), match[2])
        for path in packages.glob("*.dist-info")
        if (match := re.fullmatch(r"(.+)-([^-]+)\.dist-info", path.name))
    }

    assert found - pins == {("modelmirror_server", __version__)}


def test_nothing_in_the_image_is_anybodys_to_write(shipping: Builder, image: Image) -> None:
    """The program is root's, and only the two folders for models are the user's."""
    root = shipping.root(image)
    writable = [
        path
        for path in (root / "opt").rglob("*")
        if not path.is_symlink() and (path.stat().st_uid != 0 or path.stat().st_mode & 0o022)
    ]
    own = {path.name for path in root.iterdir() if path.lstat().st_uid == NOBODY}

    assert writable == []
    assert own == {"data", "models"}
    assert stat.S_IMODE((root / "data").stat().st_mode) == 0o750


def test_the_mirror_in_the_image_serves(
    shipping: Builder, image: Image, origin: Origin, volume: Path, port: int
) -> None:
    """As nobody on a read-only root: cold, warm, offline after a restart, healthy, and stopped in order."""
    origin.add_repo("models", "acme/tiny", files={"model.safetensors": WEIGHTS})
    path = "/acme/tiny/resolve/main/model.safetensors"
    container = Container(image, shipping.root(image))
    with Contained(volume, origin, container=container, port=port) as mirror:
        status = Path(f"/proc/{mirror.process.pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert mirror.ask(path).body == WEIGHTS
        mirror.settle()
        healthy = mirror.inside.run(image.config["Healthcheck"]["Test"][1:])
        assert (healthy.returncode, healthy.stdout) == (0, "ready\n"), healthy.stderr
        assert mirror.stop() == 0
    unhealthy = mirror.inside.run(image.config["Healthcheck"]["Test"][1:])
    assert unhealthy.returncode == 1
    assert "does not answer" in unhealthy.stderr
    offline = {"MODELMIRROR_OFFLINE": "true"}
    with Contained(volume, origin, settings=offline, container=container, port=port) as mirror:
        assert mirror.ask(path).body == WEIGHTS
    assert {file.stat().st_uid for file in volume.rglob("*")} == {NOBODY}


def test_the_container_is_read_only_and_has_its_tools(shipping: Builder, image: Image) -> None:
    """Nothing but its volumes can be written; ssh-keygen for signed bundles and hf are there."""
    container = Container(image, shipping.root(image))
    refused = container.run(["touch", "/opt/modelmirror/x", "/etc/x", "/data/x"])

    assert refused.stderr.count("Read-only file system") == 3, refused.stderr
    assert (
        "-Y sign"
        in container.run(["ssh-keygen", "-Y"]).stderr + container.run(["ssh-keygen", "-?"]).stderr
    )
    assert container.run(["hf", "version"]).returncode == 0
    assert container.run(["modelmirror", "--version"]).stdout == f"modelmirror {__version__}\n"


def test_a_data_folder_of_somebody_else_is_one_sentence(
    shipping: Builder, image: Image, volume: Path
) -> None:
    """A volume that the user may not write is told with what to do, and exit code 4."""
    os.chown(volume, 0, 0)
    container = Container(image, shipping.root(image), volumes=[(volume, "/data", "rw")])

    done = container.run()

    assert done.returncode == 4
    assert "/data" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_label_has_the_version_of_the_source() -> None:
    """The Dockerfile's own default is the version of this checkout."""
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")

    assert re.findall(r"^ARG VERSION=(.*)$", text, re.MULTILINE) == [__version__]


def test_what_is_removed_is_what_builds() -> None:
    """The packages that the Dockerfile removes are those that the package's backend needs, and it."""
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert "uninstall --quiet --yes hatchling pathspec pluggy trove-classifiers" in text
    assert [re.match(r"[\w-]+", line)[0] for line in project["build-system"]["requires"]] == [  # type: ignore[index]
        "hatchling"
    ]
