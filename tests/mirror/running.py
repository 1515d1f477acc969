"""A mirror running as its own process, as people run it."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Got:
    """One raw answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Upstream(Protocol):
    """Where a mirror is pointed."""

    @property
    def url(self) -> str:
        """The base URL of the hub."""
        ...

    @property
    def redirect_hosts(self) -> list[str]:
        """Hosts that its redirects may lead to."""
        ...


class Process(Protocol):
    """What is asked of the mirror's process: `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def stdout(self) -> IO[str] | None:
        """What it writes."""
        ...

    def poll(self) -> int | None:
        """Return its exit code; `None` while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit code."""
        ...

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""
        ...

    def kill(self) -> None:
        """Send it SIGKILL."""
        ...


@dataclass
class Running:
    """``python -m mirror serve`` on a data folder, pointed at an origin."""

    data: Path
    origin: Upstream
    flags: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    """A program that becomes the mirror's, such as ``faketime``, with its arguments."""
    program: tuple[str, ...] = ("-m", "mirror")
    url: str = ""
    process: Process = field(init=False, repr=False)
    log: Path = field(init=False, repr=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start the process and wait for its first line."""
        self.launch()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("modelmirror listening on "), line + self.log.read_text()
        self.url = line.split()[-1]

    def launch(self) -> None:
        """Start the process."""
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MODELMIRROR_")},
            "MODELMIRROR_HUGGINGFACE_UPSTREAMS": self.origin.url,
            "MODELMIRROR_REDIRECT_HOSTS": ",".join(self.origin.redirect_hosts),
            "MODELMIRROR_MIN_FREE": "1MiB",
            **self.settings,
        }
        # Else every start compiles the mirror again: 0.15 s of a core.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.log = self.data.parent / f"{self.data.name}.log"
        arguments = ["serve", "--port", "0", "--data", str(self.data), *self.flags]
        with self.log.open("ab") as log:
            self.process = self.spawn(arguments, environment, log)

    def spawn(
        self, arguments: list[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> Process:
        """Make the process; *log* is its standard error."""
        return subprocess.Popen(
            [*self.before, sys.executable, *self.program, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the process with a signal and return its exit code."""
        self.process.send_signal(number)
        try:
            code = self.process.wait(timeout=40)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()
        return code

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def settle(self) -> None:
        """Wait until no fill is under way: what clients have is then in the store."""
        deadline = time.monotonic() + 10
        while self.ask("/-/status").json()["fills"]:
            assert time.monotonic() < deadline, "fills did not end"
            time.sleep(0.01)

    def wait_for(self, true: Callable[[], bool], timeout: float = 10) -> None:
        """Wait until *true* says so, at most *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def refuses_wrong(self, path: str) -> None:
        """Ask for a file whose bytes are wrong at upstream: it is cut, or refused if they came at once."""
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            assert self.ask(path).status >= 500
        self.settle()
        assert "digest-mismatch" in self.log.read_text()

    def rss(self) -> int:
        """Peak resident memory of the process, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30,
    ) -> Got:
        """One request on a connection of its own; raises what a client would see when it is cut."""
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        with contextlib.closing(connection):
            sent = dict(headers or {})
            if token is not None:
                sent["Authorization"] = f"Bearer {token}"
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Got(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read(),
            )

    def ask_form(self, method: str, path: str, token: str | None, form: bytes | None) -> Got:
        """One request, with the fields of a form where there are some."""
        headers = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask(path, method=method, token=token, headers=headers, body=form)


def files_below(folder: Path) -> Iterator[tuple[str, int]]:
    """Each file below *folder* with its size, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(folder)), path.stat().st_size
