"""What every keeper promises the door, whatever it keeps: one suite for the real one and the double."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from mirror.cache.asking import Asking
from mirror.cache.bodies import Bodies
from mirror.cache.facts import Lifetimes
from mirror.cache.fills import Fills
from mirror.cache.keeper import Feed, Keeper
from mirror.cache.learning import Learning
from mirror.cache.local import LocalKeeper
from mirror.cache.making import Making
from mirror.cache.mending import Mending
from mirror.cache.outage import Outages
from mirror.cache.pullthrough import PullThrough
from mirror.cache.unwell import Unwell
from mirror.clock import SystemClock
from mirror.errors import DigestMismatchError, MirrorError
from mirror.index.arrears import Arrears
from mirror.index.journal import Journal
from mirror.index.memo import Memo
from mirror.index.records import Records
from mirror.messages import Answer, BlobRef, RequestHead, Span
from mirror.store import durable
from mirror.store.blobs import DiskStore
from mirror.store.draft import Draft
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partials
from tests.doubles.memory_index import MemoryIndex
from tests.doubles.plain_hub import PlainHub
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper
from tests.doubles.scripted_upstream import Scripted, ScriptedUpstream

GOOD = os.urandom(300_000)
BAD = os.urandom(300_000)
REPORTED = {"version", "state", "uptime", "upstreams", "store", "fills", "repos"}

Make: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Keeper]]


@asynccontextmanager
async def local(folder: Path) -> AsyncIterator[Keeper]:
    """The keeper that serves, over a scripted upstream: /good comes right, /bad comes wrong."""
    layout = Layout(folder / "data")
    layout.prepare()
    ledger = Ledger(None, 0, 0, layout.free)
    store, clock, index = DiskStore(layout, ledger), SystemClock(), MemoryIndex()

    def write(path: Path, data: bytes) -> None:
        durable.write(layout.temporary(), path, data)

    journal = Journal.open(layout.journal, write, durable.sync_file)
    memo = Memo.open(layout.memo)
    wrong = bytes([BAD[0] ^ 1]) + BAD[1:]
    upstream = ScriptedUpstream(
        {"/good": Scripted(200, GOOD), "/bad": Scripted(200, wrong)}, clock=clock
    )
    partials = Partials(layout, ledger, residency=store.residency)
    with ThreadPoolExecutor(4) as workers, ThreadPoolExecutor(4) as disk:
        fills = Fills(
            store=store,
            partials=partials,
            catalog=index,
            journal=journal,
            fetcher=upstream,
            clock=clock,
            observe=lambda _: None,
            workers=workers,
            disk=disk,
            strict=False,
        )
        learning = Learning(
            catalog=index,
            memo=memo,
            arrears=Arrears(index, journal, Records(layout.records, write)),
        )
        outages = Outages(upstream, clock, lambda _: None, look=False)
        asking = Asking(upstream=upstream, catalog=index, learning=learning, clock=clock, limits={})
        unwell = Unwell(clock, lambda _: None)
        bodies = Bodies(
            fills=fills,
            upstream=upstream,
            outages=outages,
            asking=asking,
            making=Making(
                fills=fills,
                upstream=upstream,
                drafts=lambda: Draft(layout, ledger),
                partials=partials,
                transforms={},
                disk=disk,
                observe=lambda _: None,
            ),
            unwell=unwell,
            offline=False,
        )
        mending = Mending(fills=fills, upstream=upstream, disk=disk, unwell=unwell, offline=False)
        pull = PullThrough(
            hubs=[PlainHub({"/good": GOOD, "/bad": BAD})],
            asking=asking,
            bodies=bodies,
            catalog=index,
            memo=memo,
            lifetimes=Lifetimes({}, 300.0, 300.0),
            clock=clock,
            secret=b"s" * 32,
            offline=False,
            outages=outages,
            granted=lambda _: False,
        )
        about = {"version": "0", "upstreams": {"plain": ["https://x"]}, "offline": False}
        about["cache_folder"] = str(folder)
        yield LocalKeeper(
            pull,
            fills,
            index,
            clock,
            outages=outages,
            mending=mending,
            unwell=unwell,
            room=dict,
            readable=layout.readable,
            about=about,
        )
        await pull.close()
        await mending.close()
        await fills.close()
    store.close()
    memo.close()
    journal.close()


@asynccontextmanager
async def scripted(folder: Path) -> AsyncIterator[Keeper]:
    """The double that tests of the door use, told to behave like the real one."""
    keeper = ScriptedKeeper()
    good = ScriptedBlob(folder, GOOD, here=0)
    bad = ScriptedBlob(folder, BAD, here=0)
    keeper.serve("/good", good)
    keeper.serve("/bad", bad)

    async def arrive() -> None:
        for to in (1000, len(GOOD)):
            await asyncio.sleep(0)
            good.grow(to)
            bad.grow(to)
        good.verify()
        bad.fail(DigestMismatchError("other bytes", expected=bad.digest, got=good.digest))

    async with asyncio.TaskGroup() as group:
        group.create_task(arrive())
        yield keeper


@pytest.fixture(params=[local, scripted])
def make(request: pytest.FixtureRequest) -> Make:
    """Each keeper in turn."""
    maker: Make = request.param
    return maker


def _run(make: Make, folder: Path, check: Callable[[Keeper], Awaitable[None]]) -> None:
    async def main() -> None:
        async with make(folder) as keeper:
            await check(keeper)

    asyncio.run(main())


def _head(path: str, method: str = "GET") -> RequestHead:
    return RequestHead(method, path, "", {}, None, "http://mirror")


async def _blob(keeper: Keeper, path: str) -> BlobRef:
    answer = await keeper.ask(_head(path), b"")
    assert isinstance(answer, Answer)
    (span,) = answer.body
    assert isinstance(span, Span)
    return span.blob


async def _read(feed: Feed, *, whole: bool) -> bytes:
    data = b""
    while len(data) < feed.size:
        end = feed.ready(len(data), whole=whole)
        assert len(data) <= end <= feed.size
        if end == len(data):
            await feed.more(len(data), whole=whole)
            assert feed.ready(len(data), whole=whole) > len(data)
            continue
        data += os.pread(feed.fileno(), end - len(data), len(data))
    return data


async def _follow_and_read(keeper: Keeper, blob: BlobRef) -> bytes:
    feed = await keeper.follow(blob, None)
    try:
        return await _read(feed, whole=True)
    finally:
        feed.close()


def test_keeper_answers_with_spans_that_can_be_read(make: Make, tmp_path: Path) -> None:
    """What an answer names can be followed to exactly those bytes, by as many as want."""

    async def check(keeper: Keeper) -> None:
        blob = await _blob(keeper, "/good")
        assert blob.size == len(GOOD)
        feeds = [await keeper.follow(blob, None) for _ in range(5)]
        for number, feed in enumerate(feeds):
            assert await _read(feed, whole=bool(number % 2)) == GOOD
            feed.close()
        keeper.touch(blob.digest)

    _run(make, tmp_path, check)


def test_keeper_never_gives_the_end_of_wrong_bytes_out(make: Make, tmp_path: Path) -> None:
    """A reader that needs the end of a blob whose digest is wrong gets an error instead of it."""

    async def check(keeper: Keeper) -> None:
        blob = await _blob(keeper, "/bad")
        with pytest.raises(MirrorError):
            await _follow_and_read(keeper, blob)

    _run(make, tmp_path, check)


def test_keeper_feeds_close_twice(make: Make, tmp_path: Path) -> None:
    """Closing a feed again does nothing, and leaves the other readers theirs."""

    async def check(keeper: Keeper) -> None:
        blob = await _blob(keeper, "/good")
        first, second = await keeper.follow(blob, None), await keeper.follow(blob, None)
        first.close()
        first.close()
        assert await _read(second, whole=True) == GOOD
        second.close()
        second.close()

    _run(make, tmp_path, check)


def test_keeper_lets_a_waiting_reader_go(make: Make, tmp_path: Path) -> None:
    """A reader cancelled while it waits leaves nothing behind that disturbs the next."""

    async def check(keeper: Keeper) -> None:
        blob = await _blob(keeper, "/good")
        feed = await keeper.follow(blob, None)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_read(feed, whole=True))
            await asyncio.sleep(0)
            waiting.cancel()
        feed.close()
        again = await keeper.follow(blob, None)
        assert await _read(again, whole=True) == GOOD
        again.close()

    _run(make, tmp_path, check)


def test_keeper_refuses_what_it_does_not_know(make: Make, tmp_path: Path) -> None:
    """A path that means nothing is an error or a refusal, never an empty success."""

    async def check(keeper: Keeper) -> None:
        with suppress(MirrorError):
            answer = await keeper.ask(_head("/unknown"), b"")
            assert answer.status >= 400

    _run(make, tmp_path, check)


def test_keeper_reports_what_people_and_probes_need(make: Make, tmp_path: Path) -> None:
    """The report is JSON and has every part that status and home page read."""

    async def check(keeper: Keeper) -> None:
        report = json.loads(json.dumps(keeper.report()))
        assert set(report) >= REPORTED
        assert {"blobs", "bytes"} <= set(report["store"])

    _run(make, tmp_path, check)
