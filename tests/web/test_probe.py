"""Probes: what only a mirror answers, whichever way it is asked for."""

import hashlib
import json

import pytest

from mirror.web import probe
from tests.doubles.scripted_keeper import ScriptedKeeper
from tests.web.client import Client
from tests.web.door import LOOPS, door, run

pytestmark = pytest.mark.parametrize("loop", LOOPS)

NONCE = "0123456789abcdef" * 2
NAME = probe.name(NONCE)


@pytest.mark.parametrize(
    "target",
    [
        f"/modelmirror/{NAME}/resolve/main/config.json",
        f"/-/host/download.pytorch.org/models/{NAME}.pth",
        f"/-/host/huggingface.co/x/resolve/main/en/low/en_US-{NAME}-low.onnx?download=true",
        f"/-/host/openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken?{NAME}",
    ],
)
def test_probes_are_answered_here(loop: str, target: str) -> None:
    """By GET, HEAD and POST, with what a client of the Hub wants to know; nobody is asked."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url, Client(url) as client:
            got = await client.get(target)
            assert (got.status, got.body) == (200, probe.body(NONCE))
            assert json.loads(got.body) == {"modelmirror_probe": NONCE}
            assert got.headers["etag"] == f'"{hashlib.sha256(got.body).hexdigest()}"'
            assert got.headers["x-repo-commit"] == probe.commit(NONCE)
            assert got.headers["cache-control"] == "no-store"
            head = await client.get(target, method="HEAD")
            assert (head.status, head.headers["content-length"]) == (200, str(len(got.body)))
            posted = await client.get(target, "Content-Length: 0", method="POST")
            assert (posted.status, posted.body) == (200, got.body)
        assert not keeper.asked

    run(loop, main())


@pytest.mark.parametrize("name", [NAME[:-1], f"{NAME}a", NAME.upper(), "modelmirror_probe_"])
def test_names_that_are_no_probe_go_to_the_keeper(loop: str, name: str) -> None:
    """A name that is nearly one is a file like any other."""

    async def main() -> None:
        keeper = ScriptedKeeper()
        async with door(keeper) as url, Client(url) as client:
            await client.get(f"/-/host/download.pytorch.org/models/{name}")
        assert len(keeper.asked) == 1

    run(loop, main())
