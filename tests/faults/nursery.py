"""Mirrors forked from one process that has imported them already.

A torture starts a mirror a thousand times, and nine tenths of a start are imports (0.4 of 0.5 s of a core).
So one process imports the mirror, and every start is a fork of it that runs the same command line: it has
a process id, sockets and a data folder of its own, and is killed like any other. What is above the fork is
modules, and no state of a store.

In it a blob comes in parts from `PARTS` on, and is synced so often, that small files meet what only large
ones meet outside.
"""

import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from mirror.store.sums import PIECE
from tests.house import checkout
from tests.mirror.running import Process, Running

PARTS: Final = 2 * PIECE

_MOST: Final = 1 << 18  # bytes of a message: arguments and environment
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG, prctl(2)


class Nursery:
    """The process that forks; leave it and it ends, and every mirror with it."""

    def __init__(self) -> None:
        self._door, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inside:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "tests.faults.nursery"),
                cwd=checkout.ROOT,
                stdin=inside.fileno(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._door.close()
        self._process.wait(10)

    def fork(
        self, arguments: list[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> "Forked":
        """Have a mirror run with *arguments*; its standard error is *log*."""
        end, start = os.pipe()
        message = json.dumps([arguments, dict(environment)]).encode()
        try:
            # Each message has its own way back, so that several threads may ask at once.
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with here, there:
                descriptors = [there.fileno(), start, log.fileno()]
                socket.send_fds(self._door, [message], descriptors)
                there.close()
                pid = int(here.recv(20))
        finally:
            os.close(start)
        return Forked(pid, os.fdopen(end))

    def verify(self, data: Path, *flags: str) -> str:
        """The result of ``modelmirror verify``; all that it says where it came to none."""
        with Path(os.devnull).open("wb") as log:
            checking = self.fork(["verify", "--json", *flags, str(data)], os.environ, log)
        assert checking.stdout is not None
        with checking.stdout as said:
            text = said.read()
        events = [json.loads(line) for line in text.splitlines()]
        results = [event["result"] for event in events if event["event"] == "end"]
        return results[0] if results == ["fine"] else text


class Forked:
    """A process whose parent is another one: known by a descriptor, as its number may be used again.

    Its exit code is its parent's to know; 0 stands for any.
    """

    def __init__(self, pid: int, stdout: IO[str]) -> None:
        self.pid = pid
        self.stdout: IO[str] | None = stdout
        self._fd = os.pidfd_open(pid)

    def __del__(self) -> None:
        os.close(self._fd)

    def poll(self) -> int | None:
        """Return 0 once it has ended."""
        return 0 if select.select([self._fd], (), (), 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired` after *timeout* seconds."""
        if not select.select([self._fd], (), (), timeout)[0]:
            raise subprocess.TimeoutExpired(f"mirror {self.pid}", timeout or 0)
        return 0

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it is still there."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._fd, sig)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


@dataclass
class Child(Running):
    """A mirror forked in a nursery."""

    nursery: Nursery = field(kw_only=True)

    def spawn(
        self, arguments: list[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> Process:
        """Have it forked."""
        return self.nursery.fork(arguments, environment, log)


def _serve_forks() -> None:
    """Fork for every message until the other side is gone; returns in the child, ready to run."""
    door = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for them
    while True:
        message, descriptors, _, _ = socket.recv_fds(door, _MOST, 3)
        if not message:
            os._exit(0)
        back, out, log = descriptors
        pid = os.fork()
        if pid == 0:
            break
        os.write(back, b"%d" % pid)
        for descriptor in descriptors:
            os.close(descriptor)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    door.close()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(log, 2)
    os.closerange(3, 256)
    arguments, environment = json.loads(message)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["modelmirror", *arguments]


def _lower_thresholds() -> None:
    from mirror.cache import fillplan, fillwork  # noqa: PLC0415 -- only the process that forks has them
    from mirror.store import partial  # noqa: PLC0415

    lower = (
        (fillplan, "SMALL", PARTS),
        (fillwork, "SMALL", PARTS),
        (fillplan, "SHARE", PIECE),
        (fillplan, "LAST_SHARE", PIECE),
        (partial, "SYNC_EVERY", PIECE),
    )
    for module, name, value in lower:
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        setattr(module, name, value)


if __name__ == "__main__":
    import uvloop  # noqa: F401 -- what `serve` imports late is imported before the first fork

    import mirror.cli.serve
    import mirror.cli.verify
    import mirror.wiring  # noqa: F401
    from mirror.cli import main

    _lower_thresholds()
    gc.freeze()
    _serve_forks()
    main()
