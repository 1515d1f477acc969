"""Processes under measurement: started on chosen cores, asked what they used, always stopped.

On loopback the kernel bills the work of receiving to whichever process happens to run, so a server on a
core of its own looks cheaper or dearer by chance. A server and its load therefore share one core where CPU
is compared. Linux only, for affinity and ``/proc``.
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.house.checkout import ROOT

# No load of these measurements takes a tenth of it.
LOAD_TIMEOUT: Final = 60.0
_FOLDER: Final = Path(__file__).parent


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
    """The CPU seconds that a process used so far, to the nanosecond.

    Its CPU clock (clock_getcpuclockid(3)) is the sum of what ``/proc/PID/task/*/schedstat`` tells, and
    keeps the time of threads that have ended.
    """
    return time.clock_gettime((~pid << 3) | 2)


def pss_of(pid: int) -> float:
    """The memory of a process in MiB, its share of pages that several processes map included."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


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
            message = f"{name} did not start"
            raise RuntimeError(message)
        server.address = ("127.0.0.1", int(line))
        yield server
    finally:
        server.stop()


def file_server(folder: Path, rate: int = 0) -> Any:
    """Run the bare file server on *folder*; *rate* is bytes per second and connection, 0 for no limit."""
    arguments = ["-S", str(_FOLDER / "files.py"), str(folder), str(rate)]
    return python_server("bare os.sendfile server", arguments)


def bare_handler() -> Any:
    """Run the bare aiohttp handler."""
    return python_server("bare aiohttp handler", ["-m", "tests.bench.handler"])


def find_nginx(named: str | None) -> str | None:
    """The nginx to measure against: the one *named*, else Debian's, else `None`."""
    return named or shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def nginx_server(program: str, folder: Path, root: Path) -> Iterator[Server]:
    """Run nginx as one process that sends the files of *root* by sendfile; *folder* is for its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder.mkdir()
    spare = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr warn;\n"
        "events { worker_connections 256; }\n"
        f"http {{\n{spare}\n  access_log off; sendfile on; tcp_nopush on;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {root}; }}\n}}\n"
    )
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"], text=True
    )
    server = Server(process, port, "nginx sendfile")
    try:
        _await_port(process, port)
        yield server
    finally:
        server.stop()


def _await_port(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    message = "nginx did not start"
    raise RuntimeError(message)


def load(**wish: Any) -> dict[str, Any]:
    """Run the load to its end and return what it tells; raises `RuntimeError` if an answer was wrong."""
    done = subprocess.run(
        [sys.executable, "-S", str(_FOLDER / "load.py"), json.dumps(wish)],
        capture_output=True,
        text=True,
        timeout=LOAD_TIMEOUT,
        check=False,
    )
    if done.returncode:
        message = f"the load failed: {done.stderr.strip()}"
        raise RuntimeError(message)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def fetch_text(address: tuple[str, int], path: str) -> str:
    """GET a small text."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()
