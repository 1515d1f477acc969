"""Ranges of one file: the engine composes its answer once, and the door cuts from it what each asks for."""

import os
import time
from pathlib import Path

import pytest

from mirror.clock import SystemClock
from mirror.messages import Answer, RequestHead, Terms
from mirror.web.fields import Fields
from mirror.web.recalled import Recalled
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper
from tests.web.client import Client
from tests.web.door import LOOPS, door, run

pytestmark = pytest.mark.parametrize("loop", LOOPS)

SIZE = 300_000
ROOM = 1 << 20


def _terms(keeper: ScriptedKeeper, *about: str) -> Terms:
    now = time.time()
    return Terms(frozenset(about), keeper.leases.number, now - 1, now + 600)


def _served(folder: Path) -> tuple[ScriptedKeeper, bytes]:
    """A keeper with one blob at ``/blob``, whose answer everybody may have while the repo stays as it is."""
    keeper, data = ScriptedKeeper(), os.urandom(SIZE)
    keeper.serve("/blob", ScriptedBlob(folder, data), terms=_terms(keeper, "repo"))
    return keeper, data


def test_ranges_of_one_file_are_composed_once(loop: str, tmp_path: Path) -> None:
    """Sixteen ranges, a suffix, two at once and one beyond the end: each right, the engine asked once."""
    keeper, data = _served(tmp_path)

    async def main() -> None:
        async with door(keeper, prepared=ROOM) as url, Client(url) as client:
            for start in range(0, SIZE, SIZE // 16):
                end = min(start + SIZE // 16, SIZE)
                got = await client.get("/blob", f"Range: bytes={start}-{end - 1}")
                assert (got.status, got.body) == (206, data[start:end])
                assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
            assert (await client.get("/blob", "Range: bytes=-7")).body == data[-7:]
            got = await client.get("/blob", "Range: bytes=0-1,5-6")
            assert got.status == 206
            assert data[5:7] in got.body
            assert (await client.get("/blob", f"Range: bytes={SIZE}-")).status == 416
            assert (await client.get("/blob", "Range: bytes=0-1", 'If-Range: "x"')).body == data
            assert len(keeper.asked) == 1
            assert len(keeper.touched) == 19

    run(loop, main())


@pytest.mark.parametrize("more", ["Cookie: a=b", "Via: 1.1 other", "Cache-Control: no-cache"])
def test_request_that_says_more_is_asked_anew(loop: str, more: str, tmp_path: Path) -> None:
    """A field that might mean something to the engine sends the request there."""
    keeper, data = _served(tmp_path)

    async def main() -> None:
        async with door(keeper, prepared=ROOM) as url, Client(url) as client:
            await client.get("/blob", "Range: bytes=0-1")
            got = await client.get("/blob", "Range: bytes=0-1", more)
            assert got.body == data[:2]
            assert len(keeper.asked) == 2

    run(loop, main())


def test_change_of_what_it_rests_on_ends_it(loop: str, tmp_path: Path) -> None:
    """After the repo changed, the engine is asked, and its new answer is what goes out."""
    keeper, data = _served(tmp_path)

    async def main() -> None:
        async with door(keeper, prepared=ROOM) as url, Client(url) as client:
            assert (await client.get("/blob", "Range: bytes=0-1")).body == data[:2]
            keeper.leases.changed("repo")
            keeper.scripts["/blob"] = Answer(403, (), (b"no",))
            assert (await client.get("/blob", "Range: bytes=0-1")).status == 403

    run(loop, main())


@pytest.mark.parametrize("name", ["Accept", "User-Agent", "Authorization"])
def test_answer_made_of_a_field_is_for_that_request_alone(
    loop: str, name: str, tmp_path: Path
) -> None:
    """Where the engine looked at a field that others may say differently, each request is its own."""
    keeper, data = _served(tmp_path)
    answer = keeper.scripts["/blob"]

    async def look(head: RequestHead, body: bytes) -> Answer:
        del body
        head.headers.get(name.lower())
        return answer  # type: ignore[return-value]

    keeper.scripts["/blob"] = look

    async def main() -> None:
        async with door(keeper, prepared=ROOM) as url, Client(url) as client:
            for _ in range(2):
                got = await client.get("/blob", "Range: bytes=3-5", f"{name}: x")
                assert got.body == data[3:6]
            assert len(keeper.asked) == 2

    run(loop, main())


@pytest.mark.parametrize("fault", ["terms", "room"])
def test_nothing_is_kept_without_leave(loop: str, fault: str, tmp_path: Path) -> None:
    """An answer without terms, and any answer where no memory may be taken, is good for once."""
    keeper, data = _served(tmp_path)
    if fault == "terms":
        keeper.serve("/blob", ScriptedBlob(tmp_path, data))

    async def main() -> None:
        async with (
            door(keeper, prepared=ROOM if fault == "terms" else 0) as url,
            Client(url) as client,
        ):
            for _ in range(2):
                assert (await client.get("/blob", "Range: bytes=0-1")).body == data[:2]
            assert len(keeper.asked) == 2

    run(loop, main())


def test_kept_answers_are_bounded(loop: str, tmp_path: Path) -> None:
    """The one that was wanted longest ago goes, and its lease with it."""
    keeper, _ = _served(tmp_path)

    async def main() -> None:
        recalled = Recalled(keeper, SystemClock(), most=2)
        answer = keeper.scripts["/blob"]
        heads = [
            RequestHead("GET", f"/{n}", "", Fields({}), None, "http://m", again=True)
            for n in range(3)
        ]
        for head in heads[:2]:
            recalled.keep(head, answer)  # type: ignore[arg-type]
        assert recalled.find(heads[0]) is not None
        recalled.keep(heads[2], answer)  # type: ignore[arg-type]
        assert [recalled.find(head) is not None for head in heads] == [True, False, True]
        recalled.close()
        assert not len(recalled)
        assert not keeper.leases._held

    run(loop, main())
