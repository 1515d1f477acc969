"""Killed, cut from power and denied its disk, again and again, in a random but repeatable way.

`make torture ARGS='--rounds N --seed S --seconds T'` runs each for N rounds or T seconds. What needs root
or a program that is not there skips with the reason.
"""

import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.audit import damage
from tests.faults.clients import Download, digest, download, together
from tests.faults.conftest import Torture
from tests.faults.disks import NotPermittedError, failing_disk, small_disk
from tests.faults.site import MIB, Site, noise, wait_for, while_running
from tests.faults.site import site as site_in
from tests.mirror.running import Running
from tests.origin import Origin

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]

# What eight cold clients want: small files of git, files of one piece and of several.
SIZES = (17, 5_000, 90_000, MIB, MIB + 1, 2 * MIB + 7, 5 * MIB, 9 * MIB)


def _files(seed: int) -> dict[str, bytes]:
    return {
        f"file-{number}.bin": noise(size, seed * 100 + number) for number, size in enumerate(SIZES)
    }


def _publish(origin: Origin, name: str, seed: int) -> dict[str, bytes]:
    files = _files(seed)
    big = lambda path: len(files.get(path, b"")) > 10_000  # noqa: E731  small files are git's own
    origin.add_repo("models", name, files=dict(files), lfs=big)
    return files


def _fetch(mirror: Running, name: str, path: str, timeout: float = 20) -> Download:
    return download(f"{mirror.url}/{name}/resolve/main/{path}", timeout=timeout)


@contextmanager
def _eight_meanwhile(
    mirror: Running, name: str, files: dict[str, bytes], timeout: float
) -> Iterator[list[Download]]:
    """Eight clients at once, each after another file; what they got is in the list at the end."""
    paths, results = itertools.cycle(files), list[Download]()

    def everybody() -> None:
        results.extend(together(8, lambda: _fetch(mirror, name, next(paths), timeout)))

    with while_running(everybody):
        yield results


def _wrong(results: list[Download], files: dict[str, bytes]) -> list[str]:
    """The whole successes that hold none of the files."""
    right = {digest(content) for content in files.values()}
    return [
        one.sha256 for one in results if one.whole and one.status == 200 and one.sha256 not in right
    ]


def test_f24_no_room_for_eight_clients(tmp_path: Path, torture: Torture) -> None:
    """On a disk that is always full nobody gets a wrong byte, and nothing half stored stays."""
    try:
        with (
            small_disk(tmp_path / "disk", 12 * MIB) as disk,
            site_in(tmp_path, data=disk / "data") as site,
        ):
            for number in torture.rounds():
                name = f"acme/full-{number}"
                files = _publish(site.origin, name, number)
                with _eight_meanwhile(site.mirror, name, files, 20) as results:
                    pass
                assert _wrong(results, files) == [], f"seed {torture.seed}, round {number}"
                assert site.mirror.ask("/-/live").status == 200
    except NotPermittedError as error:
        pytest.skip(str(error))


def test_f26_the_blocks_of_the_disk_fail(tmp_path: Path, torture: Torture) -> None:
    """While every write to the device fails nobody gets a wrong byte, and nothing bad has a name."""
    try:
        _failing_blocks(tmp_path, torture)
    except NotPermittedError as error:
        pytest.skip(str(error))


def _failing_blocks(folder: Path, torture: Torture) -> None:
    for number in torture.rounds():
        work = folder / str(number)
        filters = (
            "--filter=error", "error=EIO", "error-pwrite-rate=1", "error-file=SWITCH",
        )  # fmt: skip
        with failing_disk(work, 128 * MIB, *filters) as (disk, switch), Origin() as origin:
            mirror = Running(disk / "data", origin)
            mirror.start()
            try:
                files = _publish(origin, "acme/blocks", number)
                delay = torture.chance.uniform(0, 0.3)
                with _eight_meanwhile(mirror, "acme/blocks", files, 20) as results:
                    time.sleep(delay)
                    switch.touch()
                told = f"seed {torture.seed}, round {number}, after {delay:.3f} s"
                assert _wrong(results, files) == [], told
                assert mirror.process.poll() is None, f"{told}: the mirror died"
                assert mirror.ask("/-/live").status == 200, told
            finally:
                mirror.stop(signal.SIGKILL)
            assert damage(disk / "data", names=False) == [], told


def test_f36_the_disk_is_slow(tmp_path: Path, torture: Torture) -> None:
    """While a fill waits for a slow disk, small answers take milliseconds and memory stays flat."""
    filters = ("--filter=delay", "delay-write=60ms")
    try:
        with (
            failing_disk(tmp_path / "slow", 160 * MIB, *filters) as (disk, _),
            site_in(tmp_path, data=disk / "data") as site,
        ):
            del torture
            _slow_disk(site)
    except NotPermittedError as error:
        pytest.skip(str(error))


def _slow_disk(site: Site) -> None:
    content = noise(48 * MIB)
    site.add(content)
    took: list[float] = []
    results: list[Download] = []
    with while_running(lambda: results.append(site.get())):
        wait_for(lambda: bool(site.bodies()))
        while not results or site.mirror.ask("/-/status").json()["fills"]:
            began = time.monotonic()
            assert site.mirror.ask("/-/live").status == 200
            took.append(time.monotonic() - began)
            time.sleep(0.01)
    assert results[0].clean(content)
    site.mirror.settle()
    slowest = sorted(took)[int(len(took) * 0.99)]
    print(f"\n{len(took)} answers beside it, the 99th of 100 after {slowest * 1000:.1f} ms")  # noqa: T201
    assert slowest <= 0.05
    assert site.mirror.rss() <= 256 * MIB
