"""Fills that survive: few tries for everybody together, no byte twice without need, never a mix."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mirror.cache.filltries import FIRST_PAUSE, MAX_HELD, MAX_RETRIES, Tries
from mirror.errors import (
    MirrorError,
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.upstream.contract import TransferHead
from mirror.upstream.failures import RestartNeededError, StorageRefusedError
from tests.doubles.scripted_upstream import Scripted
from tests.unit.cache.filling import Leaving, blob, read, world

CONTENT = os.urandom(200_000)
ETAG = (("ETag", '"strong"'),)
CUT = TruncatedBodyError("cut", expected=2, got=1)
REFUSED = UpstreamUnreachableError("nobody listens")
BROKEN = UpstreamUnreachableError("it broke", passing=True)


def steady() -> float:
    """No jitter."""
    return 0.5


def test_tries_are_repeated_three_times_with_growing_pauses() -> None:
    """The fourth failure ends the fill; the pauses before double, within a half of jitter."""
    tries = Tries(steady)
    assert tries.pause(CUT, begun=True) == FIRST_PAUSE
    assert tries.pause(REFUSED, begun=True) == 2 * FIRST_PAUSE
    assert tries.pause(CUT, begun=True) == 4 * FIRST_PAUSE
    with pytest.raises(TruncatedBodyError):
        tries.pause(CUT, begun=True)
    assert tries.failed == MAX_RETRIES + 1
    pauses = {Tries().pause(CUT, begun=True) for _ in range(50)}
    assert len(pauses) > 1
    assert all(FIRST_PAUSE / 2 <= pause < FIRST_PAUSE * 1.5 for pause in pauses)


def test_tries_tell_an_outage_at_once() -> None:
    """Before anything came, what a second look cannot mend is told; what broke gets one more try."""
    with pytest.raises(UpstreamUnreachableError):
        Tries(steady).pause(REFUSED, begun=False)
    tries = Tries(steady)
    assert tries.pause(BROKEN, begun=False) == FIRST_PAUSE
    with pytest.raises(UpstreamUnreachableError):
        tries.pause(BROKEN, begun=False)
    with pytest.raises(UpstreamUnavailableError):
        Tries(steady).pause(UpstreamUnavailableError("a login page"), begun=True)


@pytest.mark.parametrize(
    "error",
    [
        UpstreamBusyError("busy", retry_after=3.0),
        UpstreamUnreachableError("503", passing=True, retry_after=3.0),
    ],
)
def test_tries_come_back_when_upstream_said(error: MirrorError) -> None:
    """Retry-After is waited for, and never together longer than readers wait."""
    tries = Tries(steady)
    assert tries.pause(error, begun=True) == 3.0
    assert tries.pause(error, begun=True) == 3.0
    late = UpstreamBusyError("busy", retry_after=MAX_HELD + 1)
    with pytest.raises(UpstreamBusyError):
        Tries(steady).pause(late, begun=False)
    with pytest.raises(UpstreamBusyError):
        Tries(steady).pause(UpstreamBusyError("busy", retry_after=None), begun=False)


def test_tries_do_not_wait_to_ask_in_another_way() -> None:
    """A source that only has no ranges is asked again at once; a refused signed URL soon."""
    assert Tries(steady).pause(RestartNeededError("no range"), begun=False) == 0
    expired = StorageRefusedError("expired", status=403)
    assert Tries(steady).pause(expired, begun=False) == FIRST_PAUSE


def scripted(upstream: Leaving, *answers: Scripted | MirrorError) -> None:
    """Have the upstream answer one transfer after another, the last one for ever."""
    real: Callable[..., TransferHead] = partial(Leaving.fetch, upstream)
    rest = list(answers)

    def fetch(*asked: Any, **more: Any) -> TransferHead:
        answer = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(answer, MirrorError):
            upstream.asked.append(upstream.asked[-1])
            raise answer
        upstream.answers["/file"] = answer
        return real(*asked, **more)

    upstream.fetch = fetch  # type: ignore[method-assign]


def test_fills_complete_eight_readers_over_a_broken_connection(tmp_path: Path) -> None:
    """The connection dies at 60 %: eight readers are complete after one more GET of the rest."""

    async def main() -> None:
        async with world(tmp_path) as here:
            at = len(CONTENT) * 6 // 10
            good = Scripted(200, CONTENT, ETAG, ranges=True)
            scripted(here.upstream, Scripted(200, CONTENT, ETAG, cut=at, ranges=True), good)
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            feeds = [await here.fills.follow(wanted, None) for _ in range(8)]
            assert await asyncio.gather(*map(read, feeds)) == [CONTENT] * 8
            assert [asked.range for asked in here.upstream.asked] == ["", f"bytes={at}-"]

    asyncio.run(main())


def test_fills_survive_three_breaks(tmp_path: Path) -> None:
    """Three connections in a row die, each after some bytes: the fourth brings the rest to all."""

    async def main() -> None:
        async with world(tmp_path) as here:
            dying = [
                Scripted(200, CONTENT, ETAG, cut=cut, ranges=True)
                for cut in (40_000, 80_000, 120_000)
            ]
            scripted(here.upstream, *dying, Scripted(200, CONTENT, ETAG, ranges=True))
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            feeds = [await here.fills.follow(wanted, None) for _ in range(8)]
            assert await asyncio.gather(*map(read, feeds)) == [CONTENT] * 8
            assert [asked.range for asked in here.upstream.asked] == [
                "", "bytes=40000-", "bytes=80000-", "bytes=120000-",
            ]  # fmt: skip

    asyncio.run(main())


def test_fills_that_always_break_are_tried_four_times(tmp_path: Path) -> None:
    """Each try brings bytes and dies: four in all for eight readers, all cut, the bytes kept."""

    async def main() -> None:
        async with world(tmp_path) as here:
            dying = [
                Scripted(200, CONTENT, ETAG, cut=cut, ranges=True)
                for cut in (40_000, 80_000, 120_000, 160_000, 190_000)
            ]
            scripted(here.upstream, *dying)
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            feeds = [await here.fills.follow(wanted, None) for _ in range(8)]
            results = await asyncio.gather(*map(read, feeds), return_exceptions=True)
            assert all(isinstance(result, TruncatedBodyError) for result in results)
            assert [asked.range for asked in here.upstream.asked] == [
                "",
                "bytes=40000-",
                "bytes=80000-",
                "bytes=120000-",
            ]
            await here.fills.settle()
            scripted(here.upstream, Scripted(200, CONTENT, ETAG, ranges=True))
            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT
            assert here.upstream.asked[-1].range == "bytes=160000-"

    asyncio.run(main())


@pytest.mark.parametrize("status", [502, 429])
def test_fills_try_once_more_before_the_first_byte(tmp_path: Path, status: int) -> None:
    """A gateway's hiccup, or a busy upstream that names a near time, is not told to anybody."""

    async def main() -> None:
        async with world(tmp_path) as here:
            hiccup = Scripted(status, b"", (("Retry-After", "0"),))
            scripted(here.upstream, hiccup, Scripted(200, CONTENT, ETAG))
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT

    asyncio.run(main())


def test_fills_pass_a_long_wait_on(tmp_path: Path) -> None:
    """Who is told to come back in a minute hears it at once, after one request."""

    async def main() -> None:
        async with world(tmp_path) as here:
            scripted(here.upstream, Scripted(429, b"", (("Retry-After", "60"),)))
            with pytest.raises(UpstreamBusyError) as busy:
                await here.fills.begin(blob(CONTENT), None)
            assert busy.value.retry_after == 60
            assert len(here.upstream.asked) == 1

    asyncio.run(main())


def test_fills_go_on_without_ranges_where_nothing_changed(tmp_path: Path) -> None:
    """A source that sends all again after a break disturbs no reader when the bytes are the same."""

    async def main() -> None:
        async with world(tmp_path) as here:
            half = len(CONTENT) // 2
            scripted(
                here.upstream, Scripted(200, CONTENT, ETAG, cut=half), Scripted(200, CONTENT, ETAG)
            )
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            feeds = [await here.fills.follow(wanted, None) for _ in range(3)]
            assert await asyncio.gather(*map(read, feeds)) == [CONTENT] * 3
            assert [asked.range for asked in here.upstream.asked] == ["", f"bytes={half}-", ""]

    asyncio.run(main())


WEAK = (("ETag", 'W/"weak"'),)


@pytest.mark.parametrize("headers", [WEAK, ()], ids=["weak", "none"])
def test_fills_begin_again_where_nothing_strong_names_the_version(
    tmp_path: Path, headers: tuple[tuple[str, str], ...]
) -> None:
    """No rest is asked for then: all of it comes again, and whoever has read the same bytes reads on."""

    async def main() -> None:
        async with world(tmp_path) as here:
            half = len(CONTENT) // 2
            cut = Scripted(200, CONTENT, headers, cut=half, ranges=True)
            scripted(here.upstream, cut, cut, Scripted(200, CONTENT, headers, ranges=True))
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            feeds = [await here.fills.follow(wanted, None) for _ in range(3)]
            assert await asyncio.gather(*map(read, feeds)) == [CONTENT] * 3
            assert [asked.range for asked in here.upstream.asked] == ["", "", ""]

    asyncio.run(main())


def test_fills_kept_without_a_strong_validator_begin_again(tmp_path: Path) -> None:
    """What an earlier fill left of a file with a weak ETag is compared, not added to."""

    async def main() -> None:
        async with world(tmp_path) as here:
            half = len(CONTENT) // 2
            here.upstream.answers["/file"] = Scripted(200, CONTENT, WEAK, cut=half, ranges=True)
            here.upstream.refuse_after = 1
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            with pytest.raises(UpstreamUnreachableError):
                await read(await here.fills.follow(wanted, None))
            await here.fills.settle()
            here.upstream.refuse_after = None
            here.upstream.healed = Scripted(200, CONTENT, WEAK, ranges=True)
            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT
            assert [asked.range for asked in here.upstream.asked] == ["", ""]

    asyncio.run(main())


def test_fills_never_mix_two_versions(tmp_path: Path) -> None:
    """Readers that have bytes of another version are cut, also when the right ones come after."""

    async def main() -> None:
        async with world(tmp_path) as here:
            at, half = 50_000, len(CONTENT) // 2
            other = CONTENT[:at] + bytes([CONTENT[at] ^ 1]) + CONTENT[at + 1 :]
            old = Scripted(200, other, (("ETag", '"old"'),), cut=half, ranges=True)
            go_on = asyncio.Event()
            loop = asyncio.get_running_loop()
            new = Scripted(200, CONTENT, ETAG, ranges=True)
            scripted(here.upstream, old, new)
            inner = here.upstream.fetch

            def fetch(*asked: Any, **more: Any) -> TransferHead:
                if here.upstream.asked:
                    asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
                return inner(*asked, **more)

            here.upstream.fetch = fetch  # type: ignore[method-assign]
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            eager, patient = [await here.fills.follow(wanted, None) for _ in range(2)]
            await eager.more(at, whole=True)
            assert eager.ready(at, whole=True) > at
            go_on.set()
            with pytest.raises(UpstreamUnavailableError, match=f"from byte {at} on"):
                await read(eager)
            assert await read(patient) == CONTENT

    asyncio.run(main())
