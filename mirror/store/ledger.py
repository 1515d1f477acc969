"""Room: bytes used, bytes reserved before they arrive, and when to say that there is none.

A blob's whole size is reserved before its first byte is fetched, so a disk never fills up in the middle
of twenty downloads of which none can then finish. Two bounds hold at once: the quota on what the store
holds, and the room on the disk that it leaves to others. Only the part of a reservation that is not on
the disk yet is still to be taken from the disk's free space, so each reservation tells how much is.
"""

import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from mirror.errors import StoreFullError
from mirror.units import format_size

# Where no quota is set: more than any disk holds, and still a whole number to reckon with.
_BOUNDLESS: Final = 1 << 62


class Missing(NamedTuple):
    """Room that is wanted and not there: bytes beyond the *quota*, and bytes that the *disk* lacks.

    With *partly* less than that is welcome too; without it nothing is to go unless all of it can be had.
    """

    quota: int
    disk: int
    partly: bool = False


class Ledger:
    """Who has been promised which part of the disk. Safe to use from several threads.

    *quota* is the most bytes the store may hold, `None` for no limit; *min_free* the bytes left free on
    the disk; *used* what is stored already (`Layout.measure`); *free* asks the disk for its free bytes.
    *make_room* is told what is `Missing` and returns whether it gained anything (through `give_back`,
    or on the disk); it is called without the ledger's own lock, one call at a time.
    """

    def __init__(
        self,
        quota: int | None,
        min_free: int,
        used: int,
        free: Callable[[], int],
        *,
        make_room: Callable[[Missing], bool] | None = None,
    ) -> None:
        self._quota = quota
        self._min_free = min_free
        self._used = used
        self._free = free
        self._make_room = make_room
        self._reserved = 0
        self._coming = 0  # the part of what is reserved that does not lie on the disk yet
        self._lock = threading.Lock()
        self._evicting = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that the store holds, reservations not counted."""
        return self._used

    @property
    def reserved(self) -> int:
        """Bytes promised to blobs on their way in."""
        return self._reserved

    @property
    def quota(self) -> int | None:
        """The most bytes the store may hold."""
        return self._quota

    def available(self) -> int:
        """Bytes that could be reserved now without making room; never below 0."""
        with self._lock:
            return max(0, self._available())

    def reserve(self, size: int, *, held: int = 0) -> "Reservation":
        """Promise *size* bytes, of which *held* lie on the disk already and are counted as used.

        Raises `StoreFullError` when there is no room and none can be made.
        """
        needed = size - held
        while True:
            with self._lock:
                available = self._available()
                if needed <= max(0, available):
                    self._used -= held
                    self._reserved += size
                    self._coming += needed
                    return Reservation(self, size, held)
                # All that eviction could ever give back: not worth emptying the store for less.
                hopeless = needed > available + self._used
            if hopeless or self._make_room is None:
                break
            with self._evicting:
                with self._lock:
                    missing = self._missing(needed)
                if any(missing) and not self._make_room(missing):
                    break
        raise self._full(size, needed)

    def limit(self, quota: int | None) -> None:
        """Let the store hold *quota* bytes from now on; `converge` brings it there."""
        with self._lock:
            self._quota = quota

    def converge(self) -> None:
        """Make room until the quota holds again, as far as that can be had.

        For a quota that was lowered. Room on the disk is not made this way: what others write there is
        no reason to throw away what may not be fetched again; only a reservation is.
        """
        if self._make_room is None:
            return
        with self._evicting:
            while True:
                with self._lock:
                    missing = self._missing(0)
                if not missing.quota:
                    return
                if not self._make_room(Missing(missing.quota, 0, partly=True)):
                    return

    def take(self, size: int) -> None:
        """Count *size* bytes that came in without a reservation, such as an adopted file."""
        with self._lock:
            self._used += size

    def give_back(self, size: int) -> None:
        """Count *size* bytes as gone from the store."""
        with self._lock:
            self._used = max(0, self._used - size)

    def _available(self) -> int:
        return -max(self._beyond())

    def _missing(self, needed: int) -> Missing:
        quota, disk = self._beyond()
        return Missing(max(0, needed + quota), max(0, needed + disk))

    def _beyond(self) -> tuple[int, int]:
        """How far the store is beyond its quota and beyond what the disk can give; below 0: what is left."""
        disk = self._coming + self._min_free - self._free()
        quota = _BOUNDLESS if self._quota is None else self._quota
        return self._used + self._reserved - quota, disk

    def _full(self, size: int, needed: int) -> StoreFullError:
        with self._lock:
            free = max(0, self._available())
            by_quota = self._quota is not None and (
                self._quota - self._used - self._reserved
                <= self._free() - self._min_free - self._coming
            )
        if by_quota and self._quota is not None:
            where = f"the quota of {format_size(self._quota)} has {format_size(free)} left"
            hint = "Raise --quota."
        else:
            where = f"the disk has {format_size(free)} left"
            if self._min_free:
                where += f" beyond the {format_size(self._min_free)} that stay free"
            hint = "Free some disk space, or lower --min-free."
        return StoreFullError(
            f"There is no room for {format_size(size)} more: {where}.",
            needed=needed,
            free=free,
            hint=hint,
        )

    def _spend(self, size: int) -> None:
        with self._lock:
            self._coming -= size

    def _end(self, size: int, coming: int, used: int) -> None:
        with self._lock:
            self._reserved -= size
            self._coming -= coming
            self._used += used


class Reservation:
    """Room for one blob, promised by a `Ledger` and ended once, by `settle` or `release`."""

    __slots__ = ("_ledger", "_on_disk", "_open", "size")

    def __init__(self, ledger: Ledger, size: int, on_disk: int) -> None:
        self.size = size
        self._ledger = ledger
        self._on_disk = on_disk
        self._open = True

    def spend(self, size: int) -> None:
        """Note that *size* more of its bytes have been written to the disk."""
        size = min(size, self.size - self._on_disk)
        self._on_disk += size
        self._ledger._spend(size)  # noqa: SLF001 -- the two halves of one class

    def settle(self, used: int | None = None) -> None:
        """Turn the promise into *used* bytes held by the store, the whole size unless told otherwise.

        Raises `ValueError` if it has ended already.
        """
        if not self._open:
            msg = "a reservation ends once"
            raise ValueError(msg)
        self._finish(self.size if used is None else used)

    def release(self) -> None:
        """Give the room back; nothing happens if the reservation has ended already."""
        if self._open:
            self._finish(0)

    def _finish(self, used: int) -> None:
        self._open = False
        self._ledger._end(self.size, self.size - self._on_disk, used)  # noqa: SLF001
