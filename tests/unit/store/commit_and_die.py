"""Commit two blobs again and again, dying one step later each time.

Run as a program with an empty folder: run number *n* works in the data folder ``<folder>/<n>`` and is
killed just before its *n*-th change of the disk; the last run survives. Writes the number of runs.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mirror.digest import sha256_of
from mirror.store.sums import PIECE
from tests.unit.store.kit import Kit

BIG = bytes(range(256)) * (PIECE // 128) + b"end"
SMALL = b"small"
CALLS = (
    "chmod",
    "fchmod",
    "fsync",
    "mkdir",
    "open",
    "pwrite",
    "rename",
    "rmdir",
    "unlink",
    "write",
)


def commit(data: Path) -> None:
    """Bring both blobs in, the big one in two halves with a stop between."""
    with Kit(data) as kit:
        half = kit.partials.begin(sha256_of(BIG), len(BIG))
        half.append(BIG[:PIECE])
        half.keep()
        half.close()
        kit.fill(SMALL)
        rest = kit.partials.begin(sha256_of(BIG), len(BIG))
        rest.append(BIG[rest.received :])
        rest.finish()
        kit.store.put([rest])
        rest.close()


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


def main(folder: Path) -> None:
    """Run until nothing is left to be killed at."""
    for step in itertools.count():
        child = os.fork()
        if child == 0:
            die_before(step)
            commit(folder / str(step))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            sys.stdout.write(f"{step + 1}\n")
            return
        if not os.WIFSIGNALED(status):
            sys.exit(f"run {step} failed by itself")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
