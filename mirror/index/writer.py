"""The one thread that writes the catalog.

Whatever waits when it comes round goes into one transaction: a lone fact is written at once, a thousand
cost little more than one. Each piece of work has a savepoint, so that one that fails takes nothing with
it, and a future that is resolved once the transaction is committed and every reader can see it.
"""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from mirror.errors import StoreUnusableError
from mirror.index.tally import Tally

Work: TypeAlias = Callable[[sqlite3.Connection], None]
_Job: TypeAlias = tuple[Work, "Future[None]"]

# A page of a tree is 1000 rows and 20 ms; a verdict behind 32 of them still waits less than a second.
_BATCH: Final = 32


class Writer:
    """Owns *connection* (autocommit) from `start` to `close`.

    *wording* turns an SQLite error into the mirror's own, and may take note of it; *tally* notes how far
    it came.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        wording: Callable[[sqlite3.Error], Exception],
        tally: Tally,
    ) -> None:
        self._connection = connection
        self._wording = wording
        self._tally = tally
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, work: Work) -> "Future[None]":
        """Queue *work*; the future ends when it is committed, or with what prevented it.

        Work that was handed in is done: cancelling the future does not take it back.
        """
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        with self._closing:
            if self._closed:
                future.set_exception(StoreUnusableError("The index is closed."))
            else:
                self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Write what still waits, then close the connection; may be called twice."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch: list[_Job] = []
            job = self._queue.get()
            while job is not None:
                batch.append(job)
                if len(batch) == _BATCH:
                    break
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
            going_on = job is not None
            if batch:
                self._write(batch)
        self._connection.close()
        self._tally.close()

    def _write(self, batch: list[_Job]) -> None:
        failures: dict[int, Exception] = {}
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for place, (work, _) in enumerate(batch):
                failure = self._attempt(work)
                if failure is not None:
                    failures[place] = failure
            number = self._tally.count(self._connection)
            self._connection.execute("COMMIT")
            self._tally.note(number)
        except Exception as error:  # noqa: BLE001 -- a thread that ends leaves everybody waiting
            with suppress(sqlite3.Error, MemoryError):
                self._connection.rollback()
            lost = self._wording(error) if isinstance(error, sqlite3.Error) else error
            failures = {number: failures.get(number, lost) for number in range(len(batch))}
        for number, (_, future) in enumerate(batch):
            if number in failures:
                future.set_exception(failures[number])
            else:
                future.set_result(None)

    def _attempt(self, work: Work) -> Exception | None:
        """Do *work* or leave no trace of it; raises when the whole transaction is lost."""
        self._connection.execute("SAVEPOINT work")
        try:
            work(self._connection)
        except Exception as error:
            if not self._connection.in_transaction:
                raise  # a full disk, an I/O error: SQLite has rolled everything back
            self._connection.execute("ROLLBACK TO work")
            self._connection.execute("RELEASE work")
            return self._wording(error) if isinstance(error, sqlite3.Error) else error
        self._connection.execute("RELEASE work")
        return None
