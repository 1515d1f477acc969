"""Fills in a process that has no memory left: each ends, and tells whoever waits."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirror.cache import fill as fill_module
from mirror.cache import fillplan, fillwork
from mirror.cache.fill import Fill
from mirror.errors import StoreError
from mirror.store.partial import Partial
from mirror.store.partials import Partials
from mirror.store.sums import PIECE
from mirror.upstream.contract import TransferHead
from tests.doubles.scripted_upstream import Scripted
from tests.unit.cache.filling import Leaving, World, blob, read, world

CONTENT = os.urandom(200_000)
ETAG = (("ETag", '"strong"'),)
PATIENCE = 20


def _no_memory(*_: object, **__: object) -> Any:
    raise MemoryError


def _no_thread(_: threading.Thread) -> None:
    msg = "can't start new thread"
    raise RuntimeError(msg)


async def _ends(here: World, content: bytes) -> None:
    """Eight callers of a fill that cannot be hear of it, and none is under way afterwards."""
    wanted = blob(content)

    async def one() -> bytes:
        await here.fills.begin(wanted, None)
        return await read(await here.fills.follow(wanted, None))

    outcomes = await asyncio.wait_for(
        asyncio.gather(*(one() for _ in range(8)), return_exceptions=True), PATIENCE
    )
    assert all(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
    await asyncio.wait_for(here.fills.settle(), PATIENCE)


async def _fetches(here: World, content: bytes) -> None:
    """The blob comes, as if nothing had been."""
    await asyncio.wait_for(here.fills.begin(blob(content), None), PATIENCE)
    assert await read(await here.fills.follow(blob(content), None)) == content
    await asyncio.wait_for(here.fills.settle(), PATIENCE)


def _at_the_first_byte(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partial, "write", _no_memory)


def _before_anything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partials, "begin", _no_memory)


def _and_while_it_is_seen_to(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partial, "write", _no_memory)
    patch.setattr(fill_module._LOG, "exception", _no_memory)


def _for_a_thread(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(threading.Thread, "start", _no_thread)


@pytest.mark.parametrize(
    "runs_out",
    [_before_anything, _at_the_first_byte, _and_while_it_is_seen_to, _for_a_thread],
)
def test_fills_end_when_memory_runs_out(
    tmp_path: Path, runs_out: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Wherever it runs out, everybody is told, nothing hangs, and the next fill is right."""

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG, ranges=True)
            with pytest.MonkeyPatch.context() as patch:
                runs_out(patch)
                await _ends(here, CONTENT)
            await _fetches(here, CONTENT)

    asyncio.run(main())


@pytest.mark.parametrize("ending", ["fail", "_finish"])
def test_fills_tell_an_ending_that_was_lost_again(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ending that failed on the event loop comes to it once more."""
    monkeypatch.setattr(fill_module, "RETELL", 0.05)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with world(tmp_path) as here:
            whole = Scripted(200, CONTENT, ETAG, ranges=True)
            with pytest.MonkeyPatch.context() as patch:
                if ending == "fail":
                    patch.setattr(Partial, "write", _no_memory)
                here.upstream.answers["/file"] = whole
                real, lost = getattr(Fill, ending), list[None]()

                def once(fill: Fill, *told: object) -> None:
                    if not lost:
                        lost.append(None)
                        raise MemoryError
                    real(fill, *told)

                patch.setattr(Fill, ending, once)
                await (_ends if ending == "fail" else _fetches)(here, CONTENT)
                assert lost
            await _fetches(here, CONTENT)

    asyncio.run(main())


def test_fills_survive_that_a_blob_cannot_be_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its readers have it; that there is no memory to store it keeps nobody waiting."""

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG, ranges=True)
            with monkeypatch.context() as patch:
                patch.setattr(type(here.store), "put", _no_memory)
                await _fetches(here, CONTENT)
            await _fetches(here, CONTENT)

    asyncio.run(main())


def test_fills_go_on_over_one_connection_when_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who jumps the queue then waits for the first connection, and gets its bytes."""
    content = os.urandom(6 * PIECE + 5)
    for module, name in ((fillplan, "SMALL"), (fillplan, "NEAR"), (fillwork, "NEAR")):
        monkeypatch.setattr(module, name, PIECE)
    real_start, refused = threading.Thread.start, threading.Event()

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("lane"):
            refused.set()
            _no_thread(thread)
        real_start(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    go_on = threading.Event()

    class Slow(Leaving):
        def fetch(self, *asked: Any, **more: Any) -> TransferHead:
            sink = more.pop("sink")

            def held(chunk: memoryview) -> None:
                sink(chunk)
                go_on.wait(PATIENCE)

            return super().fetch(*asked, sink=held, **more)

    async def main() -> None:
        async with world(tmp_path, upstream=Slow()) as here:
            here.upstream.answers["/file"] = Scripted(200, content, ETAG, ranges=True)
            await here.fills.begin(blob(content), None)
            feed = await here.fills.follow(blob(content), None)
            far = asyncio.create_task(feed.more(4 * PIECE, whole=False))
            assert await asyncio.to_thread(refused.wait, PATIENCE)
            go_on.set()
            await asyncio.wait_for(far, PATIENCE)
            assert await asyncio.wait_for(read(feed), PATIENCE) == content
            await here.fills.settle()
            assert here.outcomes() == ["stored"]

    asyncio.run(main())
