"""A mirror with little room: what is wanted least goes, what is being read stays, and the quota holds."""

import http.client
import random
from pathlib import Path

from tests.mirror.running import Running, files_below
from tests.origin import Origin

MIB = 1 << 20


def _repo(origin: Origin, number: int, size: int = MIB) -> tuple[str, bytes]:
    """A repo of one large file; returns the path that it is downloaded by, and the file."""
    content = random.Random(number).randbytes(size)
    origin.add_repo("models", f"acme/m{number}", files={"model.bin": content}, lfs=("*.bin",))
    return f"/acme/m{number}/resolve/main/model.bin", content


def _stored(data: Path) -> int:
    return sum(size for _, size in files_below(data / "v1" / "blobs"))


def test_room_is_made_within_the_quota(tmp_path: Path, origin: Origin) -> None:
    """Ten files of 1 MiB go through a store of 4 MiB: all right, never more stored, the last here."""
    with Running(tmp_path / "data", origin, flags=("--quota", "4MiB")) as mirror:
        for number in range(10):
            path, content = _repo(origin, number)
            got = mirror.ask(path)
            assert (got.status, got.body) == (200, content)
            mirror.settle()
            assert _stored(mirror.data) <= 4 * MIB
        origin.clear_log()

        assert mirror.ask("/acme/m9/resolve/main/model.bin").status == 200
        assert origin.seen(server="cdn", method="GET", path=".*") == []
        assert mirror.ask("/acme/m0/resolve/main/model.bin").status == 200
        assert len(origin.seen(server="cdn", method="GET", path=".*")) == 1
        assert mirror.ask("/-/status").json()["store"]["bytes"] <= 4 * MIB
        assert b"modelmirror_evicted_blobs_total" in mirror.ask("/-/metrics").body


def test_room_is_not_made_of_what_is_being_read(tmp_path: Path, origin: Origin) -> None:
    """A download that stands still for longer than a whole turnover of the store ends whole."""
    path, content = _repo(origin, 100, 16 * MIB)
    with Running(tmp_path / "data", origin, flags=("--quota", "20MiB")) as mirror:
        assert mirror.ask(path).body == content
        mirror.settle()
        connection = http.client.HTTPConnection(*mirror.address, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        begun = answer.read(1000)
        for number in range(8):
            other, expected = _repo(origin, number)
            assert mirror.ask(other).body == expected
        mirror.settle()

        assert begun + answer.read() == content
        connection.close()
        assert _stored(mirror.data) <= 20 * MIB


def test_room_shrinks_to_a_quota_lowered_at_the_start(tmp_path: Path, origin: Origin) -> None:
    """A smaller quota is reached soon after the start, by what was wanted longest ago."""
    paths = [_repo(origin, number)[0] for number in range(6)]
    with Running(tmp_path / "data", origin) as mirror:
        for path in paths:
            assert mirror.ask(path).status == 200
        mirror.settle()
        assert mirror.stop() == 0
        mirror.flags = ("--quota", "2MiB")
        mirror.start()
        mirror.wait_for(lambda: _stored(mirror.data) <= 2 * MIB)
        origin.stop()

        assert mirror.ask(paths[5]).status == 200
        assert mirror.ask(paths[0]).status >= 500
