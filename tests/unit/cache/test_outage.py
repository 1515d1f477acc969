"""Outages: sure after a look of our own, over by themselves, and no caller's doing."""

import asyncio

import pytest

from mirror.cache import outage
from mirror.cache.outage import Outages
from mirror.clock import SystemClock
from mirror.errors import UpstreamUnreachableError
from mirror.events import Alarm, Event
from tests.doubles.scripted_upstream import Scripted, ScriptedUpstream

HUB = "hub"
FAILED = UpstreamUnreachableError("upstream.example answered 503.")


class _Watched(Outages):
    """Outages whose alarms are kept; *over* is set at the first that tells of an end."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.alarms: list[str] = []
        self.over = asyncio.Event()
        super().__init__(upstream, SystemClock(), self._note, look=True)

    def _note(self, event: Event) -> None:
        assert isinstance(event, Alarm)
        self.alarms.append(event.kind)
        if event.kind == "upstream-up":
            self.over.set()


def test_outage_is_sure_after_one_look_and_refuses_from_then_on() -> None:
    """Whoever asks for what is not here waits for the look under way, and upstream sees that alone."""

    async def main() -> None:
        upstream = ScriptedUpstream()
        upstream.down = True
        outages = _Watched(upstream)
        assert await outages.refusing(HUB) is None
        outages.failed(HUB, FAILED)
        assert not outages.sure(HUB)
        refused = await asyncio.gather(*(outages.refusing(HUB) for _ in range(40)))
        assert refused == [FAILED] * 40
        assert outages.sure(HUB)
        assert [asked.request.method for asked in upstream.asked] == ["HEAD"]
        await outages.close()

    asyncio.run(main())


def test_outage_that_a_look_disproves_is_over_at_once() -> None:
    """Upstream fails at one caller's question and answers the look: nobody is refused."""

    async def main() -> None:
        outages = _Watched(ScriptedUpstream({"/": Scripted()}))
        outages.failed(HUB, FAILED)
        assert await outages.refusing(HUB) is None
        await asyncio.wait_for(outages.over.wait(), 10)
        assert outages.alarms == ["upstream-down", "upstream-up"]
        await outages.close()

    asyncio.run(main())


def test_outage_brought_about_over_and_over_costs_few_looks_and_holds_up_nobody() -> None:
    """A question that always fails causes one look per second, and others do not wait for it."""

    async def main() -> None:
        upstream = ScriptedUpstream({"/": Scripted()})
        outages = _Watched(upstream)
        outages.failed(HUB, FAILED)
        await asyncio.wait_for(outages.over.wait(), 10)
        for _ in range(20):
            outages.failed(HUB, FAILED)
            assert await asyncio.wait_for(outages.refusing(HUB), 10) is None
            outages.answered(HUB)
        assert len(upstream.asked) == 1
        await outages.close()

    asyncio.run(main())


def test_outage_ends_by_itself_and_sooner_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few failed looks the next would be an hour off: a refused caller brings it forward."""
    monkeypatch.setattr(outage, "FIRST_LOOK", 3600.0)
    monkeypatch.setattr(outage, "LAST_LOOK", 3600.0)
    monkeypatch.setattr(outage, "ASKED_FOR", 0.01)

    async def main() -> None:
        upstream = ScriptedUpstream({"/": Scripted()})
        upstream.down = True
        outages = _Watched(upstream)
        outages.failed(HUB, FAILED)
        assert await outages.refusing(HUB) is FAILED
        upstream.down = False
        await asyncio.wait_for(outages.over.wait(), 10)
        assert await outages.refusing(HUB) is None
        await outages.close()

    asyncio.run(main())


def test_outage_lets_upstream_say_when_to_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that is answered with Retry-After is not repeated before, whoever asks."""
    monkeypatch.setattr(outage, "FIRST_LOOK", 0.01)
    monkeypatch.setattr(outage, "ASKED_FOR", 0.01)

    async def main() -> None:
        busy = Scripted(503, headers=(("Retry-After", "3600"),))
        upstream = ScriptedUpstream({"/": busy})
        outages = _Watched(upstream)
        outages.failed(HUB, FAILED)
        for _ in range(20):
            await outages.refusing(HUB)
            await asyncio.sleep(0.01)
        assert len(upstream.asked) == 1
        await outages.close()

    asyncio.run(main())
