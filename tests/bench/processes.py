"""Processes under measurement: started on chosen cores, asked what they used, always stopped.

On loopback the kernel bills the work of receiving to whichever process happens to run, so a server on a
core of its own looks cheaper or dearer by chance. A server and its load therefore share one core where CPU
is compared. Linux only, for affinity and ``/proc``.
"""

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.house.checkout import ROOT

_FOLDER: Final = Path(__file__).parent
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
# smaps_rollup of a server takes the kernel 1 ms.
_LOOK: Final = 0.1
_START: Final = 20.0


@contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """Let this thread, and with it every process it starts inside the block, run on *cores* only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_of(pid: int) -> float:
    """The CPU seconds that a process and its children used so far, also those that have ended.

    The process's own, to the nanosecond, is its CPU clock (clock_getcpuclockid(3)): the sum of what
    ``/proc/PID/task/*/schedstat`` tells, and it keeps the time of threads that have ended. Children that
    were waited for count in ticks of 10 ms (proc_pid_stat(5), cutime and cstime).
    """
    used = time.clock_gettime((~pid << 3) | 2)
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    used += (int(fields[13]) + int(fields[14])) * _TICK
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text(encoding="ascii").split():
                used += cpu_of(int(child))
    return used


def pss_of(pid: int) -> float:
    """The memory of a process in MiB, its share of pages that several processes map included."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


@contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """Look at the memory of a process ten times a second inside the block: a list of MiB that grows."""
    seen = [pss_of(pid)]
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK):
            seen.append(pss_of(pid))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command came to: seconds by the clock, CPU seconds of it and its children, what it said."""

    seconds: float
    cpu: float
    said: str


def run(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    into: str | None = None,
) -> Ended:
    """Run a command to its end; *into* is a program that reads its output and is not counted.

    Raises `RuntimeError` with what it said when it failed.
    """
    reader = None
    if into is not None:
        reader = subprocess.Popen([into], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    begun = time.perf_counter()
    process = subprocess.Popen(
        [str(argument) for argument in arguments],
        stdout=subprocess.PIPE if reader is None else reader.stdin,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    if reader is not None and reader.stdin is not None:
        reader.stdin.close()
    assert process.stderr is not None
    said = process.stdout.read() if process.stdout is not None else ""
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    if reader is not None:
        reader.wait()
    if process.returncode:
        raise RuntimeError(f"{arguments[0]} failed: {(complaint or said).strip()[-2000:]}")
    return Ended(seconds, usage.ru_utime + usage.ru_stime, said)


class Server:
    """A server process beside the mirror: its address, its pid, its end."""

    def __init__(self, process: subprocess.Popen[str], port: int, name: str) -> None:
        self._process = process
        self.address = ("127.0.0.1", port)
        self.name = name

    @property
    def pid(self) -> int:
        """The process that serves."""
        return self._process.pid

    def stop(self) -> None:
        """End the process and wait until it has ended."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def python_server(name: str, arguments: Sequence[str]) -> Iterator[Server]:
    """Run a Python server that prints its port on the first line; raises `RuntimeError` if it does not."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    server = Server(process, 0, name)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise RuntimeError(f"{name} did not start")
        server.address = ("127.0.0.1", int(line))
        yield server
    finally:
        server.stop()


def await_port(process: subprocess.Popen[str], port: int) -> None:
    """Wait until a server accepts connections; raises `RuntimeError` if it does not."""
    deadline = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start")


def file_server(folder: Path, rate: int = 0) -> Any:
    """Run the bare file server on *folder*; *rate* is bytes per second and connection, 0 for no limit."""
    arguments = ["-S", str(_FOLDER / "files.py"), str(folder), str(rate)]
    return python_server("bare os.sendfile server", arguments)


def bare_handler() -> Any:
    """Run the bare aiohttp handler."""
    return python_server("bare aiohttp handler", ["-m", "tests.bench.handler"])


def allow_files(wanted: int) -> None:
    """Let this process and those it starts have *wanted* files open, as far as the machine lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
