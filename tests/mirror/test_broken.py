"""Connections that die under a fill: every client is complete, or none is, and upstream is spared."""

import asyncio
import hashlib
import random
import socket
import time
from pathlib import Path

import aiohttp
import pytest

from tests.mirror.running import Running
from tests.origin import Fault, Origin

MIB = 1 << 20
SIZE = 8 * MIB
CONTENT = random.Random(5).randbytes(SIZE)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


async def _get(session: aiohttp.ClientSession, url: str) -> str:
    digest = hashlib.sha256()
    try:
        async with session.get(url) as answer:
            async for chunk in answer.content.iter_any():
                digest.update(chunk)
    except aiohttp.ClientError:
        return "cut"
    return digest.hexdigest()


def _everybody(mirror: Running, clients: int = 8) -> list[str]:
    """What each of the clients has of the file: its sha256, or that it was cut."""

    async def main() -> list[str]:
        url = f"{mirror.url}/acme/broken/resolve/main/model.bin"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(_get(session, url) for _ in range(clients)))

    return asyncio.run(main())


@pytest.mark.parametrize("action", ["cut", "rst"])
def test_broken_connection_is_completed_for_eight_clients(
    mirror: Running, origin: Origin, action: str
) -> None:
    """It dies at 60 %: all eight are complete, after one more GET and at most 5 % twice."""
    origin.add_repo("models", "acme/broken", files={"model.bin": CONTENT}, lfs=("*.bin",))
    origin.fault(Fault(server="cdn", method="GET", path=".*", action=action, at=0.6))  # type: ignore[arg-type]

    assert _everybody(mirror) == [SHA256] * 8
    first, second = origin.seen(server="cdn", method="GET", path=".*")
    assert first.bytes_sent + second.bytes_sent <= SIZE * 1.05
    assert second.headers["if-range"]


def test_broken_upstream_is_tried_four_times_for_eight_clients(
    mirror: Running, origin: Origin
) -> None:
    """Each connection dies after some bytes: four in all, all clients cut, the bytes kept."""
    origin.add_repo("models", "acme/broken", files={"model.bin": CONTENT}, lfs=("*.bin",))
    dying = Fault(server="cdn", method="GET", path=".*", action="cut", at=MIB, times=None)
    armed = origin.fault(dying)

    assert set(_everybody(mirror)) == {"cut"}
    assert armed.hits <= 4
    mirror.settle()
    origin.clear_faults()
    origin.clear_log()
    assert _everybody(mirror, 1) == [SHA256]
    (rest,) = origin.seen(server="cdn", method="GET", path=".*")
    assert rest.bytes_sent <= SIZE - 4 * MIB


@pytest.mark.parametrize("action", ["no-range", "bad-range", "etag", "weak-etag"])
def test_broken_connection_whose_rest_does_not_fit_is_asked_whole(
    mirror: Running, origin: Origin, action: str
) -> None:
    """No ranges, a lying one, another or a weak validator: the bytes decide, and are right or cut."""
    origin.add_repo("models", "acme/broken", files={"model.bin": CONTENT}, lfs=("*.bin",))
    origin.fault(Fault(server="cdn", method="GET", path=".*", action="cut", at=0.6))
    origin.fault(Fault(server="cdn", method="GET", path=".*", action=action, times=2))  # type: ignore[arg-type]

    assert set(_everybody(mirror)) == {SHA256}
    assert len(origin.seen(server="cdn", method="GET", path=".*")) <= 3


def _received(mirror: Running) -> int:
    """How far the one fill is, in bytes."""
    fills = mirror.ask("/-/status").json()["fills"]
    return int(fills[0]["received"]) if fills else 0


def test_broken_fill_goes_on_after_a_restart(mirror: Running, origin: Origin) -> None:
    """A mirror stopped in the middle of a fill asks for the rest when it is back."""
    origin.add_repo("models", "acme/broken", files={"model.bin": CONTENT}, lfs=("*.bin",))
    origin.fault(Fault(server="cdn", method="GET", path=".*", action="stall", at=0.5))
    with socket.create_connection(mirror.address) as client:
        client.sendall(b"GET /acme/broken/resolve/main/model.bin HTTP/1.1\r\nHost: m\r\n\r\n")
        deadline = time.monotonic() + 10
        while _received(mirror) < SIZE // 2:
            assert time.monotonic() < deadline, "the fill did not come to the stall"
            time.sleep(0.01)
    assert mirror.stop() == 0
    origin.clear_log()
    mirror.start()
    assert _everybody(mirror, 2) == [SHA256] * 2
    (rest,) = origin.seen(server="cdn", method="GET", path=".*")
    assert rest.headers["range"] == f"bytes={SIZE // 2}-"


def test_broken_connection_leaves_the_stored_blob_whole(
    mirror: Running, origin: Origin, tmp_path: Path
) -> None:
    """What is published after a break is the file, byte for byte."""
    origin.add_repo("models", "acme/broken", files={"model.bin": CONTENT}, lfs=("*.bin",))
    origin.fault(Fault(server="cdn", method="GET", path=".*", action="rst", at=0.3))
    assert _everybody(mirror, 3) == [SHA256] * 3
    mirror.settle()
    stored = tmp_path / "data" / "v1" / "blobs" / "sha256" / SHA256[:2] / SHA256
    assert stored.read_bytes() == CONTENT
