"""A reader whose blob cannot be stored: from upstream through a window, checked, in flat memory."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from mirror.cache.feed import WITHHELD
from mirror.cache.flights import Flights
from mirror.cache.passing import AHEAD, BEHIND, PassingFeed
from mirror.digest import Hasher, sha256_of
from mirror.errors import (
    DigestMismatchError,
    StoreError,
    TruncatedBodyError,
    UpstreamRefusedError,
)
from mirror.messages import BlobRef, UpstreamRequest
from mirror.upstream.contract import Stream
from tests.doubles.scripted_upstream import Scripted, ScriptedUpstream

CONTENT = random.Random(3).randbytes(300_000)


class Scene:
    """One blob at a scripted upstream, and feeds of it."""

    def __init__(self, content: bytes = CONTENT, *, sent: bytes | None = None, **how: int) -> None:
        body = content if sent is None else sent
        cut = how.get("cut")
        self.upstream = ScriptedUpstream({"/file": Scripted(200, body, ranges=True, cut=cut)})
        self.flights: Flights[object, None] = Flights()
        source = UpstreamRequest("GET", "/file")
        self.content = content
        self.blob = BlobRef(sha256_of(content), len(content), source, "plain", "a/b")

    def feed(self, *, known: bool = True) -> PassingFeed:
        """A feed; with *known* what was sent before can be hashed here."""

        def open_at(offset: int) -> AbstractAsyncContextManager[Stream]:
            source = self.blob.source
            if offset:
                source = replace(
                    source, headers=(("Range", f"bytes={offset}-{self.blob.size - 1}"),)
                )
            return self.upstream.stream("plain", source, None)

        async def prefix(hasher: Hasher, end: int) -> bool:
            hasher.update(self.content[:end])
            return known

        return PassingFeed(self.blob, open_at, prefix, self.flights)

    def ranges(self) -> list[str]:
        """The ranges that upstream was asked for."""
        return [dict(one.request.headers).get("Range", "") for one in self.upstream.asked]


async def read(feed: PassingFeed, start: int, end: int, *, whole: bool) -> bytes:
    """Read as a pump does: what is ready at once, otherwise after a wait."""
    got = b""
    while (offset := start + len(got)) < end:
        limit = min(end, feed.ready(offset, whole=whole))
        if limit <= offset:
            await feed.more(offset, whole=whole)
            continue
        got += os.pread(feed.fileno(), limit - offset, offset)
    return got


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run one scene to its end."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(bounded())


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("start", [0, 1, 123_456, len(CONTENT) - 10])
def test_passing_goes_on_from_any_byte(start: int, *, known: bool) -> None:
    """The rest comes whole, asked for from where the reader is if what came before is known here."""

    async def work() -> None:
        scene = Scene()
        feed = scene.feed(known=known)
        assert await read(feed, start, len(CONTENT), whole=True) == CONTENT[start:]
        assert scene.ranges() == [f"bytes={start}-{len(CONTENT) - 1}" if known and start else ""]
        feed.close()

    run(work)


def test_passing_withholds_the_end_of_wrong_bytes() -> None:
    """One flipped byte: the reader never gets the last bytes of a response that promised them."""

    async def work() -> None:
        wrong = bytearray(CONTENT)
        wrong[200_000] ^= 1
        scene = Scene(sent=bytes(wrong))
        feed = scene.feed()
        got = await read(feed, 100_000, len(CONTENT) - WITHHELD, whole=True)
        assert len(got) == len(CONTENT) - WITHHELD - 100_000
        with pytest.raises(DigestMismatchError):
            await feed.more(len(CONTENT) - WITHHELD, whole=True)
        feed.close()

    run(work)


def test_passing_tells_a_body_that_breaks_off() -> None:
    """Upstream's own break is an error, never a short end."""

    async def work() -> None:
        feed = Scene(cut=150_000).feed()
        with pytest.raises(TruncatedBodyError):
            await read(feed, 0, len(CONTENT), whole=True)
        feed.close()

    run(work)


def test_passing_refuses_another_file() -> None:
    """An upstream that ignores the range, or has a file of another size, is not believed."""

    async def work() -> None:
        scene = Scene(sent=CONTENT + b"more")
        for start in (0, 7):
            feed = scene.feed()
            with pytest.raises(UpstreamRefusedError):
                await feed.more(start, whole=False)
            feed.close()

    run(work)


def test_passing_asks_again_for_a_far_range() -> None:
    """Ranges here and there cost a request each, not the bytes between them."""

    async def work() -> None:
        content = random.Random(4).randbytes(20 << 20)
        scene = Scene(content)
        feed = scene.feed()
        assert await read(feed, 5, 9, whole=False) == content[5:9]
        assert await read(feed, 19 << 20, (19 << 20) + 4, whole=False) == content[19 << 20 :][:4]
        assert await read(feed, 100, 104, whole=False) == content[100:104]
        assert len(scene.ranges()) == 3
        feed.close()

    run(work)


def test_passing_keeps_memory_flat() -> None:
    """However long the blob, only a window of it is held: a slow reader holds upstream back."""

    async def work() -> None:
        content = random.Random(5).randbytes(16 << 20)
        feed = Scene(content).feed()
        held = 0
        for start in range(0, len(content), 256 << 10):
            piece = await read(feed, start, start + (256 << 10), whole=True)
            assert piece == content[start : start + (256 << 10)]
            held = max(held, os.fstat(feed.fileno()).st_blocks * 512)
        assert held <= AHEAD + BEHIND + (1 << 20)
        feed.close()

    run(work)


def test_passing_hangs_up_when_its_reader_is_gone() -> None:
    """A closed feed leaves no task and no connection."""

    async def work() -> None:
        scene = Scene(random.Random(6).randbytes(8 << 20))
        feed = scene.feed()
        await feed.more(0, whole=True)
        feed.close()
        await scene.flights.close()
        assert len(scene.flights) == 0

    run(work)


def test_whatever_goes_wrong_ends_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody thought of is told to who waits; it never leaves them waiting."""
    scene = Scene()

    async def fault(_: PassingFeed) -> None:
        raise ValueError("the partial is closed")

    monkeypatch.setattr(PassingFeed, "_pass", fault)

    async def work() -> None:
        feed = scene.feed()
        with pytest.raises(StoreError, match="ValueError"):
            await feed.more(0, whole=True)
        feed.close()

    run(work)
