"""Files that nobody publishes a digest of: the first download is believed, and every later one must match."""

import asyncio
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.digest import Check, sha256_of, source_of
from mirror.errors import DigestMismatchError
from mirror.events import Alarm
from mirror.messages import BlobRef
from tests.doubles.scripted_upstream import Scripted
from tests.unit.cache.filling import blob, read, world

CONTENT = os.urandom(200_000)
OTHERS = os.urandom(200_000)
ETAG = (("ETag", '"strong"'),)


def _unproven(*checks: Check) -> BlobRef:
    return replace(blob(CONTENT), digest=source_of("https://host/file"), checks=checks)


def test_the_first_download_says_what_a_source_is(tmp_path: Path) -> None:
    """Twenty readers, one request; afterwards it is known by its sha256, and served from the store."""

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)
            wanted = _unproven()

            async def one() -> bytes:
                await here.fills.begin(wanted, None)
                return await read(await here.fills.follow(wanted, None))

            assert set(await asyncio.gather(*(one() for _ in range(20)))) == {CONTENT}
            await here.fills.settle()
            assert here.fills.known(wanted).digest == sha256_of(CONTENT)
            assert await one() == CONTENT
            assert len(here.upstream.asked) == 1

    asyncio.run(main())


def test_what_comes_after_the_first_must_be_the_same(tmp_path: Path) -> None:
    """Evicted and fetched again with other bytes: nobody gets a whole response of them."""

    async def main() -> None:
        async with world(tmp_path) as here:
            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)
            wanted = _unproven()
            await here.fills.begin(wanted, None)
            await here.fills.settle()
            here.store.delete(sha256_of(CONTENT))

            here.upstream.answers["/file"] = Scripted(200, OTHERS, ETAG)
            await here.fills.begin(wanted, None)
            with pytest.raises(DigestMismatchError):
                await read(await here.fills.follow(wanted, None))
            assert here.store.find(sha256_of(OTHERS)) is None
            assert "digest-mismatch" in [
                event.kind for event in here.events if isinstance(event, Alarm)
            ]

            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)
            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT

    asyncio.run(main())


@pytest.mark.parametrize("algorithm", ["md5", "sha256-prefix"])
def test_what_is_published_besides_is_checked(tmp_path: Path, algorithm: str) -> None:
    """Half a digest is held against the bytes before they are believed."""
    right = {
        "md5": Check("md5", hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()),
        "sha256-prefix": Check("sha256-prefix", sha256_of(CONTENT).hex[:8]),
    }[algorithm]

    async def main() -> None:
        async with world(tmp_path) as here:
            wanted = _unproven(right)
            here.upstream.answers["/file"] = Scripted(200, OTHERS, ETAG)
            await here.fills.begin(wanted, None)
            with pytest.raises(DigestMismatchError, match=str(right)):
                await read(await here.fills.follow(wanted, None))
            await here.fills.settle()
            assert here.fills.known(wanted) == wanted

            here.upstream.answers["/file"] = Scripted(200, CONTENT, ETAG)
            await here.fills.begin(wanted, None)
            assert await read(await here.fills.follow(wanted, None)) == CONTENT

    asyncio.run(main())
