"""Time, as something that can be handed in.

Persisted times are wall time and may lie (a machine without a battery, a test); lifetimes inside one
process are monotonic. Nothing else in the project reads a clock, so a test can hold it still.

The machine's wall clock is not believed from moment to moment either: one that jumps would make what was
learned a second ago look a year old, or like the future, and keep a grant alive that is over. So wall time
runs here on a clock that cannot be set, from where the wall clock stood at the start, and follows the wall
clock only once that has kept to one and the same time for a while.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

# A wall clock is followed once this many looks at it agree, this many seconds apart: about a minute.
# One that was set once (NTP's first answer, an operator) does that, one that jumps to and fro does not.
STEADY_LOOKS: Final = 7
LOOK_EVERY: Final = 10.0

# What two looks may differ by and still agree, in seconds: more than NTP slews in that time (500 ppm).
AGREEMENT: Final = 0.5


class Clock(Protocol):
    """What the rest of the project may know about time."""

    def wall(self) -> float:
        """Seconds since the epoch, for what is written down."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow, for lifetimes and deadlines within a process."""
        ...


def running_time() -> Callable[[], float]:
    """A clock in seconds that nobody can set, and that goes on while the machine sleeps if possible.

    Linux has CLOCK_BOOTTIME for it (clock_gettime(2)); macOS's monotonic clock goes on by itself.
    """
    number = getattr(time, "CLOCK_BOOTTIME", None)
    if number is not None:
        try:
            time.clock_gettime(number)
        except OSError:
            pass  # an old kernel, or a library that stands in between
        else:
            return lambda: time.clock_gettime(number)
    return time.monotonic


class SystemClock:
    """The machine's own clocks.

    *told* is the wall clock that anybody may set, *runs* one that nobody can.
    """

    def __init__(
        self, told: Callable[[], float] = time.time, runs: Callable[[], float] | None = None
    ) -> None:
        self._told = told
        self._runs = runs or running_time()
        self._offset = self._seen = told() - self._runs()
        self._looks = 1
        self._next_look = self._runs() + LOOK_EVERY
        self._following = threading.Lock()

    def wall(self) -> float:
        """Seconds since the epoch, by the wall clock as it was at the start or was last steady."""
        runs = self._runs()
        offset = self._told() - runs
        if abs(offset - self._seen) > AGREEMENT or runs >= self._next_look:
            with self._following:
                self._look(runs, offset)
        return runs + self._offset

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()

    def _look(self, runs: float, offset: float) -> None:
        if abs(offset - self._seen) > AGREEMENT:
            self._seen, self._looks = offset, 1
        elif runs >= self._next_look:
            self._looks += 1
        else:
            return  # another thread has looked
        self._next_look = runs + LOOK_EVERY
        if self._looks >= STEADY_LOOKS:
            self._offset, self._seen, self._looks = offset, offset, 1


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
