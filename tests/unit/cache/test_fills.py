"""Fills: one per digest, everybody reads along, nothing wrong or short is ever called whole."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from mirror.cache import fill as fill_module
from mirror.cache.feed import WITHHELD
from mirror.digest import Digest, sha256_of
from mirror.errors import (
    DigestMismatchError,
    MirrorError,
    StoreFullError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from tests.doubles.scripted_upstream import Scripted
from tests.unit.cache.filling import blob, read, world

CONTENT = os.urandom(200_000)
ETAG = (("ETag", '"strong"'),)


@pytest.mark.parametrize("git", [False, True], ids=["sha256", "git-sha1"])
def test_fills_ask_once_however_many_read(tmp_path: Path, *, git: bool) -> None:
    """Twenty readers of a cold blob cause one request, all get it, and the next one is a hit."""

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)
            wanted = blob(CONTENT, git=git)

            async def one() -> tuple[str, bytes]:
                found = await here.fills.begin(wanted, None)
                return found, await read(await here.fills.follow(wanted, None))

            results = await asyncio.gather(*(one() for _ in range(20)))

            assert {data for _, data in results} == {CONTENT}
            assert [found for found, _ in results].count("miss") == 1
            assert len(here.upstream.asked) == 1
            await here.fills.settle()
            assert await here.fills.begin(wanted, None) == "hit"
            assert await read(await here.fills.follow(wanted, None)) == CONTENT
            assert here.store.find(sha256_of(CONTENT)) is not None
            assert list(here.layout.partials.iterdir()) == []
            assert len(here.upstream.asked) == 1

    asyncio.run(main())


def test_fills_never_call_a_wrong_blob_whole(tmp_path: Path) -> None:
    """Every reader of wrong bytes gets an error before the end, and nothing is published."""

    async def main() -> None:
        async with world(tmp_path) as here:
            wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
            here.upstream.answers["/file"] = Scripted(200, wrong, ETAG)
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)

            async def one() -> bytes:
                return await read(await here.fills.follow(wanted, None))

            results = await asyncio.gather(*(one() for _ in range(5)), return_exceptions=True)

            assert all(isinstance(result, MirrorError) for result in results)
            assert any(isinstance(result, DigestMismatchError) for result in results)
            assert here.store.find(sha256_of(CONTENT)) is None
            assert here.store.find(sha256_of(wrong)) is None
            await here.fills.settle()
            assert list(here.layout.partials.iterdir()) == []
            assert set(here.outcomes()) == {"mismatch"}

    asyncio.run(main())


def test_fills_hold_the_end_back_until_the_digest_matches(tmp_path: Path) -> None:
    """What promises the end stops 64 KiB before it; a closed range goes as far as bytes have come."""

    async def main() -> None:
        async with world(tmp_path) as here:
            # All but the last byte comes, three times over: the digest never can match.
            here.upstream.answers["/file"] = Scripted(
                200, CONTENT, ETAG, cut=len(CONTENT) - 1, ranges=False
            )
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            feed = await here.fills.follow(wanted, None)
            with pytest.raises(MirrorError):
                await feed.more(len(CONTENT) - WITHHELD, whole=True)
            assert feed.ready(0, whole=True) == 0, "a broken fill gives nothing out any more"
            feed.close()

    asyncio.run(main())


def test_fills_in_strict_mode_send_nothing_unverified(tmp_path: Path) -> None:
    """With strict, not even a closed range leaves before the digest matched."""

    async def main() -> None:
        async with world(tmp_path, strict=True) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            feed = await here.fills.follow(wanted, None)
            assert feed.ready(0, whole=False) in {0, len(CONTENT)}
            assert await read(feed, whole=False) == CONTENT

    asyncio.run(main())


def test_fills_go_on_where_a_connection_broke(tmp_path: Path) -> None:
    """A broken connection is resumed by Range from the byte it stopped at; no byte is asked twice."""

    async def main() -> None:
        async with world(tmp_path) as here:
            half = len(CONTENT) // 2
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG, cut=half, ranges=True)
            here.upstream.healed = Scripted(200, CONTENT, ETAG, ranges=True)
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            feed = await here.fills.follow(wanted, None)

            assert await read(feed) == CONTENT
            first, second = [asked.range for asked in here.upstream.asked]
            assert first == ""
            assert second.startswith(f"bytes={half}-")

    asyncio.run(main())


def test_fills_keep_what_came_when_upstream_is_gone(tmp_path: Path) -> None:
    """A try that brings nothing is the last one; the next fill goes on from what is on the disk."""

    async def main() -> None:
        async with world(tmp_path) as here:
            half = len(CONTENT) // 2
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG, cut=half, ranges=True)
            here.upstream.refuse_after = 1
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            with pytest.raises(UpstreamUnreachableError):
                await read(await here.fills.follow(wanted, None))
            await here.fills.settle()
            assert here.outcomes() == ["broken"]
            here.upstream.refuse_after = None
            here.upstream.healed = Scripted(200, CONTENT, ETAG, ranges=True)

            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT
            assert here.upstream.asked[-1].range.startswith(f"bytes={half}-")

    asyncio.run(main())


def test_fills_pass_a_refusal_on_to_everybody(tmp_path: Path) -> None:
    """A 403 from upstream reaches each caller before anything was promised."""

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(403, b"no")
            wanted = blob(CONTENT)
            results = await asyncio.gather(
                *(here.fills.begin(wanted, None) for _ in range(4)), return_exceptions=True
            )

            assert all(isinstance(result, UpstreamRefusedError) for result in results)
            assert len(here.upstream.asked) == 1
            await here.fills.settle()
            assert here.fills.running() == ()

    asyncio.run(main())


def test_fills_refuse_what_has_no_room_before_asking(tmp_path: Path) -> None:
    """A blob larger than the quota is refused before a byte of it is asked for."""

    async def main() -> None:
        async with world(tmp_path, quota=1000) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)
            with pytest.raises(StoreFullError):
                await here.fills.begin(blob(CONTENT), None)
            await here.fills.settle()
            assert here.upstream.asked == []
            assert here.outcomes() == ["full"]

    asyncio.run(main())


def test_fills_tell_a_late_follower_how_its_fill_ended(tmp_path: Path) -> None:
    """Whoever was told that a fill began and follows after it broke causes no second request."""

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, b"x" * len(CONTENT), ETAG)
            wanted = blob(CONTENT)
            await here.fills.begin(wanted, None)
            await here.fills.settle()
            with pytest.raises(DigestMismatchError):
                await here.fills.follow(wanted, None)
            assert len(here.upstream.asked) == 1
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)

            assert await here.fills.begin(wanted, None) == "miss"
            assert await read(await here.fills.follow(wanted, None)) == CONTENT

    asyncio.run(main())


def test_fills_publish_many_small_blobs_together(tmp_path: Path) -> None:
    """Forty small blobs at once are all stored under their own names, known by their git names."""

    async def main() -> list[Digest | None]:
        async with world(tmp_path) as here:
            contents = [b"file %d" % n for n in range(40)]
            for n, content in enumerate(contents):
                here.upstream.answers[f"/{n}"] = Scripted(200, content, ETAG)
            refs = [blob(content, f"/{n}", git=True) for n, content in enumerate(contents)]
            await asyncio.gather(*(here.fills.begin(ref, None) for ref in refs))
            await here.fills.settle()
            assert [here.fills.name_of(ref.digest) for ref in refs] == [
                sha256_of(content) for content in contents
            ]
            return [here.fills.name_of(ref.digest) for ref in refs]

    assert len(set(asyncio.run(main()))) == 40


def test_fills_tell_readers_of_much_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers who wait are woken a hundred times a second at most, however small the pieces are."""
    woken: list[float] = []
    wake = fill_module.Fill._wake

    def counted(fill: fill_module.Fill) -> None:
        woken.append(time.monotonic())
        wake(fill)

    monkeypatch.setattr(fill_module.Fill, "_wake", counted)

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)
            wanted = blob(CONTENT)
            began = time.monotonic()
            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT
            seconds = time.monotonic() - began
            # Three more: for the first bytes, for those that nobody waited for, and for the end.
            assert len(woken) <= seconds / fill_module.LOOK + 3
            await here.fills.settle()

    asyncio.run(main())
