"""F21 and F23: the process is killed, at any time and at every system call of a commit."""

import itertools
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.faults.audit import Read, blob_sizes, damage, indexed
from tests.faults.conftest import Torture
from tests.faults.crowd import Published, crowd, fetch, publish
from tests.faults.nursery import Child, Nursery
from tests.faults.site import MIB
from tests.origin import Origin

# A mirror waits while the origin and the clients work, and the other way round: two keep two cores busy.
LANES: Final = 2

# Rounds on one store; then it is read whole, served from without upstream, and a new one begun.
LIFE: Final = 25

# Room for the files of three rounds, so that every other lane evicts in every round.
QUOTA: Final = 24 * MIB


class Shared:
    """The rounds of a torture, dealt out to several threads, until one of them fails."""

    def __init__(self, torture: Torture) -> None:
        self.seed = torture.seed
        self.found = Counter[str]()
        self._rounds = torture.rounds()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        while True:
            with self._lock:
                number = next(self._rounds, None)
            if number is None:
                return
            yield number

    def stop(self) -> None:
        """Deal out no more."""
        with self._lock:
            self._rounds = iter(())

    def count(self, what: str) -> None:
        """Count something that was met."""
        with self._lock:
            self.found[what] += 1


class Lane:
    """One store after the other, and the mirrors on it that are killed."""

    def __init__(self, folder: Path, nursery: Nursery, shared: Shared, quota: int | None) -> None:
        self._folder = folder
        self._nursery = nursery
        self._shared = shared
        self._quota = quota

    def run(self) -> None:
        """Take rounds until there are none."""
        try:
            numbers = iter(self._shared)
            while life := list(itertools.islice(numbers, 1)):
                self._live(itertools.chain(life, itertools.islice(numbers, LIFE - 1)))
        except BaseException:
            self._shared.stop()
            raise

    def _live(self, numbers: Iterator[int]) -> None:
        """Rounds on a store of its own."""
        self._folder.mkdir()
        settings = {} if self._quota is None else {"MODELMIRROR_QUOTA": str(self._quota)}
        with Origin() as origin:
            mirror = Child(self._folder / "data", origin, settings=settings, nursery=self._nursery)
            mirror.start()
            try:
                known: list[Published] = []
                read: Read = {}
                for number in numbers:
                    self._round(mirror, origin, number, known, read)
                if self._quota is None:
                    _all_are_hits(mirror, origin, known)
            finally:
                mirror.stop(signal.SIGKILL)
        told = f"seed {self._shared.seed}, at the end of a store"
        assert damage(mirror.data) == [], told
        assert self._nursery.verify(mirror.data, "--data") == "fine", told
        shutil.rmtree(self._folder)

    def _round(
        self, mirror: Child, origin: Origin, number: int, known: list[Published], read: Read
    ) -> None:
        chance = random.Random(f"{self._shared.seed} {number}")
        repo = publish(origin, f"acme/round-{number}", number)
        known.append(repo)
        delay = chance.uniform(0, 0.3)
        with crowd(mirror.url, known[-3:], chance) as wrong:
            time.sleep(delay)
            assert mirror.process.poll() is None, "the mirror died by itself"
            mirror.stop(signal.SIGKILL)
        told = f"seed {self._shared.seed}, round {number}, killed after {delay:.3f} s"
        self._judge(mirror.data, wrong, told, read)
        if chance.random() < 0.2:
            mirror.launch()
            time.sleep(chance.uniform(0, 0.07))
            mirror.stop(signal.SIGKILL)
            self._shared.count("killed again while it started")
            self._judge(mirror.data, [], f"{told}, and at the start", read)
        mirror.start()
        for path, content in repo.files.items():
            assert fetch(mirror.url, repo, path).clean(content), f"{told}: {path}"

    def _judge(self, data: Path, wrong: list[str], told: str, read: Read) -> None:
        assert wrong == [], told
        assert damage(data, read=read) == [], told
        sizes = blob_sizes(data)
        if self._quota is not None:
            assert sum(sizes.values()) <= self._quota, told
        for what in _half_done(data):
            self._shared.count(what)
        if sizes.keys() - indexed(data).keys():
            self._shared.count("a blob with its name, not yet in the index")
        if read.keys() - sizes.keys():
            self._shared.count("blobs evicted since the last kill")
        for name in read.keys() - sizes.keys():
            del read[name]


def _half_done(data: Path) -> Iterator[str]:
    """What the kill came in the middle of."""
    partials = [path.name for path in (data / "v1" / "partial").iterdir()]
    if any(name.startswith("new-") for name in partials):
        yield "a small file being written"
    if any(not name.startswith("new-") for name in partials):
        yield "a download under way"
    if any((data / "v1" / "partial").glob("*/journal")):
        yield "a download with a synced part"


def _all_are_hits(mirror: Child, origin: Origin, known: list[Published]) -> None:
    """Every file of every round is served with upstream gone."""
    mirror.settle()
    origin.stop()
    for repo in known:
        for path, content in repo.files.items():
            assert fetch(mirror.url, repo, path).clean(content), f"{repo.name}/{path}"


def _kill_again_and_again(folder: Path, torture: Torture, lanes: int) -> None:
    shared = Shared(torture)
    with Nursery() as nursery, ThreadPoolExecutor(lanes) as pool:
        running = [
            pool.submit(Lane(folder / str(at), nursery, shared, None if at % 2 else QUOTA).run)
            for at in range(lanes)
        ]
        for lane in running:
            lane.result()
    met = ", ".join(f"{count} times {what}" for what, count in sorted(shared.found.items()))
    print(f"\nmet: {met}")  # noqa: T201


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_f21_killed_at_any_time(tmp_path: Path, torture: Torture) -> None:
    """SIGKILL under eight cold clients: the store verifies, a restart serves, and all is right."""
    _kill_again_and_again(tmp_path, torture, LANES)


def test_f21_killed_a_few_times(tmp_path: Path) -> None:
    """The same, four times."""
    _kill_again_and_again(tmp_path, Torture.few(4, seed=21), LANES)
