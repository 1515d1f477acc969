"""Large cold blobs: several connections when they help, and parts without the whole."""

import hashlib
import itertools
import re
import time

import pytest

from tests.mirror.running import Running
from tests.origin import Fault, Origin, Sparse

MIB = 1 << 20
GIB = 1 << 30


def _stamped(start: int, end: int) -> bytes:
    """Bytes *start* up to *end* of a stamped sparse file."""
    data = bytearray(end - start)
    for offset in range(-(-start // MIB) * MIB, end, MIB):
        stamp = (offset + 1).to_bytes(8, "big")[: end - offset]
        data[offset - start : offset - start + len(stamp)] = stamp
    return bytes(data)


def test_large_blob_is_read_at_its_end_for_a_piece(mirror: Running, origin: Origin) -> None:
    """100 bytes at the end of a cold 10 GB file cost a piece upstream, and nothing goes on behind."""
    size = 10 * GIB + 12345
    whole = Sparse(size, sha256="ab" * 32, stamped=True)  # never fetched whole, so never hashed
    origin.add_repo("models", "acme/huge", files={"m.bin": whole}, lfs=("*.bin",))
    url = "/acme/huge/resolve/main/m.bin"
    for start in (size - 100, 7 * GIB - 50, 0, 7 * GIB + 100):
        began = time.monotonic()
        got = mirror.ask(url, headers={"Range": f"bytes={start}-{start + 99}"})
        assert got.status == 206
        assert got.body == _stamped(start, start + 100)
        assert time.monotonic() - began < 5
    again = mirror.ask(url, headers={"Range": "bytes=-100"})
    assert again.body == _stamped(size - 100, size)
    seen = origin.seen(server="cdn", method="GET", path=".*")
    assert sum(item.bytes_sent for item in seen) < 16 * MIB
    assert len(seen) <= 4
    mirror.settle()
    partial = next((mirror.data / "v1" / "partial").glob("*/data"))
    assert partial.stat().st_blocks * 512 < 16 * MIB

    assert mirror.stop() == 0
    origin.clear_log()
    mirror.start()
    assert mirror.ask("/-/status").json()["store"]["bytes"] < 16 * MIB
    got = mirror.ask(url, headers={"Range": f"bytes={7 * GIB}-{7 * GIB + 7}"})
    assert got.body == _stamped(7 * GIB, 7 * GIB + 8)
    assert origin.seen(server="cdn", method="GET", path=".*") == []


@pytest.mark.slow
def test_large_blob_comes_faster_over_several_connections(mirror: Running, origin: Origin) -> None:
    """600 MiB at 12 MB/s a connection: far sooner than one could, right, and each byte asked once."""
    size, rate = 600 * MIB, 12e6
    origin.add_repo(
        "models", "acme/large", files={"m.bin": Sparse(size, stamped=True)}, lfs=("*.bin",)
    )
    origin.fault(Fault(server="cdn", method="GET", path=".*", action="drip", rate=rate, times=None))
    began = time.monotonic()
    got = mirror.ask("/acme/large/resolve/main/m.bin", timeout=100)
    seconds = time.monotonic() - began

    assert hashlib.sha256(got.body).digest() == hashlib.sha256(_stamped(0, size)).digest()
    assert seconds < size / rate / 2
    seen = origin.seen(server="cdn", method="GET", path=".*")
    asked = []
    for item in seen[1:]:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", item.headers["range"])
        assert match is not None
        asked.append((int(match[1]), int(match[2] or size - 1) + 1))
    asked.sort()
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(asked))
    assert asked[0][0] < 64 * MIB
    assert asked[-1][1] == size
    assert sum(item.bytes_sent for item in seen) <= size * 1.02 + 4 * MIB
    assert len(origin.seen(server="hub", method="GET", path=r"/acme/large/resolve/.*")) <= 3


def test_large_blob_restarts_with_what_was_synced_out_of_order(
    mirror: Running, origin: Origin
) -> None:
    """Parts kept over a restart are not asked for again when the whole is wanted."""
    size = 300 * MIB
    origin.add_repo(
        "models", "acme/parts", files={"m.bin": Sparse(size, stamped=True)}, lfs=("*.bin",)
    )
    origin.fault(Fault(server="cdn", method="GET", path=".*", action="drip", rate=4e6, times=2))
    url = "/acme/parts/resolve/main/m.bin"
    got = mirror.ask(url, headers={"Range": f"bytes={290 * MIB}-{290 * MIB + 9}"})
    assert got.body == _stamped(290 * MIB, 290 * MIB + 10)
    assert mirror.stop() == 0
    origin.clear_log()
    origin.clear_faults()
    mirror.start()
    assert mirror.ask(url).body == _stamped(0, size)
    asked = [item.headers.get("range", "") for item in origin.seen(server="cdn", method="GET")]
    assert asked[0] == f"bytes=0-{290 * MIB - 1}"
    for text in asked:
        # One connection or several, as fast as this machine is: what was kept is in none of them.
        start, _, last = text.removeprefix("bytes=").partition("-")
        assert int(start) > 290 * MIB or int(last) < 290 * MIB
