"""Bodies that come without a length, through a running mirror: taken whole and once, whatever happens."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.running import Running, files_below
from tests.origin import Origin

SITE = "github.com"
PATH = f"/o/r/zipball/{'a' * 40}"
PLACE = f"/-/host/{SITE}{PATH}"
BODY = os.urandom(3 << 20)


def started(hosts: Hosts, origin: Origin, folder: Path, **more: str) -> Running:
    """A mirror that asks them."""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(SITE), **more}
    return Running(folder / "data", origin, settings=settings)


def test_eight_clients_cost_one_download(hosts: Hosts, origin: Origin, tmp_path: Path) -> None:
    """They wait for the same body; one that hangs up takes nothing from the others."""
    gate = threading.Event()
    hosts.put(SITE, PATH, Thing(BODY, chunked=True, gate=gate))
    with started(hosts, origin, tmp_path) as mirror, ThreadPoolExecutor(8) as pool:
        with pytest.raises(TimeoutError):
            mirror.ask(PLACE, timeout=0.5)
        asked = [pool.submit(mirror.ask, PLACE) for _ in range(8)]
        mirror.wait_for(lambda: hosts.bodies(SITE, PATH) == 1)
        gate.set()
        got = [answer.result() for answer in asked]
        assert {(answer.status, answer.body) for answer in got} == {(200, BODY)}
        assert {answer.headers["content-length"] for answer in got} == {str(len(BODY))}
    assert hosts.bodies(SITE, PATH) == 1


def test_a_kill_leaves_nothing_behind(hosts: Hosts, origin: Origin, tmp_path: Path) -> None:
    """What had come is swept away at the start, and its room is free again."""
    gate = threading.Event()
    hosts.put(SITE, PATH, Thing(BODY, chunked=True, gate=gate))
    mirror = started(hosts, origin, tmp_path)
    v1 = mirror.data / "v1"

    def left() -> set[str]:
        return {str(path) for path, _ in files_below(v1 / "partial")}

    with mirror, ThreadPoolExecutor(1) as pool:
        # What the house writes down passes through there, too.
        mirror.wait_for(lambda: not left())
        asked = pool.submit(mirror.ask, PLACE)
        mirror.wait_for(lambda: hosts.bodies(SITE, PATH) == 1)
        mirror.stop(signal.SIGKILL)
        assert isinstance(asked.exception(), OSError)
        assert left()
        gate.set()
        mirror.start()
        mirror.wait_for(lambda: not left())
        assert mirror.ask(PLACE).body == BODY
        mirror.wait_for(lambda: not left())


def test_what_does_not_fit_is_refused_and_holds_no_room(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """A body beyond the quota ends in 507; the room that was kept for it is for others again."""
    large = bytes(40 << 20)
    hosts.put(SITE, PATH, Thing(large, chunked=True))
    hosts.put(SITE, PATH[:-1], Thing(BODY, chunked=True))
    with started(hosts, origin, tmp_path, MODELMIRROR_QUOTA="24MiB") as mirror:
        for _ in range(3):
            got = mirror.ask(PLACE)
            assert got.status == 507
            assert got.json()["error"]
        assert mirror.ask(PLACE[:-1]).body == BODY
        assert not any(size > 1 << 20 for _, size in files_below(mirror.data / "v1" / "partial"))
