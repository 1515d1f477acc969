"""A site for each test, and how far the torture goes."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.faults import site as sites
from tests.faults.site import Site


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the torture out of every run that does not ask for it by its marker."""
    if "torture" in str(config.getoption("markexpr")):
        return
    left_out = [item for item in items if item.get_closest_marker("torture")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An origin and a mirror; afterwards the store is verified and nothing is left open."""
    with sites.site(tmp_path) as here:
        yield here


@dataclass
class Torture:
    """So many rounds or seconds, whichever is over first, and the randomness of all of them."""

    seed: int
    most: int
    seconds: float
    chance: random.Random

    @classmethod
    def few(cls, rounds: int, seed: int) -> Self:
        """So many rounds, for a test that is to be fast."""
        return cls(seed, rounds, 1e9, random.Random(seed))

    def rounds(self) -> Iterator[int]:
        """The numbers of the rounds."""
        began = time.monotonic()
        done = 0
        while done < self.most and time.monotonic() - began < self.seconds:
            yield done
            done += 1
        took = time.monotonic() - began
        print(f"\n{done} rounds in {took:.1f} s ({done / took:.2f}/s), seed {self.seed}")  # noqa: T201


@pytest.fixture
def torture(request: pytest.FixtureRequest) -> Torture:
    """What ``--rounds``, ``--seed`` and ``--seconds`` say; the seed is printed, also when it fails."""
    seed = request.config.getoption("--seed")
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    rounds = request.config.getoption("--rounds")
    print(f"\n--seed {seed}")  # noqa: T201  a failure must be repeatable
    seconds = request.config.getoption("--seconds")
    return Torture(seed, rounds or 1 << 30, seconds, random.Random(seed))
