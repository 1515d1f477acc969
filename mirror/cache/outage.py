"""Outages: upstream is down until it is seen to be up again.

Without this every request in an outage would find out for itself, each at the price of a time-out. The
first failure opens an outage; while it lasts, what is here is answered at once. It ends by itself: a small
request is sent behind, first after a second, then ever more seldom, and the first answer of any kind that
is not an error of upstream's own closes the outage. Any other answer that gets through closes it too.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from mirror.cache.flights import Flights
from mirror.clock import Clock
from mirror.errors import MirrorError, UpstreamBusyError, UpstreamUnavailableError
from mirror.events import Alarm, Observer
from mirror.messages import UpstreamRequest
from mirror.upstream.contract import Asker

# A second is what a restarted upstream takes; half a minute is what an operator waits before looking.
FIRST_LOOK: Final = 1.0
LAST_LOOK: Final = 30.0

# What is asked to see whether upstream is up: every web server answers it, and no answer counts against
# a rate limit of files.
_LOOK: Final = UpstreamRequest("HEAD", "/")
_LOOK_BODY: Final = 64 << 10


@dataclass(slots=True)
class _Outage:
    """One hub's outage, since monotonic *began*; *sure* once a look of our own failed too."""

    began: float
    sure: bool = False


class Outages:
    """Which hubs' upstreams are down.

    *look* tells whether to find out behind when one is up again; without it (``--offline``) nothing is
    ever sent.
    """

    def __init__(self, upstream: Asker, clock: Clock, observe: Observer, *, look: bool) -> None:
        self._upstream = upstream
        self._clock = clock
        self._observe = observe
        self._look = look
        self._outages: dict[str, _Outage] = {}
        self._looking: Flights[str, None] = Flights()

    def down(self, hub: str) -> bool:
        """Whether the upstreams of *hub* are known to be down."""
        return hub in self._outages

    def sure(self, hub: str) -> bool:
        """Whether a look of our own has found them down: no caller can bring that about."""
        return hub in self._outages and self._outages[hub].sure

    def any_down(self) -> bool:
        """Whether any hub's upstreams are known to be down."""
        return bool(self._outages)

    def failed(self, hub: str, error: UpstreamUnavailableError) -> None:
        """Upstream could not be asked; the log hears of it once per outage."""
        if hub in self._outages:
            return
        self._outages[hub] = _Outage(self._clock.monotonic())
        self._observe(Alarm("upstream-down", f"{hub}: {error} Answering from what is here."))
        if self._look:
            self._looking.launch(hub, lambda: self._until_up(hub))

    def answered(self, hub: str) -> None:
        """Upstream answered: an outage of it is over."""
        outage = self._outages.pop(hub, None)
        if outage is not None:
            seconds = self._clock.monotonic() - outage.began
            self._observe(Alarm("upstream-up", f"{hub} answers again, after {seconds:.0f} s."))

    async def close(self) -> None:
        """Stop looking."""
        await self._looking.close()

    async def _until_up(self, hub: str) -> None:
        pause = FIRST_LOOK
        while hub in self._outages:
            await asyncio.sleep(pause)
            outage = self._outages.get(hub)
            if outage is not None:
                outage.sure = not await self._is_up(hub)
                if not outage.sure:
                    self.answered(hub)
            pause = min(2 * pause, LAST_LOOK)

    async def _is_up(self, hub: str) -> bool:
        try:
            await self._upstream.ask(hub, _LOOK, None, limit=_LOOK_BODY, follow_redirects=False)
        except UpstreamBusyError:
            return True  # It says when to come back, so it is there.
        except MirrorError:
            return False
        return True
