"""An origin and a mirror for each test, the hosts beside it, and a world to export from."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hosts import Hosts
from tests.mirror.exporting import World, world
from tests.mirror.running import Running
from tests.origin import Origin


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A scripted origin with three callers."""
    with Origin() as running:
        running.tokens = {"tokenA": "alice", "tokenB": "bob"}
        yield running


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """The scripted hosts."""
    with Hosts() as hosts:
        yield hosts


@pytest.fixture
def mirror(tmp_path: Path, origin: Origin) -> Iterator[Running]:
    """A mirror in its own process, pointed at the origin."""
    with Running(tmp_path / "data", origin) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world that is exported from, for all tests of a module that leave it as it is."""
    with world(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture
def site(shared: World, tmp_path: Path) -> World:
    """That world, and a folder of one's own to export to."""
    return replace(shared, folder=tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    """A world of one's own, whose mirror looks each time for what moves."""
    with world(tmp_path, MODELMIRROR_HUGGINGFACE_REF_LIFETIME="0s") as running:
        yield running
