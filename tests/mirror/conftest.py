"""An origin and a mirror for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mirror.running import Running
from tests.origin import Origin


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A scripted origin with three callers."""
    with Origin() as running:
        running.tokens = {"tokenA": "alice", "tokenB": "bob"}
        yield running


@pytest.fixture
def mirror(tmp_path: Path, origin: Origin) -> Iterator[Running]:
    """A mirror in its own process, pointed at the origin."""
    with Running(tmp_path / "data", origin) as running:
        yield running
