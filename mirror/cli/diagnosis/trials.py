"""Try the clients of one Python, each in a process of its own, behind a wall that lets nothing out.

A client is through when its call, made as it makes it, gave the bytes that only a mirror answers to a name
that nobody has asked for before. Whatever else it would have asked was refused, and is told.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from mirror.cli.address import Address
from mirror.cli.diagnosis.variables import servers_of
from mirror.errors import ConfigError
from mirror.hook.modelmirror_hook import known

_CHILD: Final = Path(__file__).with_name("child")
# Most clients tried at once: importing one of them takes a core.
_AT_ONCE: Final = 2
# How long a client goes on, in seconds, after it would have asked its host: retries tell nothing new.
_AFTERWARDS: Final = 2.0
_TICK: Final = 0.05


class Verdict(StrEnum):
    """What became of a client's probe."""

    THROUGH = "through"
    LEAKS = "leaks"
    REFUSED = "refused"
    """It asked nobody, because it was told not to."""
    FAILS = "fails"
    SLOW = "slow"
    UNKNOWN = "unknown"
    """It could not be tried."""
    BY_WAY = "by way of"
    """It fetches by way of others, which were tried."""


WRONG: Final = frozenset({Verdict.LEAKS, Verdict.FAILS, Verdict.SLOW})


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client that is there: *host* is the real one that it is tried with."""

    name: str
    version: str
    host: str
    by_way_of: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python and the clients in it."""

    path: str
    version: str
    clients: tuple[Client, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How *client* did.

    *asked* is what it would have asked besides the mirror, as ``host:port``, *programs* what it would have
    started to ask for it; *error* is its own word for a failure, of the class *kind*. *hook* is what the
    start-up hook says of itself in its process, `None` if it is not there.
    """

    client: Client
    verdict: Verdict
    error: str = ""
    kind: str = ""
    asked: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    hook: Mapping[str, Any] | None = None
    seconds: float = 0.0
    others: tuple["Trial", ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Bench:
    """Tries clients: in *python*, with *environment*, against the mirror at *address*.

    *files* tell of more clients (``child/modelmirror_trying.py``); *limit* is the time for each, in seconds.
    *stopped* ends those that are being tried.
    """

    python: str
    environment: Mapping[str, str]
    address: Address
    files: tuple[Path, ...] = ()
    limit: float = 60.0
    stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    def survey(self) -> Interpreter:
        """Find which clients are there; raises `ConfigError`."""
        with tempfile.TemporaryDirectory() as folder:
            outcome, why = self._run(Path(folder), ("list", *map(str, self.files)), "")
        if outcome is None:
            raise ConfigError(
                f"{self.python} cannot list its packages: {why}",
                hint="Name a Python of 3.8 or newer with --python.",
            )
        clients = tuple(
            Client(
                name=row["name"],
                version=row["version"],
                host=row["host"],
                by_way_of=tuple(row["by_way_of"]),
            )
            for row in outcome["clients"]
        )
        return Interpreter(path=outcome["executable"], version=outcome["python"], clients=clients)

    def try_all(self, clients: Sequence[Client]) -> Iterator[Trial]:
        """Try *clients*; each trial comes as it ends, those that need none last."""
        pool = ThreadPoolExecutor(_AT_ONCE)
        trials: dict[str, Trial] = {}
        try:
            running = [pool.submit(self.attempt, each) for each in clients if not each.by_way_of]
            for done in as_completed(running):
                trial = done.result()
                trials[trial.client.name] = trial
                yield trial
        finally:
            self.stopped.set()
            pool.shutdown(cancel_futures=True)
        for client in clients:
            if client.by_way_of:
                others = tuple(trials[name] for name in client.by_way_of if name in trials)
                yield Trial(client=client, verdict=Verdict.BY_WAY, others=others)

    def attempt(self, client: Client) -> Trial:
        """Try one client."""
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report"
            arguments = (client.name, secrets.token_hex(16), *map(str, self.files))
            outcome, why = self._run(Path(folder), arguments, client.host)
            asked, programs = _read_report(report)
        seconds = time.monotonic() - begun
        told: Mapping[str, Any] = outcome or {"error": why}
        return Trial(
            client=client,
            verdict=self._judge(outcome, asked, programs, why),
            error=told["error"],
            kind=told.get("kind", ""),
            asked=asked,
            programs=programs,
            hook=told.get("hook"),
            seconds=seconds,
        )

    def _judge(
        self,
        outcome: Mapping[str, Any] | None,
        asked: Sequence[str],
        programs: Sequence[str],
        why: str,
    ) -> Verdict:
        if outcome is not None and outcome["through"]:
            leaks = programs or any(self._has_models(_host(each)) for each in asked)
            return Verdict.LEAKS if leaks else Verdict.THROUGH
        if asked or programs:
            return Verdict.LEAKS
        if outcome is None:
            return Verdict.SLOW if why == _too_long(self.limit) else Verdict.FAILS
        if not outcome["imported"] or outcome["kind"] in _OTHER_API:
            return Verdict.UNKNOWN
        refusal = outcome["kind"] in _REFUSALS or any(
            word in outcome["error"] for word in _REFUSING
        )
        return Verdict.REFUSED if refusal else Verdict.FAILS

    def _has_models(self, host: str) -> bool:
        """Whether *host* is asked for models, and not for news of its package, say."""
        return known(host) or host in servers_of(self.environment)

    def _run(
        self, folder: Path, arguments: Sequence[str], host: str
    ) -> tuple[Mapping[str, Any] | None, str]:
        """Run the child; its outcome, or `None` and why there is none."""
        result, report, errors = folder / "result", folder / "report", folder / "errors"
        inside = folder / "inside"
        inside.mkdir()
        environment = {
            **self.environment,
            "PYTHONPATH": _joined(str(_CHILD), self.environment.get("PYTHONPATH", "")),
            "MODELMIRROR_DOCTOR_REPORT": str(report),
            "MODELMIRROR_DOCTOR_MIRROR": f"{self.address.host} {self.address.port}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(inside),
        }
        command = [self.python, str(_CHILD / "modelmirror_trying.py"), str(result), *arguments]
        try:
            with errors.open("wb") as sink:
                process = subprocess.Popen(  # noqa: S603 -- the Python that was named
                    command,
                    cwd=inside,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    start_new_session=True,
                )
        except OSError as error:
            raise ConfigError(
                f"{self.python} cannot be run: {error.strerror}.",
                hint="Name a Python with --python.",
            ) from error
        ended = self._wait(process, report, host)
        try:
            outcome: Mapping[str, Any] = json.loads(result.read_bytes())
        except (OSError, ValueError):
            lines = errors.read_text(errors="replace").strip().splitlines()
            last = lines[-1][:300] if lines else f"it ended with {process.returncode}"
            return None, last if ended else _too_long(self.limit)
        return outcome, ""

    def _wait(self, process: "subprocess.Popen[bytes]", report: Path, host: str) -> bool:
        """Wait for the end of *process*, or make one; tells whether it came by itself.

        Soon after it would have asked *host*, or another that has models, it is ended.
        """
        now = time.monotonic()
        end = now + self.limit
        leaking = False
        while process.poll() is None and now < end and not self.stopped.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TICK)
            now = time.monotonic()
            asked = map(_host, _read_report(report)[0])
            if not leaking and any(each == host or self._has_models(each) for each in asked):
                leaking, end = True, min(end, now + _AFTERWARDS)
        ended = process.poll() is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # What it started and left behind, too.
        process.wait()
        return ended


# A client that has changed its insides, which its probe calls.
_OTHER_API: Final = frozenset({"AttributeError", "ImportError", "ModuleNotFoundError", "TypeError"})
_REFUSALS: Final = frozenset({"OfflineModeIsEnabled", "PermissionError"})
_REFUSING: Final = (
    "MODELMIRROR_STRICT", "OfflineModeIsEnabled", "HF_HUB_OFFLINE", "offline mode", "outgoing traffic",
    "pathsec",
)  # fmt: skip


def _too_long(limit: float) -> str:
    return f"it took more than {limit:g} s"


def _read_report(report: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the wall refused: addresses, and programs."""
    rows = list(_rows(report))
    asked = [
        f"{row['host']}:{row['port']}" if row.get("port") else row["host"]
        for row in rows
        if "host" in row
    ]
    named = {_host(item) for item in asked if ":" in item}
    asked = [item for item in asked if ":" in item or item not in named]
    programs = [row["program"] for row in rows if "program" in row]
    return tuple(dict.fromkeys(asked)), tuple(dict.fromkeys(programs))


def _rows(report: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = report.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def _host(asked: str) -> str:
    return asked.rpartition(":")[0] or asked


def _joined(first: str, rest: str) -> str:
    return f"{first}{os.pathsep}{rest}" if rest else first
