"""The thread that keeps house while the mirror serves.

One thread for all of it: what it does is never urgent, and two jobs at once would only share the disk that
clients are waiting for. Each job says itself when it wants to be called again.
"""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, TypeAlias

from mirror.clock import Clock
from mirror.errors import MirrorError
from mirror.events import Alarm, Observer

Job: TypeAlias = Callable[[], float]
"""Does a piece of work and returns after how many seconds it wants to be called again."""

# After a job failed: long enough not to fill the log, short enough for a disk that comes back.
RETRY: Final = 60.0


class House:
    """Runs *jobs*, each at once and then when it asked for, from entering to leaving; then *ending*.

    *observe* hears an `Alarm` of kind ``upkeep-failed`` when one cannot do its work; it is tried again.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        clock: Clock,
        observe: Observer,
        *,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        self._ending = ending
        self._jobs = jobs
        self._clock = clock
        self._observe = observe
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        self._keep()
        try:
            self._ending()
        except (MirrorError, OSError) as error:
            self._observe(Alarm("upkeep-failed", f"Upkeep could not be put away: {error}"))

    def _keep(self) -> None:
        due = dict.fromkeys(range(len(self._jobs)), self._clock.monotonic())
        while due:
            number = min(due, key=lambda job: due[job])
            if self._stop.wait(max(0.0, due[number] - self._clock.monotonic())):
                return
            pause = self._do(self._jobs[number])
            due[number] = self._clock.monotonic() + pause

    def _do(self, job: Job) -> float:
        try:
            return job()
        except (MirrorError, OSError) as error:
            self._observe(Alarm("upkeep-failed", f"Upkeep will try again: {error}"))
            return RETRY


def every(seconds: float, work: Callable[[], object]) -> Callable[[], float]:
    """A job that does *work* every so many *seconds*."""

    def step() -> float:
        work()
        return seconds

    return step
