"""A response whose blob this machine fails goes on from another feed, by sendfile and by copy alike."""

import asyncio
import os
from pathlib import Path

import pytest

from mirror.errors import StoreCorruptError
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper
from tests.web.client import get
from tests.web.door import LOOPS, door, run, until

pytestmark = pytest.mark.parametrize("loop", LOOPS)

MIB = 1 << 20
ERROR = StoreCorruptError("The disk lost it.")


def _replacements(folder: Path, data: bytes, count: int) -> list[ScriptedBlob]:
    """Blobs of the same bytes in files of their own."""
    found = []
    for number in range(count):
        place = folder / str(number)
        place.mkdir()
        found.append(ScriptedBlob(place, data))
    return found


@pytest.mark.parametrize("here", [0, 1, MIB + 5, 2 * MIB])
def test_a_response_goes_on_from_another_feed(loop: str, here: int, tmp_path: Path) -> None:
    """Whatever was sent before its feed broke, the response ends whole, and nothing stays open."""
    data = os.urandom(3 * MIB + 17)
    keeper = ScriptedKeeper()
    blob = ScriptedBlob(tmp_path, data, here=here)
    keeper.serve("/blob", blob)
    keeper.mends = other = _replacements(tmp_path, data, 1)

    async def main() -> None:
        async with door(keeper) as url:
            asked = asyncio.ensure_future(get(url, "/blob"))
            await until(lambda: blob.waiting == 1)
            blob.fail(ERROR)
            got = await asked
            assert (got.status, got.clean, got.body == data) == (200, True, True)
            await until(lambda: not keeper.open_feeds and not other)

    mended = list(other)
    run(loop, main())
    assert [one.open for one in mended] == [0]


def test_a_disk_that_fails_again_and_again_cuts(loop: str, tmp_path: Path) -> None:
    """A response is not mended for ever: after some feeds it is cut, and never short and clean."""
    data = os.urandom(2 * MIB)
    keeper = ScriptedKeeper()
    blob = ScriptedBlob(tmp_path, data, here=MIB)
    keeper.serve("/blob", blob)
    broken = _replacements(tmp_path, data, 20)
    for one in broken:
        one.here, one.verified, one.error = MIB, False, ERROR
    keeper.mends = list(broken)

    async def main() -> None:
        async with door(keeper) as url:
            asked = asyncio.ensure_future(get(url, "/blob"))
            await until(lambda: blob.waiting == 1)
            blob.fail(ERROR)
            got = await asked
            assert not got.clean
            await until(lambda: not sum(one.open for one in (*broken, blob)))

    run(loop, main())
    assert 0 < len(keeper.mends) < 20
