"""A fill under readers that come and go at any moment: whoever stays gets every byte, and nothing leaks.

Cancellation is exact: a reader is cancelled at its k-th await, whichever that is.
"""

import asyncio
import random
import tempfile
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from pathlib import Path
from types import coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.cache.feed import WITHHELD
from mirror.digest import sha256_of
from mirror.errors import MirrorError
from tests.doubles.scripted_upstream import CHUNK, Scripted
from tests.unit.cache.filling import World, blob, read, world

CONTENT = random.Random(20).randbytes(WITHHELD + 300 * CHUNK + 5)
ETAG = (("ETag", '"strong"'),)


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader: how many turns of the loop it comes late, and at which await it is cancelled."""

    late: int
    cancelled: int | None
    whole: bool


readers = st.builds(
    Reader,
    late=st.integers(0, 30),
    cancelled=st.none() | st.integers(1, 12),
    whole=st.booleans(),
)


@coroutine
def cancelled_at(work: Coroutine[Any, Any, bytes], step: int | None) -> Generator[Any, Any, bytes]:
    """Run *work*, throwing a cancellation into its await number *step*."""
    done = 0
    try:
        waiting = work.send(None)
        while True:
            done += 1
            if done == step:
                if waiting is not None:
                    waiting._asyncio_future_blocking = False
                waiting = work.throw(asyncio.CancelledError())
                continue
            yield waiting
            waiting = work.send(None)
    except StopIteration as end:
        result: bytes = end.value
        return result


async def _one(here: World, reader: Reader) -> bytes | None:
    """What a reader gets: all of it, or `None` when it was cancelled."""
    wanted = blob(CONTENT)
    for _ in range(reader.late):
        await asyncio.sleep(0)

    async def work() -> bytes:
        await here.fills.begin(wanted, None)
        return await read(await here.fills.follow(wanted, None), whole=reader.whole)

    try:
        return await cancelled_at(work(), reader.cancelled)
    except asyncio.CancelledError:
        return None


async def _all(here: World, group: list[Reader]) -> list[bytes | BaseException | None]:
    async with asyncio.timeout(20):
        results = await asyncio.gather(
            *(_one(here, reader) for reader in group), return_exceptions=True
        )
        await here.fills.settle()
    assert not here.fills.running()
    assert not any(feeds for feeds in _open_files("/partial/"))
    return results


def _open_files(what: str) -> list[str]:
    found = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            target = str(path.readlink())
        except FileNotFoundError:
            continue
        if what in target:
            found.append(target)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
@given(group=st.lists(readers, min_size=1, max_size=12), cut=st.none() | st.integers(1, 300))
@settings(max_examples=120, deadline=None)
def test_readers_that_stay_get_every_byte(group: list[Reader], cut: int | None) -> None:
    """Whoever is cancelled, at whichever await, and wherever upstream breaks once: the others are served."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with world(Path(folder)) as here:
                whole = Scripted(200, CONTENT, ETAG, ranges=True)
                here.upstream.healed = whole
                here.upstream.answers["/file"] = (
                    whole
                    if cut is None
                    else Scripted(200, CONTENT, ETAG, cut=cut * CHUNK, ranges=True)
                )

                results = await _all(here, group)

                for reader, got in zip(group, results, strict=True):
                    if reader.cancelled is None:
                        assert got == CONTENT
                    else:
                        assert got in (None, CONTENT)
                if any(reader.cancelled is None for reader in group):
                    assert here.store.find(sha256_of(CONTENT)) is not None

    asyncio.run(main())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
@given(group=st.lists(readers, min_size=1, max_size=8), place=st.integers(0, len(CONTENT) - 1))
@settings(max_examples=60, deadline=None)
def test_readers_of_wrong_bytes_never_get_the_end(group: list[Reader], place: int) -> None:
    """One flipped byte, whoever comes and goes: no promise of the end is kept, nothing is stored."""
    wrong = bytearray(CONTENT)
    wrong[place] ^= 1

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with world(Path(folder)) as here:
                here.upstream.answers["/file"] = Scripted(200, bytes(wrong), ETAG)

                results = await _all(here, group)

                for reader, got in zip(group, results, strict=True):
                    if reader.whole:
                        assert got is None or isinstance(got, MirrorError)
                assert here.store.find(sha256_of(CONTENT)) is None
                assert here.store.find(sha256_of(bytes(wrong))) is None

    asyncio.run(main())
