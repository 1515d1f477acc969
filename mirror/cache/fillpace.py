"""How many connections one fill has: one, then more while they make it faster.

One connection of a CDN is often held to a rate, and sixteen are then sixteen times as fast; where the
line is what is slow, more connections only take it from others. So connections are added while the whole
gets faster by it, and taken away at once when upstream says that it is too much.
"""

import threading
from collections import Counter
from typing import Final

# A single connection that runs above this, in bytes per second, is left alone.
PARALLEL_BELOW: Final = 200_000_000

# None is added where all of a fill's connections together run above this, in bytes per second: the hash takes
# most of a core by then.
ENOUGH: Final = 2 * PARALLEL_BELOW

# Connections to one host, all fills together. A fill always has one.
PER_HOST: Final = 16

# How long a number of connections is watched before it is judged, in seconds. On the way up less is enough
# where answers come at once: what an answer took twice, which is some ten round trips.
WATCH: Final = 0.5
LEAST_WATCH: Final = 0.05

# Another connection has to make the whole faster by this much, or it goes again.
WORTH: Final = 1.1

# After a shrink, or a connection that was not worth it, this long nothing is added, in seconds.
REST: Final = 5.0


class Pace:
    """The number of connections that one fill should have now: *target*."""

    def __init__(self, now: float) -> None:
        self.target = 1
        self._since = now
        self._bytes = 0
        self._rate = 0.0
        self._rest_until = 0.0
        self._steep = True
        self._watch = WATCH

    def answered(self, took: float, now: float) -> None:
        """The first answer took *took* seconds from the request to its head, and its bytes begin now."""
        self._watch = min(WATCH, max(LEAST_WATCH, 2 * took))
        self._since = now

    @property
    def rate(self) -> float:
        """Bytes per second, as last measured."""
        return self._rate

    def note(self, received: int, now: float, *, anyway: bool = False) -> None:
        """Judge the present number by the bytes *received* so far, at monotonic second *now*.

        Nothing happens before it was watched for long enough, unless *anyway*.
        """
        seconds = now - self._since
        if seconds < (self._watch if self._steep else WATCH) and not (anyway and seconds > 0):
            return
        before, self._rate = self._rate, (received - self._bytes) / seconds
        self._since, self._bytes = now, received
        if now < self._rest_until:
            return
        if self.target == 1:
            self.target = 2 if self._rate < PARALLEL_BELOW else 1
        elif self._rate >= ENOUGH:
            self._settle(now)
        elif self._rate >= before * WORTH:
            self.target = min(PER_HOST, self.target * 2 if self._steep else self.target + 1)
        elif self._rate < before / WORTH:
            self.target = max(1, self.target - 1)
            self._settle(now)
        else:
            self._settle(now)

    def shrink(self, now: float) -> None:
        """Upstream refused, or broke a connection: half as many, and none added for a while."""
        self.target = max(1, self.target // 2)
        self._settle(now)

    def _settle(self, now: float) -> None:
        self._steep = False
        self._rest_until = now + REST


class Hosts:
    """Connections per host, of all fills. Safe to use from several threads."""

    def __init__(self, limit: int = PER_HOST) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, host: str, *, anyway: bool = False) -> bool:
        """Count one more; returns whether there may be one. With *anyway* there always may."""
        with self._lock:
            if not anyway and self._open[host] >= self._limit:
                return False
            self._open[host] += 1
            return True

    def give(self, host: str) -> None:
        """Count one less."""
        with self._lock:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]
