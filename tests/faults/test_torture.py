"""Killed, cut from power and denied its disk, again and again, in a random but repeatable way.

`make torture ARGS='--rounds N --seed S --seconds T'` runs each for N rounds or T seconds. What needs root
or a program that is not there skips with the reason.
"""

import itertools
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.audit import damage, sha256_of_file
from tests.faults.clients import Download, digest, download, together
from tests.faults.conftest import Torture
from tests.faults.disks import NotPermittedError, failing_disk, rot, small_disk
from tests.faults.site import MIB, Site, noise, wait_for, while_running
from tests.faults.site import site as site_in
from tests.house import checkout
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


def test_f23_killed_at_every_system_call(tmp_path: Path, torture: Torture) -> None:
    """SIGKILL at each write, sync, rename, open and unlink of a commit leaves whole blobs or none."""
    tracer = shutil.which("strace")
    if tracer is None:
        pytest.skip("strace is not installed")
    calls = [
        "fsync",
        "rename",
        "pwrite64",
        "unlink",
        "unlinkat",
        "rmdir",
        "mkdir",
        "mkdirat",
        "fchmod",
        "write",
        "openat",
    ]
    first = _calls_before(tracer, tmp_path / "whole", calls)
    killed = 0
    began = time.monotonic()
    for call in calls:
        for when in itertools.count(first[call] + 1):
            assert time.monotonic() - began < 20 * torture.seconds, f"slow: {call} number {when}"
            folder = tmp_path / f"{call}-{when}"
            inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
            if _committing(folder, tracer, "-f", "-qq", "-o", "/dev/null", *inject) == 0:
                break
            killed += 1
            told = f"{call} number {when}"
            data = folder / "data"
            if (data / "v1" / "quarantine").exists():
                assert damage(data, names=False) == [], told
            assert _committing(folder) == 0, told
            assert damage(data, names=False) == [], told
            shutil.rmtree(folder)
    print(f"\nkilled at {killed} system calls of a commit")  # noqa: T201
    assert killed > 30


def _committing(folder: Path, *before: str) -> int:
    """Bring two blobs into a store below *folder*; the exit code."""
    command = (*before, sys.executable, "-m", "tests.faults.committing", str(folder))
    done = subprocess.run(command, cwd=checkout.ROOT, capture_output=True, check=False, timeout=60)
    if b"ptrace" in done.stderr:
        pytest.skip("this system does not let strace trace")
    return done.returncode


def _calls_before(tracer: str, folder: Path, calls: list[str]) -> dict[str, int]:
    """How often each of *calls* is made before the store is touched: while modules are imported."""
    trace = folder.with_name("trace")
    wanted = ("-e", f"trace={','.join(calls)}")
    assert _committing(folder, tracer, "-qq", "-o", str(trace), *wanted) == 0
    found = dict.fromkeys(calls, 0)
    for line in trace.read_text().splitlines():
        if str(folder) in line:
            return found
        found[line.partition("(")[0]] += 1
    pytest.fail("the store was never touched")


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


def test_f28_stored_bits_flip(tmp_path: Path, torture: Torture) -> None:
    """Wherever a bit of a stored blob flips while the mirror is down, no wrong byte leaves."""
    with site_in(tmp_path) as site:
        content = noise(3 * MIB + 17)
        site.add(content)
        assert site.get().clean(content)
        site.mirror.settle()
        (name,) = site.blobs()
        blob = site.mirror.data / "v1" / "blobs" / "sha256" / name[:2] / name
        for number in torture.rounds():
            told = f"seed {torture.seed}, round {number}"
            place = torture.chance.randrange(len(content))
            rot(blob, place, torture.chance.randrange(8))
            assert site.get().harmless(content), f"{told}, byte {place}"
            wait_for(lambda: site.get().clean(content))
            site.mirror.settle()
            assert sha256_of_file(blob) == name, told
