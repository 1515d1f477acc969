"""F23: the process is killed at every system call by which a commit changes the disk."""

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from mirror.digest import sha256_of
from tests.faults.audit import blob_sizes, damage, indexed
from tests.faults.committing import BIG, SMALL
from tests.faults.conftest import Torture
from tests.faults.nursery import Nursery
from tests.house import checkout

# What changes a disk, or brings a change there. Of opens only those that may create a file.
CALLS: Final = (
    "fchmod", "fdatasync", "fsync", "ftruncate", "link", "linkat", "mkdir", "mkdirat", "openat",
    "pwrite64", "rename", "rmdir", "unlink", "unlinkat", "write",
)  # fmt: skip

_CALL: Final = re.compile(r"\d+ +(\w+)\(")
_SAMPLE: Final = 12
_AT_ONCE: Final = 2


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_f23_killed_at_every_system_call(tmp_path: Path, torture: Torture) -> None:
    """SIGKILL at each of them leaves whole blobs or none, and the next run succeeds."""
    del torture
    _kill_at(tmp_path, _calls(tmp_path))


def test_f23_killed_at_some_system_calls(tmp_path: Path) -> None:
    """The same at a dozen of them, every kind of call among them first."""
    every = _calls(tmp_path)
    chance = random.Random(23)
    chance.shuffle(every)
    kinds = {call: (call, when) for call, when in every}
    _kill_at(tmp_path, list(dict.fromkeys([*kinds.values(), *every]))[:_SAMPLE])


def _kill_at(folder: Path, places: list[tuple[str, int]]) -> None:
    with Nursery() as nursery, ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda place: _killed(folder, nursery, *place), places))
    kinds = Counter(call for call, _ in places)
    met = ", ".join(f"{count} {call}" for call, count in sorted(kinds.items()))
    print(f"\nkilled at {len(places)} system calls of a commit: {met}")  # noqa: T201


def _killed(folder: Path, nursery: Nursery, call: str, when: int) -> None:
    """Kill a commit at the *when*-th *call*, look at what is there, and have it done."""
    told = f"{call} number {when}"
    here = folder / f"{call}-{when}"
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
    assert _committing(here, "-o", "/dev/null", *inject) != 0, f"{told} was never made"
    data = here / "data"
    if (data / "v1" / "quarantine").exists():
        assert damage(data) == [], told
    assert _committing(here) == 0, told
    assert damage(data) == [], told
    wanted = {sha256_of(blob).hex for blob in (BIG, SMALL)}
    assert wanted <= blob_sizes(data).keys() == indexed(data).keys(), told
    assert nursery.verify(data, "--data") == "fine", told
    shutil.rmtree(here)


def _committing(folder: Path, *traced: str) -> int:
    """Bring blobs into a store below *folder*, under strace if *traced* says how; the exit code."""
    tracing = ("strace", "-f", "-y", "-qq", *traced) if traced else ()
    command = (*tracing, sys.executable, "-m", "tests.faults.committing", str(folder))
    # Compiled modules of its own: which are there decides how many files are opened before the first call.
    environment = dict(os.environ, PYTHONPYCACHEPREFIX=str(folder.parent / "compiled"))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        command,
        cwd=checkout.ROOT,
        env=environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    if b"ptrace" in done.stderr:
        pytest.skip("this system does not let strace trace")
    return done.returncode


def _calls(folder: Path) -> list[tuple[str, int]]:
    """Each call that changes the data folder, and the how manieth of its kind in the process it is."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace, data = folder / "trace", folder / "whole"
    assert _committing(folder / "compiling") == 0
    assert _committing(data, "-o", str(trace), "-e", f"trace={','.join(CALLS)}") == 0
    counts = Counter[str]()
    found = []
    for line in trace.read_text().splitlines():
        call = _CALL.match(line)
        if call is None:
            continue
        counts[call[1]] += 1
        if str(data) in line and (call[1] != "openat" or "O_CREAT" in line):
            found.append((call[1], counts[call[1]]))
    assert len(found) > 100
    return found
