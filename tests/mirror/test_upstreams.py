"""Several upstreams: what one cannot give the next one does, and nobody notices."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.clients import Download, download, together
from tests.faults.site import while_running
from tests.mirror.running import Running
from tests.mirror.test_outage import black_hole
from tests.origin import Fault, Origin
from tests.origin.log import Seen

MIB = 1 << 20
CONTENT = random.Random(6).randbytes(8 * MIB)
FILES = {"config.json": b"{}", "model.bin": CONTENT}
FILE = "/acme/model/resolve/main/model.bin"


@pytest.fixture
def second() -> Iterator[Origin]:
    """Another origin with the same repo, whose CDN calls the same bytes by another ETag."""
    with Origin() as running:
        running.add_repo("models", "acme/model", files=FILES, lfs=("*.bin",))
        running.fault(Fault("etag", server="cdn", times=None))
        yield running


@pytest.fixture
def both(tmp_path: Path, origin: Origin, second: Origin) -> Iterator[Running]:
    """A mirror that asks the first origin, and the second where that one fails."""
    origin.add_repo("models", "acme/model", files=FILES, lfs=("*.bin",))
    settings = {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": f"{origin.url},{second.url}",
        "MODELMIRROR_REDIRECT_HOSTS": ",".join((*origin.redirect_hosts, *second.redirect_hosts)),
        "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s",
    }
    with Running(tmp_path / "data", origin, settings=settings) as running:
        yield running


def _eight(mirror: Running) -> list[Download]:
    return together(8, lambda: download(mirror.url + FILE))


def _bodies(origin: Origin) -> list[Seen]:
    return origin.seen(server="cdn", method="GET")


@pytest.mark.parametrize("first", ["refused", "black-holed", "500"])
def test_upstreams_are_asked_in_turn_while_they_fail(
    both: Running, origin: Origin, second: Origin, first: str
) -> None:
    """The first is gone, silent or broken: listings, heads and files come from the second."""
    with ExitStack() as stack:
        if first == "500":
            origin.fault(Fault("status", status=500, times=None))
        else:
            origin.stop()
        if first == "black-holed":
            stack.enter_context(black_hole(origin.url))
        assert both.ask("/api/models/acme/model/revision/main").status == 200
        assert [one.clean(CONTENT) for one in _eight(both)] == [True] * 8
        assert both.ask("/api/models/acme/model/tree/main").status == 200
        assert both.ask("/acme/model/resolve/main/config.json").body == b"{}"
        assert both.ask(FILE, method="HEAD").headers["x-repo-commit"]
        assert both.ask("/acme/model/resolve/main/none").status == 404
        assert len(_bodies(second)) == 1
        both.wait_for(lambda: both.ask("/-/status").json()["state"] == "online")
        both.settle()


def test_upstreams_that_fail_are_left_alone(both: Running, origin: Origin, second: Origin) -> None:
    """While the second answers, few of forty questions go to the first; once it is up, it is first again."""
    armed = origin.fault(Fault("status", status=503, times=None))
    for _ in range(40):
        assert both.ask("/api/models/acme/model/revision/main").status == 200
    # It goes behind for 1 s, then for 2, 4, 8: forty questions do not take so long that it is eight times.
    assert armed.hits <= 8

    origin.clear_faults()
    second.clear_log()

    def first_again() -> bool:
        origin.clear_log()
        assert both.ask("/api/models/acme/model/revision/main").status == 200
        return bool(origin.seen(server="hub", method="GET"))

    both.wait_for(first_again, timeout=40)


def test_upstream_that_dies_in_the_middle_is_replaced(
    both: Running, origin: Origin, second: Origin
) -> None:
    """The first sends 60 % and is gone: the second sends the rest, by Range, for all eight."""
    at = len(CONTENT) * 6 // 10
    origin.fault(Fault("stall", server="cdn", method="GET", at=at))

    def die() -> None:
        def received() -> int:
            fills = both.ask("/-/status").json()["fills"]
            return int(fills[0]["received"]) if fills else 0

        both.wait_for(lambda: received() >= at)
        origin.stop()

    with while_running(die):
        results = _eight(both)

    assert [one.clean(CONTENT) for one in results] == [True] * 8
    (rest,) = _bodies(second)
    assert rest.headers["range"] == f"bytes={at}-"
    # The first one's validator says nothing to it; the size and the digest say that it is the file.
    assert "if-range" not in rest.headers
    both.settle()


def test_upstream_that_always_breaks_is_replaced(
    both: Running, origin: Origin, second: Origin
) -> None:
    """The first answers everything and breaks off at 60 %: the second finishes the file."""
    armed = origin.fault(Fault("cut", server="cdn", method="GET", at=0.6, times=None))

    assert [one.clean(CONTENT) for one in _eight(both)] == [True] * 8
    assert armed.hits == 1
    sent = [seen.bytes_sent for seen in (*_bodies(origin), *_bodies(second))]
    assert len(sent) == 2
    assert sum(sent) <= 1.05 * len(CONTENT)
    both.settle()


def test_upstream_with_another_file_under_the_name_spoils_nothing(
    tmp_path: Path, origin: Origin, second: Origin
) -> None:
    """The rest comes from an upstream whose bytes are others: nobody gets a whole file of both."""
    origin.add_repo("models", "acme/model", files=FILES, lfs=("*.bin",))
    origin.fault(Fault("cut", server="cdn", method="GET", at=0.6, times=None))
    second.fault(Fault("flip", server="cdn", method="GET", at=0.9, times=None))
    settings = {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": f"{origin.url},{second.url}",
        "MODELMIRROR_REDIRECT_HOSTS": ",".join((*origin.redirect_hosts, *second.redirect_hosts)),
    }
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        assert all(one.harmless(CONTENT) and not one.whole for one in _eight(mirror))
