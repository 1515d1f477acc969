"""A kept store for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.store.kit import Kit
from tests.unit.upkeep.kit import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A store with a quota of 1000 bytes on a disk without bounds."""
    with Kept(tmp_path / "data", quota=1000) as opened:
        yield opened


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    """A store with room for everything, whose pages are all in memory, and no index yet."""
    with Kit(tmp_path / "data") as opened:
        yield opened
