"""The one thread that writes the catalog.

Whatever waits when it comes round goes into one transaction: a lone fact is written at once, a thousand
cost little more than one. Each piece of work has a savepoint, so that one that fails takes nothing with
it, and a future that is resolved once the transaction is committed and every reader can see it.

A disk that takes nothing now is no reason to refuse anybody: what comes is held in memory instead, in the
same order, and written before anything else once the disk takes it again. Because one thread does both,
an older fact never overtakes a newer one.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Hashable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TypeAlias

from mirror.errors import MirrorError, StoreUnusableError
from mirror.index import schema
from mirror.index.held import Held, Work
from mirror.index.tally import Tally
from mirror.leases import Leases

Hold: TypeAlias = Callable[[Held], None]

# A page of a tree is 1000 rows and 20 ms; a verdict behind 32 of them still waits less than a second.
_BATCH: Final = 32

# How soon, and then how rarely, a disk that took nothing is tried again, in seconds.
RETRY: Final = 0.5
RETRY_AT_MOST: Final = 8.0


class Job(NamedTuple):
    """What is to be done on the disk, how the same is done in memory, who waits for it, what it changes.

    One that is *quiet* changes nothing that readers keep.
    """

    work: Work
    hold: Hold | None
    future: "Future[None]"
    about: Collection[Hashable] = ()
    quiet: bool = False


class Writer:
    """Owns *connection* (autocommit) from `start` to `close`.

    *wording* turns an SQLite error into the mirror's own, and may take note of it; *tally* notes how far
    it came; *held* takes what the disk does not; *leases* break before what they are about is changed, and
    *committed* is told of each commit before anybody else is.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        wording: Callable[[sqlite3.Error], MirrorError],
        tally: Tally,
        held: Held,
        leases: Leases,
        committed: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._wording = wording
        self._tally = tally
        self._held = held
        self._leases = leases
        self._committed = committed
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._before: Callable[[], None] = lambda: None
        self._pause = RETRY
        self._retry_at = 0.0
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._tally.begin(self._connection)
        self._thread.start()

    def submit(
        self,
        work: Work,
        hold: Hold | None = None,
        about: Collection[Hashable] = (),
        *,
        quiet: bool = False,
    ) -> "Future[None]":
        """Queue *work*; the future ends when it is committed or held, or with what prevented it.

        *hold* does the same in memory; without it the work is done on the disk or not at all. *about* is
        what leases may rest on that the work changes; *quiet* work changes no row that readers keep. Work
        that was handed in is done: cancelling the future does not take it back.
        """
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        with self._closing:
            if self._closed:
                future.set_exception(StoreUnusableError("The index is closed."))
            else:
                self._queue.put(Job(work, hold, future, about, quiet))
        return future

    def close(self, before: Callable[[], None] = lambda: None) -> None:
        """Write what still waits, do *before*, close the connection; may be called twice.

        SQLite puts its log away with the last connection to the file, which must be this one.
        """
        with self._closing:
            if not self._closed:
                self._closed, self._before = True, before
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch, going_on = self._next()
            if batch or self.trouble:
                with self._leases.changing({key for job in batch for key in job.about}):
                    self._write(batch, patient=going_on)
        self._before()
        self._connection.close()
        self._tally.close()

    def _next(self) -> tuple[list[Job], bool]:
        """What waits, and whether more may come; comes back without anything to try the disk again."""
        batch: list[Job] = []
        try:
            wait = max(0.0, self._retry_at - time.monotonic()) if self.trouble else None
            job = self._queue.get(timeout=wait)
            while job is not None:
                batch.append(job)
                if len(batch) == _BATCH:
                    break
                job = self._queue.get_nowait()
        except Empty:
            return batch, True
        return batch, job is not None

    def _write(self, batch: list[Job], *, patient: bool) -> None:
        """Write what is held and *batch*; with *patient* not before the disk is due for another try."""
        must = not patient or any(job.hold is None for job in batch)
        if self.trouble and not must and time.monotonic() < self._retry_at:
            self._hold(batch)
            return
        failures: dict[int, Exception] = {}
        try:
            self._try_the_disk()
            self._connection.execute("BEGIN IMMEDIATE")
            for work in self._held.works():
                self._attempt(work)  # what can never be written is not tried for ever
            for place, job in enumerate(batch):
                failure = self._attempt(job.work)
                if failure is not None:
                    failures[place] = failure
            number = self._tally.count(self._connection)
            self._connection.execute("COMMIT")
            if self.trouble or not all(job.quiet for job in batch):
                self._committed()
            self._tally.note(number)
        except Exception as error:  # noqa: BLE001 -- a thread that ends leaves everybody waiting
            with suppress(sqlite3.Error, MemoryError):
                self._connection.rollback()
            lost: Exception = error
            if isinstance(error, sqlite3.Error):
                lost = self._wording(error)
            if schema.is_refusal(error):
                self._refused(str(lost))
                self._hold(batch, failures, lost)
                return
            failures = {place: failures.get(place, lost) for place in range(len(batch))}
        else:
            self._recovered()
        for place, job in enumerate(batch):
            _end(job, failures.get(place))

    def _try_the_disk(self) -> None:
        """See whether it takes anything at all, before a great deal is written in vain."""
        if self.trouble:
            self._connection.execute("BEGIN IMMEDIATE")
            number = self._tally.count(self._connection)
            self._connection.execute("COMMIT")
            self._tally.note(number)

    def _refused(self, why: str) -> None:
        self.trouble = why
        self._tally.owe()
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(RETRY_AT_MOST, self._pause * 2)

    def _recovered(self) -> None:
        if self.trouble:
            # What could never be written is known no longer.
            with self._leases.changing_all():
                self._held.clear()
            self._tally.settle()
            self.trouble, self._pause, self._retry_at = "", RETRY, 0.0

    def _hold(
        self,
        batch: list[Job],
        failures: dict[int, Exception] | None = None,
        lost: Exception | None = None,
    ) -> None:
        """Do *batch* in memory, but for what failed for reasons of its own or must be on the disk."""
        for place, job in enumerate(batch):
            failure = (failures or {}).get(place)
            if failure is None and job.hold is None:
                failure = lost
            elif failure is None and job.hold is not None:
                try:
                    job.hold(self._held)
                except Exception as error:  # noqa: BLE001 -- whatever it is, it is this caller's
                    failure = error
            _end(job, failure)

    def _attempt(self, work: Work) -> Exception | None:
        """Do *work* or leave no trace of it; raises when the whole transaction is lost."""
        self._connection.execute("SAVEPOINT work")
        try:
            work(self._connection)
        except Exception as error:
            if not self._connection.in_transaction or schema.is_refusal(error):
                raise  # a full disk, an I/O error: SQLite has rolled everything back, or must
            self._connection.execute("ROLLBACK TO work")
            self._connection.execute("RELEASE work")
            return self._wording(error) if isinstance(error, sqlite3.Error) else error
        self._connection.execute("RELEASE work")
        return None


def _end(job: Job, failure: Exception | None) -> None:
    if failure is None:
        job.future.set_result(None)
    else:
        job.future.set_exception(failure)
