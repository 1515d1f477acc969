"""Single-flight: many ask, one goes.

The work belongs to the flights, not to the caller who happened to come first: a caller that hangs up
leaves it running, and each caller's own cancellation is its own. This module and the fills own every
task below the door.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Flights(Generic[K, T]):
    """Tasks under way, each under the key its callers share."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def launch(
        self, key: K, start: Callable[[], Coroutine[Any, Any, T]]
    ) -> tuple[asyncio.Task[T], bool]:
        """Return the flight under *key*, starting it if there is none, and whether it was joined.

        Waiting on the task must be shielded; a flight nobody waits for still ends on its own, and its
        failure is then nobody's.
        """
        task = self._tasks.get(key)
        # A task that has ended but not yet landed takes nobody more on board.
        if task is not None and not task.done():
            return task, True
        task = asyncio.create_task(start())
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._land(key, done))
        return task, False

    async def join(self, key: K, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for the flight under *key*, starting it if there is none; raises what it raised."""
        task, _ = self.launch(key, start)
        return await asyncio.shield(task)

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancel what is under way and wait until it is gone."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _land(self, key: K, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # Marks it as retrieved: every waiter may have left.
