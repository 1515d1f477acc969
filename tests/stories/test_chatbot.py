"""An image with its models inside, built through the mirror again and again: docs/stories/chatbot.md."""

import json
import sys
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.clients.available import client
from tests.clients.elsewhere import Elsewhere
from tests.house.checkout import ROOT
from tests.shipped.conftest import image, one_file, shipping, unpacked  # noqa: F401 -- fixtures
from tests.shipped.images import BASE, Builder, Image
from tests.stories import weights
from tests.stories.conftest import Follow
from tests.stories.story import Story

pytestmark = pytest.mark.shipped

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FORMULAS = "breezedeus/pix2text-mfr-1.5"
PYTORCH = "download.pytorch.org"
PACKAGES = ("sentence-transformers", "torch", "pix2text")

# What is in the place of an index of packages: see `_wheel`.
_PIP = "[global]\nno-index = true\nfind-links = /wheels\nno-deps = true\n"
_ENGINE = '#!/bin/sh\nENGINE={told} PYTHONPATH={root} exec {python} -m tests.stories.engine "$@"\n'


def _wheel(folder: Path, name: str, version: str) -> None:
    """A package that leads to where the real one is: a gigabyte is mounted, not copied for each image."""
    name = name.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.pth": "/site\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@pytest.fixture(scope="module")
def story(
    follow: Follow,
    upstream: Elsewhere,
    gone: Callable[[], None],
    shipping: Builder,  # noqa: F811
    image: Image,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """Small models; `docker` in front of the builder; and the clients where each image will see them."""
    environment, folder = client("torch"), tmp_path_factory.mktemp("weights")
    told = weights.made(environment, folder, ["checkpoint", "sentences"])
    weights.repo(upstream, MINILM, folder / "sentences")
    upstream.origin.add_repo(
        "models", FORMULAS, {"config.json": b"{}", "encoder_model.onnx": b"onnx" * 5000}
    )
    upstream.hosts.put(
        PYTORCH, f"/models/{told['checkpoint']}", (folder / told["checkpoint"]).read_bytes()
    )

    site = next(environment.path.glob("lib/python*/site-packages"))
    wheels = tmp_path_factory.mktemp("wheels")
    for package in distributions(path=[str(site)]):
        if package.name.lower().replace("_", "-") in PACKAGES:
            _wheel(wheels, package.name.lower(), package.version)
    base = tmp_path_factory.mktemp("base")
    (base / "pip.conf").write_text(_PIP)
    (base / "Dockerfile").write_text(f"FROM {BASE}\nCOPY pip.conf /etc/pip.conf\n")
    shipping.build("localhost/story-base", base / "Dockerfile", base)

    begun = follow(
        "chatbot.md",
        before={"Without a network": gone},
        words={"resnet18-f37072fd.pth": told["checkpoint"]},
    )
    project = shipping.folder / f"story-{time.monotonic_ns()}"
    project.mkdir(mode=0o755)
    settings = {
        name: begun.desk.variables[name]
        for name in (
            "MODELMIRROR_HUGGINGFACE_UPSTREAMS",
            "MODELMIRROR_REDIRECT_HOSTS",
            "MODELMIRROR_UPSTREAM_HOSTS",
            "MODELMIRROR_PORT",
        )
    }
    knows = {
        "builder": str(shipping.folder),
        "base": "localhost/story-base",
        "mirror": image.name,
        "port": settings["MODELMIRROR_PORT"],
        "project": str(project),
        "settings": settings,
        "volumes": [[str(site), "/site", "ro"], [str(wheels), "/wheels", "ro"]],
    }
    (project / "engine.json").write_text(json.dumps(knows))
    docker = begun.desk.home / ".local" / "bin" / "docker"
    docker.parent.mkdir(parents=True)
    docker.write_text(
        _ENGINE.format(told=project / "engine.json", root=ROOT, python=sys.executable)
    )
    docker.chmod(0o755)
    (begun.desk.home / "checkout").symlink_to(ROOT)
    return begun


def test_chatbot_is_built_with_its_models_inside(story: Story, upstream: Elsewhere) -> None:
    """Each file came from upstream once; without a network and on a read-only root the app loads them all."""
    told = story.to("The first build")
    assert upstream.bodies()
    assert all(count == 1 for count in upstream.bodies().values())
    assert "encoder_model.onnx" in told.of("docker run --rm --network none --read-only")


def test_chatbot_is_built_again_without_a_download(story: Story) -> None:
    """Every step is done anew, and upstream is asked for no file: at most whether a branch has moved."""
    told = story.to("The second build")
    assert [one for one in told.asked if "/revision/" not in one] == []


def test_chatbot_is_built_and_runs_without_a_network(story: Story) -> None:
    """With everything behind the mirror gone, an image is built that does the same."""
    told, first = story.to("Without a network"), story.to("The first build")
    command = "docker run --rm --network none --read-only"
    assert told.of(command).splitlines()[-3:] == first.of(command).splitlines()[-3:]


def test_chatbot_lacks_no_model_unnoticed(story: Story) -> None:
    """A build that cannot have a model fails with its name, and so does the app that lacks one."""
    story.to("A model that is missing")
    story.to_the_end()
