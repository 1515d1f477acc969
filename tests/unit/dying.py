"""Doing something again and again, dying one step later each time: for programs that tests start."""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mirror.index.writer import Writer

#: What `os` changes the disk by.
_CALLS = (
    "chmod",
    "fchmod",
    "fsync",
    "ftruncate",
    "mkdir",
    "open",
    "pwrite",
    "rename",
    "replace",
    "rmdir",
    "unlink",
    "write",
)


def die_before(step: int) -> None:
    """Have this process killed before its next change number *step* (0 is the first) of disk or index."""
    left = itertools.count(step, -1)

    def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(left) <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in _CALLS:
        setattr(os, name, deadly(getattr(os, name)))
    # What SQLite changes is one step per transaction: before it, and after it for the next step.
    Writer._write = deadly(Writer._write)  # type: ignore[method-assign]
    # pathlib binds its own.
    Path.unlink = deadly(Path.unlink)  # type: ignore[method-assign]


def until_it_lives(run: Callable[[int], None]) -> None:
    """Call *run* in a process of its own with 0, 1, 2…, until one lives; write how many there were."""
    for step in itertools.count():
        child = os.fork()
        if child == 0:
            run(step)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            sys.stdout.write(f"{step + 1}\n")
            return
        if not os.WIFSIGNALED(status):
            sys.exit(f"run {step} failed by itself")
