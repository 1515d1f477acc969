"""Idle connections, kept for the next transfer from the same origin.

A repo of 40 small files would otherwise cost 80 TLS handshakes, two for each file and its redirect.
"""

import threading
from collections import OrderedDict
from typing import Final

from mirror.clock import Clock
from mirror.upstream.policy import Origin
from mirror.upstream.wire import Wire

PER_ORIGIN: Final = 8
TOTAL: Final = 32
# CDNs close an idle connection after 60 s and more; being first costs nothing.
IDLE: Final = 30.0


class Pool:
    """Idle connections by origin, the latest used first; safe from any thread.

    At most *per_origin* of one origin and *total* in all; the oldest goes first.
    """

    def __init__(self, clock: Clock, *, per_origin: int = PER_ORIGIN, total: int = TOTAL) -> None:
        self._clock = clock
        self._per_origin = per_origin
        self._total = total
        self._lock = threading.Lock()
        # In the order of their last use; a few dozen, so looking through them is cheap.
        self._idle: OrderedDict[int, Wire] = OrderedDict()
        self._closed = False

    def take(self, origin: Origin) -> Wire | None:
        """Hand out a connection to *origin* that still seems alive, `None` if there is none."""
        while True:
            with self._lock:
                wire = next(
                    (wire for wire in reversed(self._idle.values()) if wire.origin == origin), None
                )
                if wire is None:
                    return None
                del self._idle[id(wire)]
            if self._clock.monotonic() - wire.idle_since < IDLE and wire.is_quiet():
                return wire
            wire.close()

    def give(self, wire: Wire) -> None:
        """Take a connection back that stands at the end of an answer; closes it if it is unfit."""
        if not wire.is_quiet():
            wire.close()
            return
        wire.idle_since = self._clock.monotonic()
        surplus: list[Wire] = []
        with self._lock:
            if self._closed:
                surplus.append(wire)
            else:
                self._idle[id(wire)] = wire
                same = [item for item in self._idle.values() if item.origin == wire.origin]
                if len(same) > self._per_origin:
                    surplus.append(self._idle.pop(id(same[0])))
                elif len(self._idle) > self._total:
                    surplus.append(self._idle.popitem(last=False)[1])
        for item in surplus:
            item.close()

    def close(self) -> None:
        """Close every idle connection, and from now on each one that comes back."""
        with self._lock:
            self._closed = True
            wires = list(self._idle.values())
            self._idle.clear()
        for wire in wires:
            wire.close()
