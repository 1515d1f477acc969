"""F22: the power goes, at any time.

The store is on a disk in an image. A clone of the image, mounted, is what the next start of the machine
would find: what was not synced is not there.
"""

import itertools
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.audit import blob_sizes, damage
from tests.faults.conftest import Torture
from tests.faults.crowd import Published, crowd, fetch, publish
from tests.faults.disks import NotPermittedError, PowerCuts, on_xfs
from tests.faults.nursery import Child, Nursery
from tests.faults.site import MIB
from tests.origin import Origin

# Rounds on one store; then another one is begun, every other one with a quota that makes it evict.
LIFE: Final = 8
QUOTA: Final = 24 * MIB

# Room for the files of a life; XFS wants this much.
DISK: Final = 320 * MIB

KINDS: Final = ("ext4", "xfs")


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_f22_the_power_goes(tmp_path: Path, torture: Torture, kind: str) -> None:
    """The disk as a power cut leaves it, at any time: every name has its bytes, and all is served."""
    _cut_again_and_again(tmp_path, torture, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_f22_the_power_goes_a_few_times(tmp_path: Path, kind: str) -> None:
    """The same, three times."""
    _cut_again_and_again(tmp_path, Torture.few(3, seed=22), kind)


def _cut_again_and_again(folder: Path, torture: Torture, kind: str) -> None:
    try:
        with on_xfs(folder / "power", DISK, kind) as power, Nursery() as nursery:
            found = 0
            numbers = torture.rounds()
            for life in itertools.count():
                first = list(itertools.islice(numbers, 1))
                if not first:
                    break
                rest = itertools.islice(numbers, LIFE - 1)
                quota = QUOTA if life % 2 else None
                found += _Store(power, nursery, torture.seed, quota).live(
                    itertools.chain(first, rest)
                )
            print(f"\n{found} blobs found after power cuts, all intact")  # noqa: T201
    except NotPermittedError as error:
        pytest.skip(str(error))


class _Store:
    """One store on the disk, with *quota* bytes of room if that is given."""

    def __init__(self, power: PowerCuts, nursery: Nursery, seed: int, quota: int | None) -> None:
        self._power = power
        self._nursery = nursery
        self._seed = seed
        self._quota = quota
        self._repos: list[Published] = []
        self._found = 0

    def live(self, numbers: Iterator[int]) -> int:
        """A round for each of *numbers*; returns how many blobs the power cuts left."""
        data = self._power.disk / "data"
        with Origin() as origin:
            mirror = self._mirror(data, origin)
            mirror.start()
            try:
                for number in numbers:
                    self._round(mirror, origin, number)
            finally:
                mirror.stop(signal.SIGKILL)
                shutil.rmtree(data)
        return self._found

    def _mirror(self, data: Path, origin: Origin) -> Child:
        settings = {} if self._quota is None else {"MODELMIRROR_QUOTA": str(self._quota)}
        return Child(data, origin, settings=settings, nursery=self._nursery)

    def _round(self, mirror: Child, origin: Origin, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        settled = self._repos[-1:] if self._quota else list(self._repos)
        self._repos.append(publish(origin, f"acme/power-{number}", number))
        delay = chance.uniform(0, 0.3)
        told = f"seed {self._seed}, round {number}, after {delay:.3f} s"
        with crowd(mirror.url, self._repos[-3:], chance) as wrong:
            time.sleep(delay)
            with self._power.after() as disk:
                self._judge(disk / "data", origin, settled, told, online=chance.random() < 0.3)
        assert wrong == [], told
        mirror.settle()

    def _judge(
        self, data: Path, origin: Origin, settled: list[Published], told: str, *, online: bool
    ) -> None:
        """What is left of the disk is whole, and a mirror on it serves what was stored before."""
        # A row that an eviction took out of the index may be back while its file is not: the next start
        # makes the index again.
        assert damage(data, names=self._quota is None) == [], told
        self._found += len(blob_sizes(data))
        _as_after_another_start_of_the_machine(data)
        later = self._mirror(data, origin)
        # Offline it must have what was stored before; online it goes on with what was under way.
        later.flags, repos = ((), self._repos[-1:]) if online else (("--offline",), settled)
        later.start()
        try:
            for repo in repos:
                for path, content in repo.files.items():
                    assert fetch(later.url, repo, path).clean(content), f"{told}: {path}"
        finally:
            later.stop(signal.SIGKILL)
        assert damage(data) == [], told
        assert self._nursery.verify(data) == "fine", told


def _as_after_another_start_of_the_machine(data: Path) -> None:
    """Let the mark of the run name another start of the machine than this one."""
    mark = data / "v1" / "running"
    if mark.exists():
        mark.write_text("00000000-0000-0000-0000-000000000000\n")
