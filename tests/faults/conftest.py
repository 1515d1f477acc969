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

# What `make test` leaves to `make faults`, by the beginning of its name: what takes more than two seconds
# or has many variants, and what measures time.
_LONG = (
    "test_f01_upstream_closes_three_times",
    "test_f09_upstream_answers_a_resume_with_other_bytes[no-range",
    "test_f13_upstream_fails[500]",
    "test_f13_upstream_fails[502]",
    "test_f13_upstream_fails[504]",
    "test_f17_a_handshake_stalls",
    "test_f17_upstream_is_not_who_it_says[expired",
    "test_f18_",
    "test_f24_a_full_disk_is_served_beside",
    "test_f26_the_disk_fails_to_write",
    "test_f26_clients_do_not_notice",
    "test_f29_a_stored_file_is_no_longer_a_blob[_cut_short-restarted]",
    "test_f29_a_stored_file_is_no_longer_a_blob[_empty",
    "test_f29_a_stored_file_is_no_longer_a_blob[_extend",
    "test_f29_a_stored_file_is_no_longer_a_blob[_folder",
    "test_f29_a_stored_file_is_no_longer_a_blob[_pipe",
    "test_f30_the_index_is_spoiled[empty",
    "test_f30_the_index_is_spoiled[garbage",
    "test_f30_the_index_is_spoiled[lost-killed",
    "test_f30_the_index_is_spoiled[memo",
    "test_f30_the_index_is_spoiled[newer",
    "test_f30_the_index_is_spoiled[older",
    "test_f30_the_index_is_spoiled[torn",
    "test_f30_the_log_of_the_index_is_lost",
    "test_f33_",
    "test_f34_",
    "test_f35_a_file_larger_than",
    "test_f35_the_quota_is_lowered",
    "test_f37_",
    "test_f43_",
    "test_f44_a_fault_in_the_program[GeneratorExit",
    "test_f44_a_fault_in_the_program[MemoryError",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is long, and leave the torture out of every run that does not ask for it by its marker."""
    for item in items:
        if item.name.startswith(_LONG) and "/tests/faults/" in item.path.as_posix():
            item.add_marker(pytest.mark.long)
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
