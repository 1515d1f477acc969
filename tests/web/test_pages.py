"""Our own pages: what they answer, to whom, and that nothing in them is markup from elsewhere."""

import json

import pytest

from mirror.telemetry import Telemetry
from tests.doubles.scripted_keeper import ScriptedKeeper
from tests.web.client import Client, get
from tests.web.door import LOOPS, door, run

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_pages_of_operations_answer(loop: str) -> None:
    """Liveness, readiness, status, metrics and their aliases answer GET and HEAD, and nothing else."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        telemetry = Telemetry()
        async with (
            door(keeper, metrics=telemetry.render, observe=telemetry) as url,
            Client(url) as client,
        ):
            for path in (
                "/-/live",
                "/-/ready",
                "/-/status",
                "/health",
                "/-/metrics",
                "/metrics",
                "/",
            ):
                got = await client.get(path)
                head = await client.get(path, method="HEAD")
                assert got.status == head.status == 200
                assert got.headers["cache-control"] == "no-store"
                assert "access-control-allow-origin" not in got.headers
                refused = await client.get(path, "Content-Length: 0", method="POST")
                assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
            assert json.loads((await client.get("/health")).body) == {
                **keeper.state,
                "models_cached": 0,
            }
            metrics = (await client.get("/metrics")).body.decode()
            assert 'modelmirror_requests_total{found="own",hub="none",status="2xx"}' in metrics
        assert not keeper.asked

    run(loop, main())


def test_metrics_can_be_closed(loop: str) -> None:
    """Without a renderer the metrics are a 404 that names the setting."""

    async def main() -> None:
        async with door(ScriptedKeeper()) as url:
            got = await get(url, "/metrics")
        assert got.status == 404
        assert "setting metrics" in got.headers["x-error-message"]

    run(loop, main())


def test_metrics_can_want_a_token(loop: str) -> None:
    """With a token set, whoever does not send it as a bearer is told so, and gets none of them."""

    async def main() -> None:
        async with door(
            ScriptedKeeper(), metrics=Telemetry().render, metrics_token="watch-1"
        ) as url:
            for path in ("/metrics", "/-/metrics"):
                for sent in (
                    "",
                    "Bearer watch-2",
                    "Bearer",
                    "watch-1",
                    "Basic watch-1",
                    "Bearer wätch-1",
                ):
                    headers = (f"Authorization: {sent}",) if sent else ()
                    got = await get(url, path, *headers)
                    assert got.status == 401
                    assert got.headers["www-authenticate"] == 'Bearer realm="metrics"'
                    assert b"modelmirror_" not in got.body
                for sent in ("Bearer watch-1", "bearer watch-1"):
                    got = await get(url, path, f"Authorization: {sent}")
                    assert got.status == 200
                    assert b"modelmirror_" in got.body

    run(loop, main())


def test_home_page_is_complete_and_closed(loop: str) -> None:
    """The page comes with its style and script from our own paths, under a policy that allows no more."""

    async def main() -> None:
        async with door(ScriptedKeeper(), public_url="https://mirror.example") as url:
            got = await get(url, "/")
            policy = got.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
            assert "unsafe" not in policy
            assert b"HF_ENDPOINT=https://mirror.example" in got.body
            for name, kind in (("home.css", "text/css"), ("home.js", "text/javascript")):
                assert f"/-/static/{name}".encode() in got.body
                piece = await get(url, f"/-/static/{name}")
                assert piece.headers["content-type"].startswith(kind)
                assert len(piece.body) > 500

    run(loop, main())


def test_other_paths_of_ours_go_to_the_keeper(loop: str) -> None:
    """What the door does not know under /-/ is the keeper's to answer."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url:
            assert (await get(url, "/-/host/example.org/x")).status == 404
            assert (await get(url, "/-/static/app.py")).status == 404
        assert [head.path for head in keeper.asked] == ["/-/host/example.org/x", "/-/static/app.py"]

    run(loop, main())
