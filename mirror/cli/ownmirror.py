"""A mirror without doors, for a verb that finds no server on its data folder."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, TypeAlias

from mirror.config import Settings

Give: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@contextlib.contextmanager
def own_mirror(settings: Settings) -> Iterator[Give]:
    """Run a mirror of *settings* that serves nobody, and give it orders from this thread.

    Raises `MirrorError` when the data folder cannot be used.
    """
    from mirror.upkeep.orders import Orders  # noqa: PLC0415 -- with the whole server
    from mirror.wiring import Mirror  # noqa: PLC0415 -- imports the whole server

    begun: Future[Orders] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def live() -> None:
        try:
            async with Mirror(settings, doors=False) as mirror:
                begun.set_result(mirror.orders)
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
        yield begun.result().carry_out
    finally:
        with contextlib.suppress(RuntimeError):  # It ended by itself: it could not begin.
            loop.call_soon_threadsafe(stop.set)
        thread.join()
