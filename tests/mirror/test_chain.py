"""A mirror of a mirror: the same bytes, headers, refusals and audiences; a ring of mirrors is refused."""

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.mirror.running import Got, Running
from tests.origin import Origin

WEIGHTS = random.Random(5).randbytes((2 << 20) + 77)
SAME = (
    "etag", "content-length", "content-type", "content-disposition", "x-repo-commit", "x-linked-etag",
    "x-linked-size", "x-error-code", "accept-ranges", "content-range",
)  # fmt: skip


class Above:
    """A running mirror in the place of the origin."""

    def __init__(self, mirror: Running) -> None:
        self.url = mirror.url
        self.redirect_hosts: list[str] = []


@pytest.fixture
def lower(tmp_path: Path, mirror: Running) -> Iterator[Running]:
    """A second mirror whose upstream is the first."""
    with Running(tmp_path / "lower", Above(mirror)) as running:
        yield running


def _shown(got: Got) -> Mapping[str, str]:
    return {name: got.headers[name] for name in SAME if name in got.headers}


def test_a_chain_gives_what_the_first_mirror_gives(
    mirror: Running, lower: Running, origin: Origin
) -> None:
    """Files, ranges, listings, missing files and repos look the same through one mirror and through two."""
    repo = origin.add_repo(
        "models",
        "acme/tiny",
        files={"config.json": b"{}", "model.safetensors": WEIGHTS, "empty": b""},
        renamed_from=("acme/old",),
    )
    paths = (
        "/acme/tiny/resolve/main/config.json",
        f"/acme/tiny/resolve/{repo.commit}/model.safetensors",
        "/acme/old/resolve/main/config.json",
        "/acme/tiny/raw/main/model.safetensors",
        "/acme/tiny/resolve/main/empty",
        "/acme/tiny/resolve/main/none",
        "/acme/nothing/resolve/main/x",
        "/acme/tiny/resolve/no-such-branch/config.json",
        "/api/models/acme/tiny/revision/main?blobs=true",
        "/api/models/acme/tiny/tree/main?recursive=true",
    )
    for path in paths:
        for method, headers in (("HEAD", {}), ("GET", {}), ("GET", {"Range": "bytes=1-1"})):
            below = lower.ask(path, method=method, headers=headers)
            above = mirror.ask(path, method=method, headers=headers)
            assert (below.status, below.body) == (above.status, above.body), (method, path)
            assert _shown(below) == _shown(above), (method, path)


def test_a_chain_keeps_audiences(mirror: Running, lower: Running, origin: Origin) -> None:
    """The reader is served through both mirrors, strangers are refused by both, in an outage too."""
    origin.add_repo(
        "models", "acme/gated", files={"m.bin": WEIGHTS}, gated="auto", readers=("tokenA",)
    )
    origin.add_repo(
        "models", "acme/private", files={"m.bin": b"p"}, private=True, readers=("tokenA",)
    )
    for name in ("acme/gated", "acme/private"):
        path = f"/{name}/resolve/main/m.bin"
        assert lower.ask(path, token="tokenA").status == 200
        for token in (None, "tokenB"):
            assert lower.ask(path, token=token).status in {401, 403, 404}
    origin.stop()
    mirror.stop()
    for name in ("acme/gated", "acme/private"):
        path = f"/{name}/resolve/main/m.bin"
        assert lower.ask(path, token="tokenA").status == 200
        for token in (None, "tokenB"):
            assert lower.ask(path, token=token).status in {401, 403, 501}


def test_a_chain_says_what_neither_mirror_has(
    mirror: Running, lower: Running, origin: Origin
) -> None:
    """With the origin gone, what the upper one has comes through, and what it lacks is 501 below."""
    origin.add_repo("models", "acme/tiny", files={"a.txt": b"a", "b.txt": b"b"})
    assert mirror.ask("/acme/tiny/resolve/main/a.txt").body == b"a"
    origin.stop()

    assert lower.ask("/acme/tiny/resolve/main/a.txt").body == b"a"
    got = lower.ask("/acme/tiny/resolve/main/b.txt")
    assert got.status == 501
    assert "b.txt" in got.headers["x-error-message"]


def test_a_ring_of_mirrors_is_refused(tmp_path: Path, origin: Origin) -> None:
    """Two mirrors that are each other's upstream answer 501 soon instead of asking for ever."""
    with Running(tmp_path / "one", origin) as one, Running(tmp_path / "two", Above(one)) as two:
        port = one.address[1]
        one.stop()
        one.origin, one.flags = Above(two), ("--port", str(port))
        one.start()
        began = time.monotonic()
        got = one.ask("/acme/tiny/resolve/main/config.json", timeout=20)
        took = time.monotonic() - began
        one.stop()

    assert got.status == 501
    assert took < 5
    assert (
        "own upstream" in one.log.read_text() + two.log.read_text() or "508" in one.log.read_text()
    )
