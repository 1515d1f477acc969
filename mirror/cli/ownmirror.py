"""A mirror of one's own, in a thread, for a verb that finds no server on its data folder."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

from mirror.config import Settings

Give: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Own:
    """A mirror that runs: *give* takes orders from any thread, *url* is where it serves (``""``: nowhere)."""

    give: Give
    url: str


@contextlib.contextmanager
def own_mirror(settings: Settings, *, doors: bool = False) -> Iterator[Own]:
    """Run a mirror of *settings* as long as the context lasts; without *doors* it serves nobody.

    Raises `MirrorError` when the data folder cannot be used.
    """
    from mirror.wiring import Mirror  # noqa: PLC0415 -- imports the whole server

    begun: Future[Own] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def live() -> None:
        try:
            async with Mirror(settings, doors=doors) as mirror:
                begun.set_result(Own(mirror.orders.carry_out, mirror.url))
                await stop.wait()
        except BaseException as error:
            if begun.done():
                raise
            begun.set_exception(error)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(live())

    thread = threading.Thread(target=run, name="mirror")
    thread.start()
    try:
        yield begun.result()
    finally:
        with contextlib.suppress(RuntimeError):  # It ended by itself: it could not begin.
            loop.call_soon_threadsafe(stop.set)
        thread.join()
