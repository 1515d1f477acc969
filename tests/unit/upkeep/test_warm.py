"""Warming, before a scripted keeper: every path is told once, whatever happens to it."""

import asyncio
import json
from pathlib import Path
from typing import Any

from mirror.errors import OfflineError, StoreFullError, UpstreamUnreachableError
from mirror.messages import Answer, Relay, RequestHead
from mirror.upkeep.warm import Warm
from tests.doubles.scripted_keeper import ScriptedBlob, ScriptedKeeper, chunks


def head(path: str) -> RequestHead:
    """A GET of *path*."""
    return RequestHead("GET", path, "", {}, None, "http://mirror")


async def told(keeper: ScriptedKeeper, *paths: str, look: bool = False) -> list[dict[str, Any]]:
    """The lines of one call."""
    text = b"".join([line async for line in Warm(keeper, [*map(head, paths)], look=look).lines()])
    return [json.loads(line) for line in text.splitlines() if line]


def files(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was told of each path."""
    return {line["path"]: line for line in lines if line["event"] == "file"}


def test_each_way_to_fail_is_told_and_ends_nothing_else(tmp_path: Path) -> None:
    """A refusal, an outage, a full disk, a fault, what is only passed through; and a file that comes."""

    async def scene() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, b"x" * 1000)
        keeper.serve("/good", blob, found="miss")
        keeper.scripts["/refused"] = Answer(403, (("X-Error-Message", "Not for you."),))
        keeper.scripts["/away"] = UpstreamUnreachableError("Nobody answers.", hint="Wait.")
        keeper.scripts["/offline"] = OfflineError("Not here.")
        keeper.scripts["/full"] = StoreFullError("No room in /secret.", needed=1, free=0)
        keeper.scripts["/fault"] = RuntimeError("/secret/path")
        keeper.scripts["/relayed"] = Relay(200, (), None, chunks(b"x"))
        lines = await told(keeper, *keeper.scripts)
        found = files(lines)
        assert found["/good"]["state"] == "fetched"
        assert found["/good"]["digest"] == str(blob.digest)
        assert (
            found["/refused"] | {"state": "failed", "status": 403, "error": "Not for you."}
            == (found["/refused"])
        )
        assert found["/away"]["status"] == 503
        assert found["/away"]["next"] == "Wait."
        assert [found[path]["state"] for path in ("/offline", "/full", "/fault", "/relayed")] == (
            ["failed"] * 4
        )
        assert "/secret" not in json.dumps(lines)
        assert lines[0] == {"event": "start", "schema": 1, "files": 7}
        assert lines[-1] == {"event": "end"}
        assert keeper.open_feeds == 0

    asyncio.run(scene())


def test_a_look_opens_nothing(tmp_path: Path) -> None:
    """What is not here is told from a HEAD."""

    async def scene() -> None:
        keeper = ScriptedKeeper()
        keeper.serve("/cold", ScriptedBlob(tmp_path, b"x" * 1000, here=0), found="miss")
        keeper.serve("/here", ScriptedBlob(tmp_path, b"y" * 1000), found="hit")
        found = files(await told(keeper, "/cold", "/here", look=True))
        assert [found[path]["state"] for path in ("/cold", "/here")] == ["missing", "stored"]
        assert {asked.method for asked in keeper.asked} == {"HEAD"}
        assert keeper.credentials == []

    asyncio.run(scene())


def test_a_file_is_told_once_its_digest_matched(tmp_path: Path) -> None:
    """Progress comes before it; a fill that breaks is a failure."""

    async def scene() -> None:
        keeper = ScriptedKeeper()
        good = ScriptedBlob(tmp_path, b"x" * 200_000, here=0)
        bad = ScriptedBlob(tmp_path, b"y" * 200_000, here=0)
        keeper.serve("/good", good, found="miss")
        keeper.serve("/bad", bad, found="miss")
        lines = Warm(keeper, [head("/good"), head("/bad")]).lines()
        first = json.loads(await anext(lines))
        assert first["event"] == "start"
        rest = asyncio.ensure_future(anext(lines))
        while good.waiting + bad.waiting < 2:  # noqa: ASYNC110 -- a scripted blob does not say that somebody waits
            await asyncio.sleep(0)
        good.grow(100_000)
        bad.fail(UpstreamUnreachableError("It broke off."))
        text = await rest
        assert b'"fetched"' not in text
        good.grow(200_000)
        good.verify()
        text += b"".join([line async for line in lines])
        found = files([json.loads(line) for line in text.splitlines() if line])
        assert found["/good"]["state"] == "fetched"
        assert found["/bad"]["status"] == 503
        assert keeper.open_feeds == 0

    asyncio.run(scene())


def test_giving_up_closes_what_is_open(tmp_path: Path) -> None:
    """No feed and no task of it stays."""

    async def scene() -> None:
        keeper = ScriptedKeeper()
        blob = ScriptedBlob(tmp_path, b"x" * 200_000, here=0)
        keeper.serve("/cold", blob, found="miss")
        lines = Warm(keeper, [head("/cold")]).lines()
        await anext(lines)
        waiting = asyncio.ensure_future(anext(lines))
        while not blob.waiting:  # noqa: ASYNC110 -- a scripted blob does not say that somebody waits
            await asyncio.sleep(0)
        blob.grow(100_000)
        await waiting
        assert keeper.open_feeds == 1
        await lines.aclose()
        assert keeper.open_feeds == 0

    asyncio.run(scene())
