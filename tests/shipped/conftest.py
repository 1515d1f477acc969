"""What the tests of shipped things share: the one file, made once."""

import platform
import socket
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import dist
from tests.origin import Origin
from tests.shipped import images
from tests.shipped.images import BASE, Builder, Image


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and let it take the time that packages and images take."""
    for item in items:
        if "/tests/shipped/" in item.path.as_posix():
            item.add_marker(pytest.mark.shipped)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` writes for this Python."""
    if sys.platform != "linux":
        pytest.skip("the one file is for Linux")
    python = "{}.{}".format(*sys.version_info)
    return dist.build(tmp_path_factory.mktemp("dist"), (python,), platform.machine())


@pytest.fixture(scope="session")
def unpacked(one_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(one_file) as tar:
        tar.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


@pytest.fixture(scope="session")
def shipping() -> Iterator[Builder]:
    """Images are built here."""
    try:
        with images.builder() as made:
            yield made
    except images.UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def image(shipping: Builder, unpacked: Path) -> Image:
    """The mirror's image, from the source and the packages of the one file: no index is asked for it."""
    return shipping.build(
        "modelmirror",
        unpacked / "docker" / "Dockerfile",
        unpacked,
        "--build-arg", f"BASE={BASE}",
        "--build-arg", "REVISION=0123abc",
        "--build-arg", "PIP_NO_INDEX=1",
        "--build-context", f"wheels={unpacked / 'wheels'}",
    )  # fmt: skip


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A scripted origin."""
    with Origin() as running:
        yield running


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number
