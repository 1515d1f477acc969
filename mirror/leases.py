"""Leases: for how long an answer may be given again as it is, and what ends that early.

Whoever composes an answer notes beforehand how far the world has changed (`Leases.number`), and names
afterwards what the answer rests on: repos, digests. A lease is granted only if none of that has changed
since, and it breaks before the next change of any of it is made. So nobody who knows of a change is shown
what was so before it, and a change that comes while an answer is composed is never missed.
"""

import threading
from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from typing import Final

# Changes that are remembered one by one. Of what is forgotten, everything counts as changed: answers that
# were being composed at that moment are not kept, and nothing else comes of it.
REMEMBERED: Final = 4096


class Lease:
    """Leave of *leases* to give one answer again: from wall time *since* until *until*, unless `broken`."""

    __slots__ = ("_leases", "about", "broken", "since", "until")

    def __init__(
        self, leases: "Leases", about: Collection[Hashable], since: float, until: float
    ) -> None:
        self._leases = leases
        self.about = about
        self.since = since
        self.until = until
        self.broken = False

    def good(self, now: float) -> bool:
        """Whether the answer may be given at wall time *now*: not before it was made, nor too late."""
        return not self.broken and self.since <= now < self.until

    def end(self) -> None:
        """Give it back; may be done twice."""
        self._leases.take_back(self)


class Leases:
    """Grants leases, and breaks them; from any thread."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._lock = threading.Lock()
        self._number = 0
        self._forgotten = 0  # whatever was composed before this change may rest on a forgotten one
        self._changed: dict[Hashable, int] = {}
        self._changing: Counter[Hashable] = Counter()
        self._held: dict[Hashable, set[Lease]] = {}
        self._all_changing = 0

    @property
    def number(self) -> int:
        """How many changes there were; noted before anything is looked up for an answer."""
        return self._number

    def grant(
        self, about: Collection[Hashable], as_of: int, since: float, until: float
    ) -> Lease | None:
        """A lease for what rests on *about*, as it was when `number` was *as_of*.

        `None` if any of it has changed since, or is being changed. Whoever has it ends it.
        """
        lease = Lease(self, about, since, until)
        with self._lock:
            if as_of < self._forgotten or self._all_changing:
                return None
            for key in about:
                if self._changed.get(key, 0) > as_of or key in self._changing:
                    return None
            for key in about:
                self._held.setdefault(key, set()).add(lease)
        return lease

    def take_back(self, lease: Lease) -> None:
        """Break a lease that nobody wants any more."""
        with self._lock:
            self._part(lease)

    @contextmanager
    def changing(self, about: Collection[Hashable]) -> Iterator[None]:
        """Break what rests on any of *about*, and grant no lease on it until the block is left."""
        with self._lock:
            self._change(about)
            self._changing.update(about)
        try:
            yield
        finally:
            with self._lock:
                self._change(about)  # what was composed meanwhile may be half of each
                self._changing.subtract(about)
                for key in about:
                    if not self._changing[key]:
                        del self._changing[key]

    def changed(self, *about: Hashable) -> None:
        """Break what rests on any of *about*, which has just changed."""
        with self._lock:
            self._change(about)

    @contextmanager
    def changing_all(self) -> Iterator[None]:
        """Break every lease, and grant none until the block is left."""
        with self._lock:
            self._change_all()
            self._all_changing += 1
        try:
            yield
        finally:
            with self._lock:
                self._change_all()
                self._all_changing -= 1

    def break_all(self) -> None:
        """Break every lease: something changed that leases do not name."""
        with self._lock:
            self._change_all()

    def _change_all(self) -> None:
        self._number += 1
        self._forgotten = self._number
        self._changed.clear()
        for lease in [lease for held in self._held.values() for lease in held]:
            self._part(lease)

    def _change(self, about: Collection[Hashable]) -> None:
        self._number += 1
        if len(self._changed) + len(about) > self._remembered:
            self._changed.clear()
            self._forgotten = self._number
        for key in about:
            self._changed[key] = self._number
            for lease in list(self._held.get(key, ())):
                self._part(lease)

    def _part(self, lease: Lease) -> None:
        lease.broken = True
        for key in lease.about:
            held = self._held.get(key)
            if held is not None:
                held.discard(lease)
                if not held:
                    del self._held[key]
