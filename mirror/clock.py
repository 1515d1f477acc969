"""Time, as something that can be handed in.

Persisted times are wall time and may lie (a machine without a battery, a test); lifetimes inside one
process are monotonic. Nothing else in the project reads a clock, so a test can hold it still.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the project may know about time."""

    def wall(self) -> float:
        """Seconds since the epoch, for what is written down."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow, for lifetimes and deadlines within a process."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()


class FixedClock:
    """A clock that moves only when told to; both of its faces move together.

    *now* is where it starts, in seconds since the epoch.
    """

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """The same seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by *seconds*, which may be negative for a wall clock set back."""
        self._now += seconds
