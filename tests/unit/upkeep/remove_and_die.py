"""Remove a repo again and again, dying one step later each time.

Run as a program with a folder that has a data folder ``store`` in it: run number *n* works on a copy of that,
``<folder>/<n>``, and is killed just before its *n*-th change of the disk or of the index; the last run
survives. Writes the number of runs.
"""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mirror.index.writer import Writer
from mirror.upkeep.naming import named
from mirror.upkeep.removal import Removals
from tests.unit.upkeep.desks import REPO, at_rest

CALLS = ("fsync", "open", "pwrite", "rename", "replace", "unlink", "write", "ftruncate", "mkdir")


def remove(data: Path, step: int) -> None:
    """Remove a repo, of which another one shares a file, and die at *step*."""
    with at_rest(data) as desk:
        removals = Removals(desk)
        plan = removals.planner.plan(named(REPO))
        die_before(step)
        removals.carry_out(plan)
        os._exit(0)


def die_before(step: int) -> None:
    """Have this process killed before its next change number *step* (0 is the first)."""
    left = itertools.count(step, -1)

    def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(left) <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))
    # What SQLite changes is one step per transaction: before it, and after it for the next step.
    Writer._write = deadly(Writer._write)  # type: ignore[method-assign]
    # pathlib binds its own.
    Path.unlink = deadly(Path.unlink)  # type: ignore[method-assign]


def main(folder: Path) -> None:
    """Run until nothing is left to be killed at."""
    for step in itertools.count():
        data = folder / str(step)
        shutil.copytree(folder / "store", data)
        child = os.fork()
        if child == 0:
            remove(data, step)
        _, status = os.waitpid(child, 0)
        if status == 0:
            sys.stdout.write(f"{step + 1}\n")
            return
        if not os.WIFSIGNALED(status):
            sys.exit(f"run {step} failed by itself")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
