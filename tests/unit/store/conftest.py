"""A store for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.store.kit import Kit


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    """A store with room for everything, whose pages are all in memory."""
    with Kit(tmp_path / "data") as opened:
        yield opened
