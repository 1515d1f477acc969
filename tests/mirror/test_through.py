"""Serving through: what cannot be stored still reaches its client, checked, and leaves nothing."""

import http.client
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mirror.running import Running, files_below
from tests.origin import Fault, Origin

CONTENT = random.Random(9).randbytes(300_000)
PATH = "/acme/full/resolve/main/model.bin"


@pytest.fixture
def full(tmp_path: Path, origin: Origin) -> Iterator[Running]:
    """A mirror whose disk has no room for anything, before a repo with one file."""
    origin.add_repo("models", "acme/full", files={"model.bin": CONTENT}, lfs=("*.bin",))
    with Running(
        tmp_path / "data", origin, settings={"MODELMIRROR_MIN_FREE": "1000TiB"}
    ) as running:
        yield running


def test_through_gives_the_file_and_its_ranges(full: Running) -> None:
    """Whole or in part the bytes are right, nothing is stored, and the status says degraded."""
    before = list(files_below(full.data / "v1" / "blobs"))

    whole = full.ask(PATH)
    assert (whole.status, whole.body) == (200, CONTENT)
    etag = whole.headers["etag"]
    for value, expected in (("bytes=5-9", CONTENT[5:10]), ("bytes=-7", CONTENT[-7:])):
        got = full.ask(PATH, headers={"Range": value, "If-Range": etag})
        assert (got.status, got.body) == (206, expected)
    other = full.ask(PATH, headers={"Range": "bytes=5-9", "If-Range": '"other"'})
    assert (other.status, other.body) == (200, CONTENT)

    assert list(files_below(full.data / "v1" / "blobs")) == before
    assert full.ask("/-/status").json()["state"] == "degraded"


def test_through_never_ends_wrong_bytes_cleanly(full: Running, origin: Origin) -> None:
    """One flipped byte breaks the response off before its end; the next one is right."""
    origin.fault(Fault(server="cdn", method="GET", path=".*", times=1, action="flip", at=0.5))

    with pytest.raises((http.client.HTTPException, ConnectionError)):
        full.ask(PATH)
    assert full.ask(PATH).body == CONTENT


def test_through_says_what_is_missing_in_an_outage(full: Running, origin: Origin) -> None:
    """Without room and without upstream the file is refused with 501 and its name."""
    assert full.ask(PATH).status == 200
    origin.stop()

    got = full.ask(PATH)

    assert got.status == 501
    assert "model.bin" in got.headers["x-error-message"]
