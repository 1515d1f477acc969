"""The start of the program, and what it holds when it has nothing to do."""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench import processes
from tests.bench.figures import Notebook
from tests.bench.pairs import pair
from tests.bench.scene import Scene

# A command of 60 ms is told apart from one of 80 by more than one look.
_TIMES: Final = 3
# What begins beside serving has begun by then.
_AT_REST: Final = 1.0


def start(scene: Scene, book: Notebook, turn: int) -> None:
    """From the command to its answer, and from ``serve`` to the first line and to rest."""
    command = Path(sys.executable).parent / "modelmirror"
    book.note(
        "version-time",
        median(processes.run([command, "--version"]).seconds for _ in range(_TIMES)),
    )

    def mirror() -> tuple[float, float]:
        begun = time.perf_counter()
        with scene.fresh_mirror() as running:
            return _started(begun, running.process.pid)

    def bare() -> tuple[float, float]:
        begun = time.perf_counter()
        with processes.bare_handler() as server:
            return _started(begun, server.pid)

    def olah() -> tuple[float, float]:
        begun = time.perf_counter()
        with scene.fresh_olah() as server:
            return _started(begun, server.pid)

    mine, its = pair(turn, mirror, bare)
    theirs = olah() if scene.peers else (None, None)
    book.note("ready-time", mine[0], its[0], olah=theirs[0])
    book.note("idle-memory", mine[1], its[1], olah=theirs[1])


def _started(begun: float, pid: int) -> tuple[float, float]:
    """Seconds until now, and MiB at rest."""
    ready = time.perf_counter() - begun
    time.sleep(_AT_REST)
    return ready, processes.pss_of(pid)
