"""Outages: what is here is answered at once, what is not is said soon, and it ends by itself."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.mirror.running import Got, Running
from tests.origin import Fault, Origin

# What the first answer of an outage may wait for upstream, and what a refusal may take in all; the margin
# is for a machine that others use as well.
PATIENCE, REFUSAL, MARGIN = 2.0, 4.0, 1.5


@contextmanager
def black_hole(url: str) -> Iterator[None]:
    """Listen where *url* says with a backlog that is full, and never accept: connections hang."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 0)
    with ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind(address)
        hole.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 -- the library's own
            waiting.connect_ex(address)
        yield


def _timed(mirror: Running, path: str, method: str = "GET") -> tuple[Got, float]:
    began = time.monotonic()
    got = mirror.ask(path, method=method)
    return got, time.monotonic() - began


@pytest.fixture
def impatient(tmp_path: Path, origin: Origin) -> Iterator[Running]:
    """A mirror that has to ask about a branch every time."""
    settings = {"MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s"}
    with Running(tmp_path / "data", origin, settings=settings) as running:
        yield running


WARM = (
    ("HEAD", "/acme/tiny/resolve/main/config.json"),
    ("GET", "/acme/tiny/resolve/main/config.json"),
    ("GET", "/api/models/acme/tiny"),
    ("GET", "/api/models/acme/tiny/revision/main"),
    ("GET", "/api/models/acme/tiny/tree/main?recursive=true"),
    ("GET", "/api/models/acme/tiny/refs"),
    ("HEAD", "/acme/tiny/resolve/main/no-such-file"),
)


@pytest.mark.parametrize("hole", [False, True], ids=["refused", "black-holed"])
def test_an_outage_costs_one_wait_and_no_more(
    impatient: Running, origin: Origin, *, hole: bool
) -> None:
    """The first answer waits at most 2 s for upstream, the others do not wait, all say their age."""
    origin.add_repo("models", "acme/tiny", files={"config.json": b"{}", "cold.txt": b"cold"})
    before = {(method, path): impatient.ask(path, method=method).status for method, path in WARM}
    origin.stop()
    with ExitStack() as stack:
        if hole:
            stack.enter_context(black_hole(origin.url))
        got, first = _timed(impatient, "/acme/tiny/resolve/main/config.json", "HEAD")
        assert got.status == 200
        assert first < PATIENCE + MARGIN

        # Whatever upstream's time-out, the outage is known by now or soon; then nothing waits.
        deadline = time.monotonic() + 10
        while impatient.ask("/-/status").json()["state"] != "degraded":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        began = time.monotonic()
        for method, path in WARM:
            got = impatient.ask(path, method=method)
            assert got.status == before[method, path], (method, path, got.body)
            if got.status == 200 and "refs" not in path:
                assert int(got.headers["age"]) >= 0
                assert "modelmirror" in got.headers["x-hf-warning"]
        assert time.monotonic() - began < MARGIN

        for method in ("HEAD", "GET"):
            got, took = _timed(impatient, "/acme/tiny/resolve/main/cold.txt", method)
            assert (got.status, took < REFUSAL) == (501, True)
            assert "cold.txt" in got.headers["x-error-message"]
        got, took = _timed(impatient, "/acme/never/resolve/main/x.txt")
        assert (got.status, took < REFUSAL) == (501, True)


def test_an_outage_ends_by_itself(impatient: Running, origin: Origin) -> None:
    """Once upstream is back, the mirror finds out behind, says so, and new content comes through."""
    repo = origin.add_repo("models", "acme/tiny", files={"config.json": b"{}"})
    assert impatient.ask("/acme/tiny/resolve/main/config.json").body == b"{}"
    origin.stop()
    assert impatient.ask("/acme/tiny/resolve/main/config.json").body == b"{}"
    assert impatient.ask("/-/status").json()["state"] == "degraded"
    origin.start()
    repo.push({"config.json": b'{"new": 1}'})

    deadline = time.monotonic() + 15
    while impatient.ask("/-/status").json()["state"] != "online":
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert impatient.ask("/acme/tiny/resolve/main/config.json").body == b'{"new": 1}'


def test_an_upstream_that_fails_is_left_alone_until_it_answers(
    mirror: Running, origin: Origin
) -> None:
    """Forty questions about what is not here cost it five requests; it is seen to be up by itself."""
    for number in range(40):
        origin.add_repo("models", f"acme/cold-{number}", files={"a.txt": b"a"})
    origin.add_repo("models", "acme/known", files={"a.txt": b"here", "b.txt": b"not here"})
    assert mirror.ask("/acme/known/resolve/main/a.txt").body == b"here"
    origin.clear_log()
    origin.fault(Fault(action="status", status=502, times=None))

    cold = [f"/acme/cold-{number}/resolve/main/a.txt" for number in range(40)]
    paths = [*cold[:1], "/acme/known/resolve/main/b.txt", *cold, "/api/models?search=x"]
    for path in paths:
        got = mirror.ask(path)
        assert (got.status, "x-hf-warning" in got.headers) == (501, True), path
    assert mirror.ask("/acme/known/resolve/main/a.txt").body == b"here"
    assert len(origin.log) <= 5

    origin.clear_faults()
    mirror.wait_for(lambda: mirror.ask(cold[0]).body == b"a", timeout=15)
    assert mirror.ask("/acme/known/resolve/main/b.txt").body == b"not here"


def test_offline_sends_nothing(tmp_path: Path, origin: Origin) -> None:
    """With --offline not one request reaches upstream, whatever is asked; what is here is answered."""
    origin.add_repo("models", "acme/tiny", files={"config.json": b"{}", "cold.txt": b"cold"})
    with Running(tmp_path / "data", origin) as online:
        for method, path in WARM:
            online.ask(path, method=method)
    origin.clear_log()
    with Running(tmp_path / "data", origin, flags=("--offline",)) as offline:
        assert offline.ask("/-/status").json()["state"] == "offline"
        for method, path in WARM:
            assert offline.ask(path, method=method).status in {200, 404}
        for path in (
            "/acme/tiny/resolve/main/cold.txt",
            "/acme/never/resolve/main/x.txt",
            "/api/models?search=x",
            "/api/models/acme/never",
            "/acme/tiny/info/refs?service=git-upload-pack",
        ):
            got = offline.ask(path)
            assert got.status == 501, path
            assert len(got.headers["x-error-message"]) > 20
    assert origin.log == []
