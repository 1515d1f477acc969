"""A door on a free port with a scripted keeper behind it, on the event loop that a test names."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

from mirror.web.serve import Door
from tests.doubles.scripted_keeper import ScriptedKeeper

LOOPS = ("uvloop", "asyncio")

_T = TypeVar("_T")


def run(loop: str, main: Coroutine[Any, Any, _T]) -> _T:
    """Run *main* on the event loop called *loop*; what hangs fails after a minute."""
    make: Callable[[], asyncio.AbstractEventLoop] = (
        uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    )
    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(asyncio.wait_for(main, 60))


@asynccontextmanager
async def door(keeper: ScriptedKeeper, **settings: Any) -> AsyncIterator[str]:
    """Open a door and give its URL; afterwards no feed may be open."""
    settings = {"drain": 0.0, **settings}
    opened = Door(keeper, host="127.0.0.1", port=0, **settings)
    url = await opened.start()
    try:
        yield url
    finally:
        await opened.stop()
        assert keeper.open_feeds == 0, "a feed was left open"


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until *condition* holds; the test's own limit ends what never does."""
    while not condition():  # noqa: ASYNC110 -- what it waits for has no event
        await asyncio.sleep(0.001)
