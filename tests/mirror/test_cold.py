"""A cold file: asked once, streamed to everybody, never wrong and never short."""

import asyncio
import hashlib
import http.client
import random
import threading
import time
from pathlib import Path

import aiohttp
import pytest

from tests.mirror.running import Running, files_below
from tests.origin import Fault, Origin

MIB = 1 << 20


@pytest.fixture
def big(tmp_path: Path) -> tuple[Path, str]:
    """256 MiB of noise and their sha256."""
    path = tmp_path / "big.bin"
    noise = random.Random(7).randbytes(MIB)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for index in range(256):
            piece = index.to_bytes(4, "big") + noise[4:]
            digest.update(piece)
            file.write(piece)
    return path, digest.hexdigest()


async def _drain(session: aiohttp.ClientSession, url: str, begun: list[float]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    async with session.get(url) as answer:
        async for chunk in answer.content.iter_any():
            if not size:
                begun.append(time.monotonic())
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()


@pytest.mark.slow
def test_sixty_four_cold_clients_cause_one_request(
    mirror: Running, origin: Origin, big: tuple[Path, str]
) -> None:
    """64 clients of one cold 256 MiB file: one GET, all identical, begun together, flat memory."""
    path, sha256 = big
    origin.add_repo("models", "acme/big", files={"model.bin": path}, lfs=("*.bin",))
    url = f"{mirror.url}/acme/big/resolve/main/model.bin"
    before = mirror.rss()
    begun: list[float] = []

    async def everybody() -> list[tuple[int, str]]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=600)
        ) as session:
            return await asyncio.gather(*(_drain(session, url, begun) for _ in range(64)))

    results = asyncio.run(everybody())

    assert set(results) == {(256 * MIB, sha256)}
    assert len(origin.seen(server="cdn", method="GET", path=".*")) == 1
    assert len(origin.seen(server="hub", method="GET", path=r"/acme/big/resolve/.*")) == 1
    assert mirror.rss() - before < 64 * MIB
    assert max(begun) - min(begun) < 0.2


@pytest.mark.parametrize("size", [5, 40_000, 3 * MIB])
@pytest.mark.parametrize("lfs", [True, False], ids=["lfs", "git"])
def test_a_flipped_byte_never_becomes_a_clean_file(
    mirror: Running, origin: Origin, size: int, *, lfs: bool
) -> None:
    """One wrong byte: no complete 200, nothing published, the next request is fine."""
    content = random.Random(size).randbytes(size)
    origin.add_repo(
        "models", "acme/flip", files={"model.bin": content}, lfs=("*.bin",) if lfs else ()
    )
    assert mirror.ask("/api/models/acme/flip/revision/main").status == 200
    published = list(files_below(mirror.data / "v1" / "blobs"))
    server, path = ("cdn", ".*") if lfs else ("hub", r"/api/resolve-cache/.*")
    origin.fault(Fault(server=server, method="GET", path=path, times=1, action="flip", at=0.5))

    try:
        got = mirror.ask("/acme/flip/resolve/main/model.bin")
    except (http.client.HTTPException, ConnectionError):
        pass
    else:
        assert got.status >= 500
    assert list(files_below(mirror.data / "v1" / "blobs")) == published
    again = mirror.ask("/acme/flip/resolve/main/model.bin")

    assert (again.status, again.body) == (200, content)


def test_a_flipped_byte_cuts_every_follower(mirror: Running, origin: Origin) -> None:
    """Eight clients that follow one corrupt fill are all cut: none ends with a complete body."""
    content = random.Random(3).randbytes(4 * MIB)
    origin.add_repo("models", "acme/flip", files={"model.bin": content}, lfs=("*.bin",))
    origin.fault(Fault(server="cdn", method="GET", path=".*", times=1, action="flip", at=0.3))
    complete: list[bool] = []

    def client() -> None:
        try:
            got = mirror.ask("/acme/flip/resolve/main/model.bin")
        except (http.client.HTTPException, ConnectionError):
            complete.append(False)
        else:
            complete.append(got.status == 200 and got.body != content)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert complete == [False] * 8


def test_the_same_blob_under_another_name_is_a_hit(mirror: Running, origin: Origin) -> None:
    """A blob known by digest is not fetched again for another repo, path or commit."""
    weights, text = random.Random(1).randbytes(2 * MIB), b'{"same": true}'
    for name in ("acme/one", "other/two"):
        origin.add_repo(
            "models", name, files={f"{name[-3:]}.bin": weights, "config.json": text}, lfs=("*.bin",)
        )
    assert mirror.ask("/acme/one/resolve/main/one.bin").body == weights
    assert mirror.ask("/acme/one/resolve/main/config.json").body == text
    mirror.settle()
    origin.clear_log()

    assert mirror.ask("/other/two/resolve/main/two.bin").body == weights
    assert mirror.ask("/other/two/resolve/main/config.json").body == text
    assert origin.seen(server="cdn", method="GET", path=".*") == []
    assert origin.seen(server="hub", method="GET", path=r".*/resolve.*") == []


def test_a_restart_serves_everything_from_disk(mirror: Running, origin: Origin) -> None:
    """With upstream gone, a restarted mirror serves what was fetched; the rest is 501."""
    files = {
        "a.json": b"{}",
        "b.bin": random.Random(2).randbytes(MIB + 5),
        "c.txt": b"never fetched",
    }
    repo = origin.add_repo("models", "acme/tiny", files=dict(files), lfs=("*.bin",))
    for name in ("a.json", "b.bin"):
        assert mirror.ask(f"/acme/tiny/resolve/main/{name}").body == files[name]
    assert mirror.stop() == 0
    origin.stop()
    mirror.start()

    for name in ("a.json", "b.bin"):
        assert mirror.ask(f"/acme/tiny/resolve/main/{name}").body == files[name]
        assert mirror.ask(f"/acme/tiny/resolve/{repo.commit}/{name}").body == files[name]
    for method in ("GET", "HEAD"):
        got = mirror.ask("/acme/tiny/resolve/main/c.txt", method=method)
        assert got.status == 501
        assert "c.txt" in got.headers["x-error-message"]
    missing = mirror.ask("/acme/tiny/resolve/main/none.txt", method="HEAD")
    assert (missing.status, missing.headers["x-error-code"]) == (404, "EntryNotFound")
    assert len(mirror.ask("/api/models/acme/tiny/tree/main?recursive=true").json()) == 3


def test_the_counts_upstream_are_those_of_the_design(mirror: Running, origin: Origin) -> None:
    """40 files cold: 2 metadata calls and 40 files; warm: at most one call; pinned: none."""
    files = {f"part-{n:02}.txt": f"content {n}".encode() for n in range(40)}
    repo = origin.add_repo("models", "acme/forty", files=dict(files))

    def download(revision: str) -> None:
        info = mirror.ask(f"/api/models/acme/forty/revision/{revision}").json()
        tree = mirror.ask(f"/api/models/acme/forty/tree/{info['sha']}?recursive=true&expand=false")
        for item in tree.json():
            if item["type"] == "file":
                head = mirror.ask(
                    f"/acme/forty/resolve/{info['sha']}/{item['path']}", method="HEAD"
                )
                assert head.status == 200
                got = mirror.ask(f"/acme/forty/resolve/{info['sha']}/{item['path']}")
                assert got.body == files.get(item["path"], got.body)

    download("main")
    api = [seen.path for seen in origin.seen(server="hub", path=r"/api/models/.*")]
    assert len(api) == 2, api
    assert len(origin.seen(server="hub", path=r"/acme/forty/resolve/.*")) == len(repo.paths)
    origin.clear_log()
    download("main")
    assert len(origin.log) <= 1
    origin.clear_log()
    download(repo.commit)
    assert origin.log == []
