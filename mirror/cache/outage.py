"""Outages: upstream is down until it is seen to be up again.

Without this every request in an outage would find out for itself, each at the price of a time-out. The
first failure opens an outage; while it lasts, what is here is answered at once. A look of our own is sent at
once, a small request that no caller has a say in: any caller can think up a question that upstream fails at.
Once the look has failed too the outage is sure, and for what is not here upstream is not asked either. It
ends by itself: looks follow ever more seldom, and the first answer of any kind that is not an error of
upstream's own closes the outage. Any other answer that gets through closes it too.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from mirror.cache.flights import Flights
from mirror.clock import Clock
from mirror.errors import MirrorError, UpstreamBusyError, UpstreamUnavailableError
from mirror.events import Alarm, Observer
from mirror.messages import UpstreamRequest
from mirror.upstream.contract import Asker

# Seconds between looks: one is what a restarted upstream takes; half a minute is what an operator waits
# before looking. While callers are refused what is not here, it is never more than a few.
FIRST_LOOK: Final = 1.0
LAST_LOOK: Final = 30.0
ASKED_FOR: Final = 5.0

# An upstream that says when to come back is believed for so long at most, in seconds.
LONGEST: Final = 300.0

# What is asked to see whether upstream is up: every web server answers it, and no answer counts against
# a rate limit of files.
_LOOK: Final = UpstreamRequest("HEAD", "/")
_LOOK_BODY: Final = 64 << 10


@dataclass(slots=True, eq=False)
class _Outage:
    """One hub's outage, since monotonic *began*, for *why*; *sure* once a look of our own failed too.

    *looking* is done when the look under way is over; *wanted* is set when a caller was refused.
    """

    began: float
    why: UpstreamUnavailableError
    sure: bool = False
    looking: asyncio.Future[None] | None = None
    wanted: asyncio.Event = field(default_factory=asyncio.Event)


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
        self._looked: dict[str, float] = {}  # when the last look at a hub began
        self._looking: Flights[_Outage, None] = Flights()

    def down(self, hub: str) -> bool:
        """Whether the upstreams of *hub* are known to be down."""
        return hub in self._outages

    def sure(self, hub: str) -> bool:
        """Whether a look of our own has found them down: no caller can bring that about."""
        return hub in self._outages and self._outages[hub].sure

    async def refusing(self, hub: str) -> UpstreamUnavailableError | None:
        """Why what is not here is not asked for now; `None` when it is.

        Waits for the look that is under way, if the outage is not sure yet.
        """
        outage = self._outages.get(hub)
        if outage is not None and not outage.sure and outage.looking is not None:
            await asyncio.shield(outage.looking)
        if outage is None or not outage.sure or self._outages.get(hub) is not outage:
            return None
        outage.wanted.set()
        return outage.why

    def all_down(self) -> Sequence[str]:
        """The hubs whose upstreams are known to be down, by name."""
        return sorted(self._outages)

    def failed(self, hub: str, error: UpstreamUnavailableError) -> None:
        """Upstream could not be asked; the log hears of it once per outage."""
        if hub in self._outages:
            return
        outage = self._outages[hub] = _Outage(self._clock.monotonic(), error)
        self._observe(Alarm("upstream-down", f"{hub}: {error} Answering from what is here."))
        if self._look:
            if self._due(hub) <= 0:
                outage.looking = asyncio.get_running_loop().create_future()
            self._looking.launch(outage, lambda: self._until_up(hub, outage))

    def answered(self, hub: str) -> None:
        """Upstream answered: an outage of it is over."""
        outage = self._outages.pop(hub, None)
        if outage is not None:
            seconds = self._clock.monotonic() - outage.began
            self._observe(Alarm("upstream-up", f"{hub} answers again, after {seconds:.0f} s."))

    async def close(self) -> None:
        """Stop looking."""
        await self._looking.close()

    def _due(self, hub: str) -> float:
        """Seconds until a hub may be looked at again, however often it seems to fail."""
        last = self._looked.get(hub)
        return 0.0 if last is None else last + FIRST_LOOK - self._clock.monotonic()

    async def _until_up(self, hub: str, outage: _Outage) -> None:
        rest = FIRST_LOOK
        await asyncio.sleep(self._due(hub))
        while self._outages.get(hub) is outage:
            outage.wanted.clear()
            later = await self._look_at(hub, outage)
            if self._outages.get(hub) is not outage:
                return
            if not outage.sure:
                self.answered(hub)
                return
            await asyncio.sleep(max(later, min(rest, ASKED_FOR)))
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, rest - max(later, ASKED_FOR))):
                    await outage.wanted.wait()
            rest = min(2 * rest, LAST_LOOK)

    async def _look_at(self, hub: str, outage: _Outage) -> float:
        """Find out whether the outage is sure; returns how many seconds upstream asks to be left alone."""
        if outage.looking is None or outage.looking.done():
            outage.looking = asyncio.get_running_loop().create_future()
        self._looked[hub] = self._clock.monotonic()
        try:
            await self._upstream.ask(hub, _LOOK, None, limit=_LOOK_BODY, follow_redirects=False)
        except UpstreamBusyError:
            outage.sure = False  # It says when to come back, so it is there.
        except MirrorError as error:
            outage.sure = True
            return min(getattr(error, "retry_after", None) or 0.0, LONGEST)
        else:
            outage.sure = False
        finally:
            if not outage.looking.done():
                outage.looking.set_result(None)
        return 0.0
