"""Single-flight: many ask, one goes, and nobody's leaving is anybody else's trouble."""

import asyncio
import gc

import pytest

from mirror.cache.flights import Flights


def test_flights_carry_everybody_who_asks_meanwhile() -> None:
    """Ten callers of one key cause one run and get the same answer."""

    async def main() -> tuple[int, list[str]]:
        flights: Flights[str, str] = Flights()
        gate, runs = asyncio.Event(), 0

        async def work() -> str:
            nonlocal runs
            runs += 1
            await gate.wait()
            return "done"

        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(flights.join("key", work)) for _ in range(10)]
            await asyncio.sleep(0)
            gate.set()
        return runs, [caller.result() for caller in callers]

    runs, answers = asyncio.run(main())

    assert (runs, answers) == (1, ["done"] * 10)


def test_flights_go_on_when_their_first_caller_leaves() -> None:
    """The first caller is cancelled; the second still gets the answer of the same run."""

    async def main() -> str:
        flights: Flights[str, str] = Flights()
        gate = asyncio.Event()

        async def work() -> str:
            await gate.wait()
            return "done"

        async with asyncio.TaskGroup() as group:
            first = group.create_task(flights.join("key", work))
            second = group.create_task(flights.join("key", work))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
            gate.set()
        assert first.cancelled()
        return second.result()

    assert asyncio.run(main()) == "done"


def test_flights_let_a_follower_be_cancelled_at_once() -> None:
    """A follower's own cancellation reaches it while the flight is still under way."""

    async def main() -> None:
        flights: Flights[str, None] = Flights()
        gate = asyncio.Event()

        async def work() -> None:
            await gate.wait()

        task, joined = flights.launch("key", work)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flights.join("key", work), 0.01)
        assert not joined
        assert not task.done()
        await flights.close()
        assert task.cancelled()

    asyncio.run(main())


def test_flights_keep_an_unheard_failure_to_themselves() -> None:
    """A flight that fails after everybody left reports nothing to the event loop's handler."""
    heard: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        flights: Flights[str, None] = Flights()

        async def work() -> None:
            raise ValueError

        task, _ = flights.launch("key", work)
        await asyncio.wait({task})
        await asyncio.sleep(0)
        assert len(flights) == 0
        del task
        gc.collect()

    asyncio.run(main())

    assert heard == []


def test_flights_take_nobody_on_board_after_the_end() -> None:
    """A flight that has ended but not landed yet is not joined: the next caller starts anew."""

    async def main() -> list[int]:
        flights: Flights[str, int] = Flights()
        runs: list[int] = []

        async def work() -> int:
            runs.append(len(runs))
            return len(runs)

        task, _ = flights.launch("key", work)
        # Runs before the flights' own callback, which was added later than this one is called.
        again: list[bool] = []
        asyncio.get_running_loop().call_soon(
            lambda: again.append(flights.launch("key", work)[1]) if task.done() else None
        )
        await asyncio.shield(task)
        await flights.join("key", work)
        return runs

    assert len(asyncio.run(main())) >= 2
