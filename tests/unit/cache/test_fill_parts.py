"""Fills that bring what is wanted first, over as many connections as help, and let readers go anywhere."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from mirror.cache import fill as fill_module
from mirror.cache import fillplan, fillwork
from mirror.cache.fillpace import REST, WATCH, Hosts, Pace
from mirror.cache.fillplan import Claim, Plan, Wish
from mirror.cache.fillwishes import wanted
from mirror.digest import sha256_of
from mirror.messages import Answer, BlobRef, RequestHead, Span, UpstreamRequest
from mirror.store.partials import Partial
from mirror.store.sums import PIECE
from tests.doubles.scripted_upstream import Scripted
from tests.unit.cache.filling import blob, read, world

SIZE = 12 * PIECE + 5
CONTENT = os.urandom(SIZE)
ETAG = (("ETag", '"strong"'),)
MIB = 1 << 20


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve pieces count as a large blob, and two as far."""
    monkeypatch.setattr(fillplan, "SMALL", PIECE)
    monkeypatch.setattr(fillplan, "NEAR", PIECE)
    monkeypatch.setattr(fillwork, "NEAR", PIECE)
    monkeypatch.setattr(fill_module, "LINGER", 0.05)


def test_plan_of_a_whole_blob_is_one_request() -> None:
    """Without wishes, or with near ones, everything is asked for at once."""
    plan = Plan(10 * fillplan.SMALL, (), None)
    plan.want(0, None, near=fillplan.NEAR)
    claim = plan.next(shared=False)
    assert claim is not None
    assert (claim.at, claim.end) == (0, plan.size)
    plan.want(5 * MIB, None, near=fillplan.NEAR)
    assert not plan.urgent()


def test_plan_lets_a_far_reader_jump_the_queue() -> None:
    """A transfer far away stops short of what a reader wants now; nobody asks for it twice."""
    plan = Plan(400 * MIB, (), None)
    first = plan.next(shared=False)
    assert first is not None
    plan.want(50 * MIB + 3, 50 * MIB + 9, near=fillplan.NEAR)
    assert first.end == 50 * MIB
    leap = plan.leap()
    assert leap is not None
    assert (leap.at, leap.end) == (50 * MIB, 51 * MIB)
    assert plan.leap() is None
    rest = plan.next(shared=False)
    assert rest is not None
    assert (rest.at, rest.end) == (51 * MIB, 400 * MIB)


def test_plan_of_a_small_blob_stays_one_get() -> None:
    """Readers of a far range in a blob of up to 256 MiB wait: leaping would ask bytes twice."""
    plan = Plan(fillplan.SMALL, (), Wish(100 * MIB, 101 * MIB))
    first = plan.next(shared=False)
    assert first is not None
    assert (first.at, first.end) == (0, fillplan.SMALL)
    plan.want(200 * MIB, 201 * MIB, near=fillplan.NEAR)
    assert first.end == fillplan.SMALL
    assert plan.leap() is None


def test_plan_reads_further_ahead_for_who_goes_on() -> None:
    """A reader without a known end gets one piece, then twice as many, up to eight."""
    plan = Plan(fillplan.SMALL * 4, (), Wish(0, 1))
    lengths = []
    at = 300 * MIB
    for _ in range(5):
        plan.want(at, None, near=fillplan.NEAR)
        claim = plan.leap()
        while claim is not None and claim.at < at:
            claim = plan.leap()
        assert claim is not None
        lengths.append((claim.end - claim.at) // MIB)
        at = claim.end
    assert lengths == [1, 2, 4, 8, 8]
    assert not plan.whole


def test_plan_becomes_whole_when_half_is_wanted() -> None:
    """Many parts that come to more than half of the blob are the blob."""
    plan = Plan(fillplan.SMALL * 4, (), Wish(0, fillplan.SMALL))
    assert not plan.whole
    plan.want(fillplan.SMALL, 2 * fillplan.SMALL + 1, near=0)
    assert plan.whole


def test_pace_adds_connections_while_they_help() -> None:
    """Doubled while the whole gets faster, kept when it does not, halved when upstream minds."""
    pace, now, got = Pace(0.0), 0.0, 0.0

    def watch(rate: float) -> int:
        nonlocal now, got
        now, got = now + WATCH, got + rate * WATCH
        pace.note(int(got), now)
        return pace.target

    assert [watch(30e6), watch(60e6), watch(120e6), watch(121e6)] == [2, 4, 8, 8]
    pace.shrink(now)
    assert pace.target == 4
    assert watch(400e6) == 4
    now += REST
    pace.note(int(got), now)
    assert Pace(0.0).target == 1


def test_pace_leaves_a_fast_connection_alone() -> None:
    """One connection at 300 MB/s stays one."""
    pace = Pace(0.0)
    for second in range(1, 5):
        pace.note(second * 300_000_000, float(second))
    assert pace.target == 1


def test_hosts_bound_what_all_fills_open() -> None:
    """No more than the limit, but always one for each fill."""
    hosts = Hosts(2)
    assert [hosts.take("a"), hosts.take("a"), hosts.take("a"), hosts.take("b")] == [
        True,
        True,
        False,
        True,
    ]
    assert hosts.take("a", anyway=True)
    hosts.give("a")
    hosts.give("a")
    assert hosts.take("a")


def test_wanted_maps_a_range_onto_blobs() -> None:
    """A closed or suffix range names its bytes; anything else means the whole."""
    one = BlobRef(sha256_of(b"1"), 100, UpstreamRequest("GET", "/1"), "h", "r")
    two = BlobRef(sha256_of(b"2"), 100, UpstreamRequest("GET", "/2"), "h", "r")
    answer = Answer(200, body=(b"12345", Span(one, 10, 60), Span(two, 0, 100)), ranges=True)

    def ask(text: str) -> object:
        head = RequestHead("GET", "/", "", {"range": text} if text else {}, None, "http://m")
        return wanted(answer, head)

    assert (
        ask("")
        == ask("bytes=7-")
        == ask("bytes=0-1,3-4")
        == ask("bytes=999-")
        == {
            one: None,
            two: None,
        }
    )
    assert ask("bytes=10-14") == {one: Wish(15, 20)}
    assert ask("bytes=50-59") == {one: Wish(55, 60), two: Wish(0, 5)}
    assert ask("bytes=-3") == {two: Wish(97, 100)}


@pytest.mark.usefixtures("large")
def test_fills_of_parts_ask_for_these_alone_and_end(tmp_path: Path) -> None:
    """A far closed range costs its piece; the fill then ends, keeping it; the next one goes on."""

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG, ranges=True)
            wanted = blob(CONTENT)
            at = 9 * PIECE + 7
            await here.fills.begin(wanted, None, Wish(at, at + 50))
            feed = await here.fills.follow(wanted, None)
            await feed.more(at, whole=False)
            assert feed.ready(at, whole=False) >= at + 50
            assert os.pread(feed.fileno(), 50, at) == CONTENT[at : at + 50]
            feed.close()
            await here.fills.settle()
            assert here.outcomes() == ["kept"]
            piece = f"bytes={9 * PIECE}-{10 * PIECE - 1}"
            assert [asked.range for asked in here.upstream.asked] == [piece]
            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT
            assert [asked.range for asked in here.upstream.asked[1:]] == [
                f"bytes=0-{9 * PIECE - 1}",
                f"bytes={10 * PIECE}-",
            ]

    asyncio.run(main())


@pytest.mark.usefixtures("large")
def test_fills_hear_a_wish_that_comes_right_before_they_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader finds nothing to fetch, somebody wants all, and only then would it wait: it looks again."""
    late, led, lead, catch_up = (
        threading.Event(),
        list[fillwork.Work](),
        fillwork.Work._lead,
        Partial.catch_up,
    )

    def leads(work: fillwork.Work) -> Claim | None:
        led.append(work)
        return lead(work)

    def catches_up(partial: Partial) -> bool:
        more = catch_up(partial)
        if not more and partial.held and not late.is_set():
            late.set()
            led[-1].want_all()
        return more

    monkeypatch.setattr(fillwork.Work, "_lead", leads)
    monkeypatch.setattr(Partial, "catch_up", catches_up)

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG, ranges=True)
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None, Wish(9 * PIECE, 9 * PIECE + 50))
            feed = await here.fills.follow(wanted, None)
            # It is followed, and never read: a reader's own wish would wake the leader later.
            await asyncio.wait_for(here.fills.settle(), 20)
            assert late.is_set()
            assert here.store.find(wanted.digest)
            feed.close()

    asyncio.run(main())


@pytest.mark.parametrize("shared", [False, True])
def test_fills_let_readers_go_at_every_moment(tmp_path: Path, *, shared: bool) -> None:
    """A reader cancelled at its k-th await, for every k, disturbs neither the fill nor the next."""
    small = CONTENT[: 2 * PIECE]

    async def main(k: int) -> bool:
        async with world(tmp_path / str(k)) as here:
            here.upstream.answers["/file"] = Scripted(200, small, ETAG, ranges=True)
            wanted = blob(small)

            async def reader() -> bytes:
                wish = Wish(PIECE, PIECE + 9) if shared else None
                await here.fills.begin(wanted, None, wish)
                return await read(await here.fills.follow(wanted, None))

            task = asyncio.create_task(reader())
            for _ in range(k):
                await asyncio.sleep(0)
            done = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await asyncio.wait_for(reader(), 20) == small
            await here.fills.settle()
            assert all(fill.readers == 0 for fill in here.fills.running())
            return done

    for k in (*range(12), 20, 40, 80):
        asyncio.run(main(k))


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("ranges", [True, False])
def test_fills_of_a_large_blob_ask_for_its_beginning_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ranges: bool
) -> None:
    """No answer has to be broken off to share the rest; who sends no parts is asked for all of it."""
    monkeypatch.setattr(fillplan, "FIRST", 3 * PIECE)

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG, ranges=ranges)
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT
            await here.fills.settle()
            assert here.outcomes() == ["stored"]
            asked = [question.range for question in here.upstream.asked]
            assert asked[0] == f"bytes=0-{3 * PIECE - 1}"
            if not ranges:
                assert asked[1:] == [""]
                return
            spans = []
            for text in asked:
                start, _, last = text.removeprefix("bytes=").partition("-")
                spans.append((int(start), int(last or SIZE - 1) + 1))
            spans.sort()
            assert [span[0] for span in spans[1:]] == [span[1] for span in spans[:-1]]
            assert spans[-1][1] == SIZE

    asyncio.run(main())


def test_pace_is_judged_after_some_round_trips() -> None:
    """Where answers come at once, so does the judgement; where they take long, it waits for them."""
    near, far = Pace(0.0), Pace(0.0)
    near.answered(0.001, 1.0)
    far.answered(0.2, 1.0)
    for pace in (near, far):
        pace.note(1_500_000, 1.06)
    assert (near.target, far.target) == (2, 1)
    far.note(12_000_000, 1.41)
    assert far.target == 2
    far.note(12_000_001, 1.42, anyway=True)
    assert far.target == 1  # Slower by far than with one.


def test_pace_adds_nothing_to_what_is_enough() -> None:
    """Where four connections bring 400 MB/s, there are no eight."""
    pace, now, got = Pace(0.0), 0.0, 0.0
    for rate in (100e6, 200e6, 401e6, 401e6):
        now, got = now + WATCH, got + rate * WATCH
        pace.note(int(got), now)
    assert pace.target == 4
