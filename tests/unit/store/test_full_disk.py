"""A disk that is full: said as such, with nothing broken and nothing left behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.digest import sha256_of
from mirror.errors import StoreFullError
from mirror.store.sums import PIECE
from tests.unit.store.kit import Kit, read

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        yield folder
    finally:
        # Lazily: a failed test may have left a file open, and a mount must not outlive it.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_refuses_before_the_first_byte(small_disk: Path) -> None:
    """The ledger asks the disk itself, so no fill begins that cannot end."""
    with Kit(small_disk / "data", disk=None) as kit:
        with pytest.raises(StoreFullError) as refusal:
            kit.partials.begin(sha256_of(b"x"), 9 * MIB)
        assert refusal.value.needed == 9 * MIB
        assert 0 < refusal.value.free <= 8 * MIB
        first = kit.partials.begin(sha256_of(b"a"), 5 * MIB)
        with pytest.raises(StoreFullError):
            kit.partials.begin(sha256_of(b"b"), 5 * MIB)
        first.abandon()
        kit.partials.begin(sha256_of(b"b"), 5 * MIB).close()
        first.close()


def test_full_disk_in_the_middle_of_a_fill_is_want_of_room(small_disk: Path) -> None:
    """When somebody else filled the disk the fill ends, its room comes back, blobs stay good."""
    stored, coming = os.urandom(2 * PIECE), os.urandom(8 * MIB)
    with Kit(small_disk / "data") as kit:
        digest = kit.fill(stored)
        partial = kit.partials.begin(sha256_of(coming), len(coming))
        with pytest.raises(StoreFullError, match="No space left") as refusal:
            _append_all(coming, partial.append)
        assert refusal.value.hint
        assert partial.received < len(coming)
        partial.abandon()
        partial.close()
        assert (kit.ledger.used, kit.ledger.reserved) == (len(stored), 0)
        blob = kit.store.open(digest)
        assert blob is not None
        assert read(blob) == stored
        blob.close()
        kit.fill(os.urandom(3 * MIB))


def test_full_disk_at_the_commit_publishes_nothing(small_disk: Path) -> None:
    """Not even the sums fit: the partial goes, and there is room again."""
    coming = os.urandom(4 * MIB)
    with Kit(small_disk / "data") as kit:
        partial = kit.finished(coming)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            _append_all(bytes(8 * MIB), file.write, 4096)
        with pytest.raises(StoreFullError):
            kit.store.put([partial])
        partial.close()
        assert kit.names() == []
        assert kit.ledger.reserved == 0
        filler.unlink()
        assert kit.store.find(kit.fill(coming)) is not None


def _append_all(data: bytes, append: object, step: int = 100_000) -> None:
    assert callable(append)
    for start in range(0, len(data), step):
        append(data[start : start + step])
