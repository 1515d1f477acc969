"""Adoptions as orders: begun, looked at and stopped over the operator's door, one at a time.

An order is one request and one answer, and an adoption may take hours: so one order begins it, and whoever
gave it looks again and again. Nobody looking any more means that they are gone: it stops then, as it does
when it is told to.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from mirror.bundle.adopt import Adoption, StoppedError
from mirror.bundle.adoptparts import Options, Parts
from mirror.bundle.adopttake import Link
from mirror.errors import MirrorError, QuestionError
from mirror.patterns import RepoPattern

Order: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]

# Whoever gave the order looks several times a second.
LEASE: Final = 60.0
_MAX_PATHS: Final = 1000


class Jobs:
    """The adoptions of one data folder, with *parts*."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._job: _Job | None = None
        self._number = 0

    @property
    def orders(self) -> Mapping[str, Order]:
        """The orders, by their names."""
        return {"adopt": self._begin, "adopt-look": self._look, "adopt-stop": self._stop}

    def close(self) -> None:
        """Stop what is under way and wait for its end. Blocks."""
        job = self._job
        if job is not None:
            job.stop()
            job.join()

    def _begin(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        paths, options = _paths(arguments), _options(arguments)
        with self._lock:
            if self._job is not None and self._job.is_alive():
                raise QuestionError(
                    "This mirror is taking over another cache already.", hint="Wait for its end."
                )
            self._number += 1
            self._job = _Job(self._number, self._parts, options, paths)
            self._job.start()
            return {"job": self._number}

    def _look(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._asked_for(arguments).look()

    def _stop(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        job = self._asked_for(arguments)
        job.stop()
        return job.look()

    def _asked_for(self, arguments: Mapping[str, Any]) -> "_Job":
        job = self._job
        if job is None or job.number != arguments.get("job"):
            raise QuestionError(
                "There is no such adoption: the server was started again, or it is over."
            )
        return job


class _Job(threading.Thread):
    """One adoption, on a thread of its own; hears how far it is (`mirror.bundle.adopt.Watch`)."""

    def __init__(self, number: int, parts: Parts, options: Options, paths: list[Path]) -> None:
        super().__init__(name="adopt", daemon=True)
        self.number = number
        self._parts = parts
        self._options = options
        self._paths = paths
        self._looked = time.monotonic()
        self._stopping = threading.Event()
        self._step, self._done, self._total = "look", 0, 0
        self._report: Mapping[str, Any] | None = None
        self._error: Mapping[str, str] | None = None

    def run(self) -> None:
        """Do it."""
        try:
            report = Adoption(self._parts, self._options, self).run(self._paths)
            self._report = report.form()
        except StoppedError:
            self._error = {"error": "It was stopped.", "hint": ""}
        except MirrorError as error:
            self._error = {"error": error.message, "hint": error.hint}
        except Exception as error:  # noqa: BLE001 -- told to whoever gave the order
            self._error = {"error": f"{type(error).__name__}: {error}", "hint": "Please report it."}

    def stop(self) -> None:
        """Have it stop at the next piece."""
        self._stopping.set()

    def look(self) -> Mapping[str, Any]:
        """How far it is, and, when it is over, its report or why there is none."""
        self._looked = time.monotonic()
        over = not self.is_alive()
        return {
            "step": self._step,
            "done": self._done,
            "total": self._total,
            "over": over,
            "report": self._report,
            "failed": self._error,
        }

    def begin(self, step: str, total: int) -> None:
        """Hear that a step begins."""
        self._step, self._done, self._total = step, 0, total

    def advance(self, amount: int) -> None:
        """Hear of progress; raises `StoppedError` when it is to end."""
        self._done += amount
        if self._stopping.is_set() or time.monotonic() - self._looked > LEASE:
            raise StoppedError("It was stopped.")


def _paths(arguments: Mapping[str, Any]) -> list[Path]:
    paths = arguments.get("paths")
    if not isinstance(paths, list) or not 0 < len(paths) <= _MAX_PATHS:
        raise QuestionError("Name the folders to take over.")
    if not all(
        isinstance(path, str) and path.startswith("/") and "\0" not in path for path in paths
    ):
        raise QuestionError("Folders are named by their whole paths.")
    return [Path(path) for path in paths]


def _options(arguments: Mapping[str, Any]) -> Options:
    try:
        return Options(
            link=Link(arguments.get("link", Link.REFLINK.value)),
            dry_run=bool(arguments.get("dry_run")),
            unverified=bool(arguments.get("unverified")),
            ask=bool(arguments.get("ask", True)),
            grants=tuple(RepoPattern.parse(str(text)) for text in arguments.get("grants", [])),
        )
    except (ValueError, TypeError) as error:
        raise QuestionError(f"{error}.") from error
