"""Jobs that an order begins: looked at and stopped over the operator's door.

An order is one request and one answer, and a job may take hours: so one order begins it, and whoever gave
it looks again and again. Nobody looking any more means that they are gone: it stops then, as it does when it
is told to.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from mirror.errors import MirrorError, QuestionError

Order: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
J = TypeVar("J", bound="Job")


class StoppedError(MirrorError):
    """The job was told to stop."""


class Watch(Protocol):
    """Hears how far a job is, on the thread that does it; may raise `StoppedError` from `advance`."""

    def begin(self, step: str, total: int) -> None:
        """A step begins, of *total* units; 0: not known."""
        ...

    def advance(self, amount: int) -> None:
        """So much more of the step is done."""
        ...


class Job(threading.Thread):
    """*work*, on a thread called *name*; it hears how far that is (`Watch`), and has its report.

    It stops when nobody has looked for *lease* seconds, but never in the step *whole*. *kept* says what
    becomes of what was done by then.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Watch], Mapping[str, Any]],
        *,
        lease: float,
        kept: str,
        whole: str = "",
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.number = 0
        self._work = work
        self._lease = lease
        self._kept = kept
        self._whole = whole
        self._looked = time.monotonic()
        self._stopping = threading.Event()
        self._step, self._done, self._total = "look", 0, 0
        self._report: Mapping[str, Any] | None = None
        self._error: Mapping[str, str] | None = None

    @property
    def forgotten(self) -> bool:
        """Whether nobody has looked for so long that nobody will."""
        return time.monotonic() - self._looked > self._lease

    @property
    def needed(self) -> bool:
        """Whether it is to be known still when another is begun."""
        return self.is_alive()

    def run(self) -> None:
        """Do it."""
        try:
            self._report = self._work(self)
        except StoppedError:
            self._error = {"error": "It was stopped.", "hint": self._kept}
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
        if self._step != self._whole and (self._stopping.is_set() or self.forgotten):
            raise StoppedError("It was stopped.")


class Jobs(Generic[J]):
    """The jobs of one kind; *what* is what they are called in sentences."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._jobs: dict[int, J] = {}
        self._number = 0

    def start(self, job: J, *, alone: str = "") -> Mapping[str, Any]:
        """Begin *job*; raises `QuestionError` with the sentence *alone* while one of its name is at work."""
        with self._lock:
            if alone and any(
                other.name == job.name and other.is_alive() for other in self._jobs.values()
            ):
                raise QuestionError(alone, hint="Wait for its end.")
            self._jobs = {number: other for number, other in self._jobs.items() if other.needed}
            self._number += 1
            job.number = self._number
            self._jobs[job.number] = job
            job.start()
            return {"job": job.number}

    def known(self) -> list[J]:
        """All that are known still."""
        with self._lock:
            return list(self._jobs.values())

    def asked_for(self, arguments: Mapping[str, Any]) -> J:
        """The one that the *arguments* of an order name. Raises `QuestionError`."""
        job = self._jobs.get(arguments.get("job", 0))
        if job is None:
            raise QuestionError(
                f"There is no such {self._what}: the server was started again, or it is over.",
                hint="Give the order again: what was done is not done twice.",
            )
        return job

    def look(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """An order: how far a job is."""
        return self.asked_for(arguments).look()

    def stop(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """An order: have a job stop."""
        job = self.asked_for(arguments)
        job.stop()
        return job.look()

    def end(self, job: J) -> None:
        """Know *job* no longer."""
        with self._lock:
            self._jobs.pop(job.number, None)

    def close(self) -> None:
        """Stop what is under way and wait for its end. Blocks."""
        for job in self.known():
            job.stop()
            job.join()
