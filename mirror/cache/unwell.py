"""Whether the store takes files: what the mirror says of itself while it does not.

Files that cannot be stored are served through, and nobody notices but by the time it takes. So it has to
be said: an alarm once per spell, and ``degraded`` in the report until a while after the last one.
"""

from typing import Final

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import Alarm, Observer

# How long after the last file that could not be stored the mirror still calls itself degraded, in seconds.
UNWELL_FOR: Final = 60.0


class Unwell:
    """Remembers when a file could not be stored last."""

    def __init__(self, clock: Clock, observe: Observer) -> None:
        self._clock = clock
        self._observe = observe
        self._since: float | None = None

    def __bool__(self) -> bool:
        """Whether a file could not be stored a moment ago."""
        return self._since is not None and self._clock.monotonic() - self._since < UNWELL_FOR

    def cannot_store(self, error: StoreError) -> None:
        """Say so once per spell: every request of it would say the same."""
        if not self:
            self._observe(Alarm("serving-through", f"{error} Files go through without being kept."))
        self._since = self._clock.monotonic()
