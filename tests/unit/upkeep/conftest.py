"""A kept store for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.upkeep.kit import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A store with a quota of 1000 bytes on a disk without bounds."""
    with Kept(tmp_path / "data", quota=1000) as opened:
        yield opened
