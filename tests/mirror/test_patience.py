"""No metadata answer that exists here waits for upstream, be it the very first request of an outage."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.mirror.running import Got, Running
from tests.mirror.test_outage import black_hole
from tests.origin import Fault, Origin

# What an answer may wait for upstream, and what a machine that others use may add to it. A wait that
# nobody cuts short takes 6 s before two upstreams that swallow connections, 30 s before a silent one.
PATIENCE, MARGIN = 2.0, 2.0

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_TINY, _TABLE = "/api/models/acme/tiny", "/api/datasets/acme/table"

# Every metadata route of docs/hub.md that can be answered from what is here, as clients ask it: method,
# target, token, form.
ROUTES: tuple[tuple[str, str, str | None, bytes | None], ...] = (
    ("HEAD", "/acme/tiny/resolve/main/config.json", None, None),
    ("HEAD", "/acme/tiny/resolve/v1/config.json", None, None),
    ("HEAD", "/acme/tiny/resolve/refs%2Fpr%2F1/config.json", None, None),
    ("HEAD", "/acme/tiny/resolve/main/no-such-file", None, None),
    ("HEAD", "/acme/old/resolve/main/config.json", None, None),
    ("HEAD", "/datasets/acme/table/resolve/main/data.csv", None, None),
    ("GET", "/acme/tiny/resolve/main/config.json", None, None),
    ("GET", "/acme/tiny/raw/main/model.safetensors", None, None),
    ("GET", _TINY, None, None),
    ("GET", f"{_TINY}?blobs=true&securityStatus=true", None, None),
    ("GET", f"{_TINY}?expand=downloads", None, None),
    ("GET", "/api/models/acme/old", None, None),
    ("GET", f"{_TINY}/revision/main", None, None),
    ("GET", f"{_TINY}/revision/refs%2Fpr%2F1", None, None),
    ("GET", f"{_TINY}/tree/main?recursive=true", None, None),
    ("GET", f"{_TINY}/tree/main/onnx", None, None),
    ("GET", f"{_TINY}/tree/main/no-such-folder", None, None),
    ("GET", f"{_TINY}/tree/main?expand=true", None, None),
    ("POST", f"{_TINY}/paths-info/main", None, b"paths=config.json&paths=onnx&expand=false"),
    ("POST", f"{_TINY}/paths-info/main", None, b"paths=config.json&expand=true"),
    ("GET", f"{_TINY}/refs", None, None),
    ("GET", f"{_TINY}/refs?include_prs=1", None, None),
    ("GET", f"{_TINY}/commits/main", None, None),
    ("GET", f"{_TINY}/xet-read-token/main", None, None),
    ("GET", f"{_TABLE}/revision/main", None, None),
    ("GET", f"{_TABLE}/parquet", None, None),
    ("HEAD", "/acme/gated/resolve/main/config.json", "tokenA", None),
    ("GET", "/api/models/acme/gated/tree/main?recursive=true", "tokenA", None),
    ("HEAD", "/acme/private/resolve/main/config.json", "tokenA", None),
    ("GET", "/api/models/acme/private", "tokenA", None),
)


def _publish(origin: Origin) -> None:
    files = {
        "config.json": b"{}",
        "model.safetensors": bytes(range(256)) * 4,
        "onnx/model.onnx": b"onnx",
    }
    origin.add_repo(
        "models",
        "acme/tiny",
        files=dict(files),
        tags={"v1": "main"},
        refs={"refs/pr/1": files | {"config.json": b'{"pr": 1}'}},
        renamed_from=("acme/old",),
    )
    origin.add_repo(
        "datasets",
        "acme/table",
        files={"data.csv": b"a,b\n1,2\n"},
        refs={"refs/convert/parquet": {"default/train/0000.parquet": b"PAR1"}},
    )
    for name, access in (("gated", {"gated": "auto"}), ("private", {"private": True})):
        origin.add_repo(
            "models",
            f"acme/{name}",
            files={"config.json": b"{}"},
            readers=("tokenA",),
            **access,
        )


def _ask(
    mirror: Running, method: str, target: str, token: str | None, form: bytes | None
) -> tuple[Got, float]:
    began = time.monotonic()
    got = mirror.ask(target, method=method, token=token, body=form, headers=_FORM if form else {})
    return got, time.monotonic() - began


def _all_at_once(mirror: Running) -> list[tuple[Got, float]]:
    """Ask for every route at the same time, so that each is the first of an outage."""
    answers: list[tuple[Got, float] | None] = [None] * len(ROUTES)
    together = threading.Barrier(len(ROUTES))

    def one(number: int) -> None:
        together.wait()
        answers[number] = _ask(mirror, *ROUTES[number])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(ROUTES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for answer in answers if answer is not None]


@contextmanager
def _swallowed(origin: Origin, second: str) -> Iterator[None]:
    """Both upstreams let connections hang."""
    origin.stop()
    with black_hole(origin.url), black_hole(second):
        yield


@contextmanager
def _silent(origin: Origin, _second: str) -> Iterator[None]:
    """Upstream takes requests and says nothing."""
    origin.fault(Fault(action="delay", seconds=60, times=None))
    yield
    origin.clear_faults()


Failing = Callable[[Origin, str], AbstractContextManager[None]]


@pytest.mark.parametrize("failing", [_swallowed, _silent])
def test_no_route_waits_for_an_upstream_that_is_away(
    tmp_path: Path, origin: Origin, failing: Failing
) -> None:
    """Every metadata route answers what it answered before, within 2 s, the first of an outage too."""
    _publish(origin)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        second = f"http://127.0.0.1:{unused.getsockname()[1]}"
    settings = {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": f"{origin.url},{second}",
        "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s",
        "MODELMIRROR_AUDIENCE_LIFETIME": "0s",
    }
    with Running(tmp_path / "data", origin, settings=settings) as mirror, ExitStack() as stack:
        for method, target, token, _ in ROUTES:
            if method == "HEAD":  # What is not stored is 501 in an outage, for HEAD as for GET.
                mirror.ask(target, token=token)
        warm = [_ask(mirror, *route)[0] for route in ROUTES]
        assert {got.status for got in warm} <= {200, 404}, [
            (route[:2], got.status, got.body)
            for route, got in zip(ROUTES, warm, strict=True)
            if got.status not in {200, 404}
        ]
        mirror.settle()
        stack.enter_context(failing(origin, second))

        answers = _all_at_once(mirror)

        for route, before, (got, took) in zip(ROUTES, warm, answers, strict=True):
            assert got.status == before.status, (route[:2], got.status, got.body)
            assert took < PATIENCE + MARGIN, (route[:2], took)
        assert max(took for _, took in answers) >= PATIENCE / 2, "nothing had to be asked at all"
