"""The compose files do what they say: first online, then in seconds, at last without a network."""

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Hosts
from tests.house.checkout import ROOT
from tests.mirror.exporting import CDN, WHISPER
from tests.origin import Origin
from tests.shipped.compose import NotStartedError, Project
from tests.shipped.images import Builder, Image

FILE = ROOT / "docker" / "compose.yaml"
LISTED = ROOT / "docker" / "models.toml"
OFFLINE = ROOT / "docker" / "compose.offline.yaml"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": bytes(range(256)) * 4096}
DIGEST = hashlib.sha256(WHISPER["base"]).hexdigest()
# Weights are stand-ins; so is their digest, in the table of names that the mirror has built in.
STANDINS = f"from mirror.hubs import whisper\nwhisper.MODELS['base'] = {DIGEST!r}\n"


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Where OpenAI keeps its models."""
    with Hosts() as running:
        running.put(CDN, f"/main/whisper/models/{DIGEST}/base.pt", WHISPER["base"])
        yield running


@pytest.fixture
def folder(shipping: Builder) -> Iterator[Path]:
    """A folder that volumes of the test are in, with the stand-ins' digest."""
    made = shipping.folder / f"project-{time.monotonic_ns()}"
    made.mkdir(mode=0o755)
    shutil.copy(LISTED, made)
    (made / "standins").mkdir()
    (made / "standins" / "sitecustomize.py").write_text(STANDINS)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def project(
    shipping: Builder, image: Image, folder: Path, port: int, origin: Origin, hosts: Hosts
) -> Iterator[Project]:
    """The project of docker/compose.yaml, before the scripted origin."""
    origin.add_repo("models", MINILM, files=FILES)
    with _project(FILE, shipping, image, folder, port, origin, hosts) as made:
        yield made


def _project(
    file: Path,
    shipping: Builder,
    image: Image,
    folder: Path,
    port: int,
    origin: Origin,
    hosts: Hosts,
) -> Project:
    upstream = {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": origin.url,
        "MODELMIRROR_REDIRECT_HOSTS": ",".join(origin.redirect_hosts),
        "MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(CDN),
        "MODELMIRROR_PORT": str(port),
    }
    standins = {"PYTHONPATH": "/mnt"}
    mount = (folder / "standins", "/mnt", "ro")
    return Project(
        file,
        shipping,
        image,
        port,
        folder,
        more={"mirror": upstream | standins, "warm": standins, "models": standins},
        mounts={"mirror": mount, "warm": mount, "models": mount},
    )


def test_the_app_starts_with_its_models(project: Project, origin: Origin, hosts: Hosts) -> None:
    """The mirror is healthy and warm, models are laid out, and the app finds them offline, read-only."""
    done = project.up("app")

    assert project.ended["warm"].returncode == 0, project.ended["warm"].stderr
    assert "2 of 2 targets are here whole" in project.ended["warm"].stdout
    assert project.ended["models"].returncode == 0, project.ended["models"].stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/models/huggingface/hub/models--sentence-transformers--")
    models = project.volume("models")
    assert (models / "whisper" / "base.pt").read_bytes() == WHISPER["base"]

    # A second time nothing is fetched, and for what its name pins nobody is asked.
    asked = len(hosts.seen)
    downloads = _downloads(origin)
    again = project.up("app")
    assert again.returncode == 0
    assert len(hosts.seen) == asked
    assert _downloads(origin) == downloads


def _downloads(origin: Origin) -> int:
    return sum(line.method == "GET" and "/resolve/" in line.path for line in origin.log)


def test_no_app_starts_without_its_models(project: Project, origin: Origin) -> None:
    """A model that cannot be had is named, the init container fails, and the app is not started."""
    origin.delete_repo(origin.repo("models", MINILM))

    with pytest.raises(NotStartedError, match="warm did not complete"):
        project.up("app")

    ended = project.ended["warm"]
    assert ended.returncode == 1
    assert MINILM in ended.stdout + ended.stderr
    assert "models" not in project.ended
    assert "app" not in project.ended


def test_the_app_runs_where_there_is_no_network(
    project: Project, shipping: Builder, image: Image, folder: Path, origin: Origin, hosts: Hosts
) -> None:
    """What was laid out is carried to another folder, checked, and enough; damaged, it is named in time."""
    assert project.up("models").returncode == 0
    shutil.copytree(project.volume("models"), folder / "models", symlinks=True)

    with _project(OFFLINE, shipping, image, folder, 1, origin, hosts) as offline:
        done = offline.up("app")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("/models/huggingface/hub/models--sentence-transformers--")

        (folder / "models" / "whisper" / "base.pt").unlink()
        with pytest.raises(NotStartedError, match="check did not complete"):
            offline.up("app")
        ended = offline.ended["check"]
        assert "missing: whisper/base.pt" in ended.stdout + ended.stderr


def test_a_service_of_the_mode_none_has_no_network(shipping: Builder, image: Image) -> None:
    """The player keeps its word: such a service reaches not even this machine."""
    project = Project(OFFLINE, shipping, image, 1, shipping.folder)
    service = project.services["app"]
    service.pop("volumes")
    service["command"] = ["import socket; socket.create_connection(('127.0.0.1', 9))"]
    done = project.container("app").run()

    assert done.returncode == 1
    assert "Network is unreachable" in done.stderr or "Cannot assign" in done.stderr


def test_everything_is_closed_that_can_be() -> None:
    """Every service has a read-only root; every one of ours no capability and no way to new ones."""
    for file in (FILE, OFFLINE):
        services = Project(file, None, None, 1, Path()).services  # type: ignore[arg-type]
        for name, service in services.items():
            assert service["read_only"] is True, name
            if name != "app":
                assert service["cap_drop"] == ["ALL"]
                assert service["security_opt"] == ["no-new-privileges:true"]


def test_variables_of_a_person_are_heeded() -> None:
    """The port of the host and the room are said without touching the file."""
    said = {"MODELMIRROR_PORT": "9000", "MODELMIRROR_QUOTA": "5GiB"}
    mirror = Project(FILE, None, None, 1, Path(), said).services["mirror"]  # type: ignore[arg-type]
    usual = Project(FILE, None, None, 1, Path()).services["mirror"]  # type: ignore[arg-type]

    assert mirror["ports"] == ["127.0.0.1:9000:8090"]
    assert mirror["environment"]["MODELMIRROR_QUOTA"] == "5GiB"
    assert usual["ports"] == ["127.0.0.1:8090:8090"]
    assert usual["environment"]["MODELMIRROR_QUOTA"] == ""
