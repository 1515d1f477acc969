"""Stopping a thread that is blocked in a socket.

A blocking ``recv`` cannot be cancelled, and waiting for its time-out would hold a shut-down for 30 s.
Shutting the socket down from another thread wakes it at once; the lock makes sure that the descriptor
still is that socket and not one that was opened since.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mirror.upstream.failures import StoppedError


class StopToken:
    """One order to stop, given once from any thread; never blocks the one who gives it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._cuts: list[Callable[[], object]] = []

    @property
    def stopped(self) -> bool:
        """Whether the order was given."""
        return self._stopped

    def set(self) -> None:
        """Give the order; a second time it does nothing."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            # Under the lock: once `cutting` has let go of its socket, nothing here touches it any more.
            for cut in self._cuts:
                cut()

    def check(self) -> None:
        """Raise `StoppedError` if the order was given."""
        if self._stopped:
            raise StoppedError("The transfer was stopped.")

    @contextmanager
    def cutting(self, cut: Callable[[], object]) -> Iterator[None]:
        """Have *cut*, which must neither block nor raise, called should the order come meanwhile.

        Raises `StoppedError` if it came before.
        """
        with self._lock:
            self.check()
            self._cuts.append(cut)
        try:
            yield
        finally:
            with self._lock:
                self._cuts.remove(cut)
