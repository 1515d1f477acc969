"""F22: the power goes, at any time.

The store is on a disk in an image. A clone of the image, mounted, is what the next start of the machine
would find: what was not synced is not there.
"""

import contextlib
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
from tests.faults.clients import digest
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
            found = served = 0
            numbers = torture.rounds()
            for life in itertools.count():
                first = list(itertools.islice(numbers, 1))
                if not first:
                    break
                store = _Store(power, nursery, torture.seed, QUOTA if life % 2 else None)
                store.live(itertools.chain(first, itertools.islice(numbers, LIFE - 1)))
                found, served = found + store.found, served + store.served
            print(f"\n{kind}: {found} blobs found after power cuts, {served} files served")  # noqa: T201
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
        self.found = self.served = 0

    def live(self, numbers: Iterator[int]) -> None:
        """A round for each of *numbers*."""
        data = self._power.disk / "data"
        with Origin() as origin:
            settings = {} if self._quota is None else {"MODELMIRROR_QUOTA": str(self._quota)}
            mirror = Child(data, origin, settings=settings, nursery=self._nursery)
            mirror.start()
            try:
                for number in numbers:
                    self._round(mirror, origin, number)
            finally:
                mirror.stop(signal.SIGKILL)
                shutil.rmtree(data)

    def _round(self, mirror: Child, origin: Origin, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        settled, before = list(self._repos), self._stored()
        if settled and chance.random() < 0.2:
            # At rest, before anything of this round syncs what the last one should have.
            with self._power.after() as disk:
                names = {name for name, _ in before}
                told = f"seed {self._seed}, at rest before round {number}"
                self._judge(disk / "data", origin, settled, names, told)
        self._repos.append(publish(origin, f"acme/power-{number}", number))
        delay = chance.uniform(0, 0.3)
        told = f"seed {self._seed}, round {number}, after {delay:.3f} s"
        with crowd(mirror.url, self._repos[-3:], chance) as wrong:
            time.sleep(delay)
            with self._power.after() as disk:
                if chance.random() < 0.3:
                    # Online it goes on with what was under way.
                    self._judge(disk / "data", origin, self._repos[-1:], None, told)
                else:
                    # Offline it has what was stored before this round, and not evicted in it.
                    kept = {name for name, _ in before & self._stored()}
                    self._judge(disk / "data", origin, settled, kept, told)
        assert wrong == [], told
        mirror.settle()

    def _stored(self) -> set[tuple[str, int]]:
        """The blobs that the running mirror has, by name and when they were written."""
        files = (self._power.disk / "data" / "v1" / "blobs").rglob("*")
        found = set()
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                found.add((path.name, path.stat().st_mtime_ns))
        return found

    def _judge(
        self,
        data: Path,
        origin: Origin,
        repos: list[Published],
        kept: set[str] | None,
        told: str,
    ) -> None:
        """What is left of the disk is whole, and a mirror on it serves the files of *repos*.

        With *kept* only those whose blobs it names, and without upstream.
        """
        # A row that an eviction took out of the index may be back while its file is not: the next start
        # makes the index again.
        assert damage(data, names=self._quota is None) == [], told
        left = blob_sizes(data)
        self.found += len(left)
        _as_after_another_start_of_the_machine(data)
        # Without a quota: blobs whose eviction the cut undid must not have others evicted at the start.
        flags = () if kept is None else ("--offline",)
        later = Child(data, origin, flags, nursery=self._nursery)
        later.start()
        try:
            for repo in repos:
                for path, content in repo.files.items():
                    if kept is None or digest(content) in kept:
                        got = fetch(later.url, repo, path)
                        there = "there" if digest(content) in left else "gone"
                        assert got.clean(content), f"{told}: {repo.name}/{path}, {there}"
                        self.served += 1
        finally:
            later.stop(signal.SIGKILL)
        assert damage(data) == [], told
        assert self._nursery.verify(data) == "fine", told


def _as_after_another_start_of_the_machine(data: Path) -> None:
    """Let the mark of the run name another start of the machine than this one."""
    mark = data / "v1" / "running"
    if mark.exists():
        mark.write_text("00000000-0000-0000-0000-000000000000\n")
