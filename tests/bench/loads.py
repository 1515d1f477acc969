"""Running the load, the one in C where it could be compiled, else the one in Python."""

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.bench.programs import LackingError

# No load of these measurements takes a third of it.
TIMEOUT: Final = 180.0
# Followers of a cold file join one after the other, as the nodes of a cluster do.
STAGGER_MS: Final = 20
_SCRIPT: Final = Path(__file__).with_name("load.py")
_NO_COMPILER: Final = "no C compiler for the load (apt-get install gcc libc6-dev)"


class Loads:
    """Starts loads; *program* is the compiled one, or `None`."""

    def __init__(self, program: Path | None) -> None:
        self._program = program

    @property
    def name(self) -> str:
        """Which of the two it is."""
        return "the load in Python" if self._program is None else "the load in C"

    def get(
        self, port: int, path: str, size: int, *, clients: int = 1, ranges: bool = False
    ) -> dict[str, Any]:
        """Read the *size* bytes at *path*: each client all of it, 20 ms apart, or each its share at once.

        Tells ``seconds``, ``bytes`` and, by connection, ``first`` and ``total`` in seconds. Raises
        `RuntimeError` if an answer was wrong.
        """
        if self._program is None:
            address = ("127.0.0.1", port)
            return self._script(
                do="get", address=address, path=path, size=size, clients=clients, ranges=ranges
            )
        stagger = 0 if ranges else STAGGER_MS
        return self._run("get", port, path, size, clients, int(ranges), stagger)

    def ask(
        self,
        port: int,
        path: str,
        *,
        method: str = "HEAD",
        clients: int = 16,
        seconds: float,
        pause_ms: float = 0,
    ) -> dict[str, Any]:
        """Ask for *path* again and again over kept connections, each *pause_ms* after its answer.

        Tells ``count``, ``seconds``, ``median`` and ``p99`` (of the waits, in seconds).
        """
        if self._program is None:
            if method != "HEAD" or pause_ms:
                raise LackingError(_NO_COMPILER)
            address = ("127.0.0.1", port)
            return self._script(
                do="heads", address=address, path=path, clients=clients, seconds=seconds
            )
        return self._run("ask", port, path, method, clients, seconds, pause_ms)

    @contextmanager
    def asking(
        self, port: int, path: str, *, method: str, clients: int, seconds: float
    ) -> Iterator[None]:
        """The same in the background: it runs inside the block, and must outlast it."""
        process = self._start("ask", port, path, method, clients, seconds, 0)
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(f"the load ended early: {_complaint(process)}")
        finally:
            process.kill()
            process.communicate()

    def slow(
        self, port: int, path: str, size: int, *, clients: int, rate: int, seconds: float
    ) -> dict[str, Any]:
        """Read *rate* bytes per second over each of *clients* connections, for *seconds*."""
        return self._run("slow", port, path, size, clients, rate, seconds)

    def _start(self, *words: object) -> subprocess.Popen[str]:
        if self._program is None:
            raise LackingError(_NO_COMPILER)
        return subprocess.Popen(
            [self._program, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _run(self, *words: object) -> dict[str, Any]:
        process = self._start(*words)
        try:
            said, complaint = process.communicate(timeout=TIMEOUT)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if process.returncode:
            raise RuntimeError(f"the load failed: {complaint.strip() or process.returncode}")
        told: dict[str, Any] = json.loads(said)
        return told

    def _script(self, **wish: Any) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-S", str(_SCRIPT), json.dumps(wish)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the load failed: {done.stderr.strip()}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told


def _complaint(process: subprocess.Popen[str]) -> str:
    return process.communicate()[1].strip()


def fetch(port: int, path: str, *, method: str = "GET") -> bytes:
    """One request on a connection of its own; raises `RuntimeError` unless the answer is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {body[:300]!r}")
        return body


def warm(port: int, paths: Sequence[str]) -> str:
    """Have the mirror at *port* fetch *paths*, and return what it told when all of them are there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        wish = json.dumps({"paths": list(paths)})
        connection.request("POST", "/-/warm", wish, {"Content-Type": "application/json"})
        return connection.getresponse().read().decode()
