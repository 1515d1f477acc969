"""Somebody else's bytes as a file of our own: whole or not at all, whatever happens on the way."""

import os
from pathlib import Path

import pytest

from mirror.digest import MD5, Check, git_sha1_of, sha256_of
from mirror.errors import DigestMismatchError, StoreError, StoreFullError, TruncatedBodyError
from mirror.store.copied import Copied
from mirror.store.sums import PIECE, Sums
from tests.unit.store.kit import Kit, read

BIG = os.urandom(5 * PIECE + 7)


def _source(tmp_path: Path, data: bytes) -> int:
    (tmp_path / "source").write_bytes(data)
    return os.open(tmp_path / "source", os.O_RDONLY)


@pytest.mark.parametrize("data", [b"", b"small", BIG[:PIECE], BIG])
def test_copied_bytes_become_a_blob(kit: Kit, tmp_path: Path, data: bytes) -> None:
    """Read and written by two threads, or at once where they are few: the same bytes, sums and room."""
    source, heard = _source(tmp_path, data), list[int]()
    copied = Copied.begin(kit.layout, kit.ledger, git_sha1_of(data), len(data))
    copied.fill(source, heard.append)
    copied.finish()
    (blob,) = kit.store.put([copied])
    copied.close()
    os.close(source)

    assert blob.digest == sha256_of(data)
    assert kit.file(blob.digest).stat().st_mode & 0o777 == 0o444
    assert (kit.ledger.used, kit.ledger.reserved) == (len(data), 0)
    assert sum(heard) == len(data)
    if len(data) > PIECE:
        sums = Sums.read(kit.layout.sums_of(blob.digest), blob.digest)
        assert sums is not None
        for piece in range(6):
            assert sums.matches(piece, data[piece * PIECE : (piece + 1) * PIECE])
    opened = kit.store.open(blob.digest)
    assert opened is not None
    assert read(opened) == data
    opened.close()


@pytest.mark.parametrize("size", [100, 5 * PIECE + 7])
def test_copied_bytes_that_are_others_or_too_few_are_refused(
    kit: Kit, tmp_path: Path, size: int
) -> None:
    """A wrong digest, a wrong checksum, a file that ended early: nothing stays, and no room is held."""
    data = BIG[:size]
    source = _source(tmp_path, data)
    wrong = [
        (sha256_of(b"other"), len(data), (), DigestMismatchError),
        (sha256_of(data), len(data), (Check(MD5, "0" * 32),), DigestMismatchError),
        (sha256_of(data), len(data) + 1, (), TruncatedBodyError),
    ]
    for expected, length, checks, error in wrong:
        copied = Copied.begin(kit.layout, kit.ledger, expected, length, checks)
        copied.fill(source, lambda _amount: None)
        with pytest.raises(error):
            copied.finish()
        with pytest.raises(ValueError, match="not finished"):
            kit.store.put([copied])
        copied.close()
        assert kit.names() == []
        assert (kit.ledger.used, kit.ledger.reserved) == (0, 0)
    os.close(source)


def test_copied_bytes_stop_where_the_disk_takes_no_more(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the writing thread met is raised, whole blobs stay, and the file goes."""
    source, pwrite = _source(tmp_path, BIG), os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if offset >= 2 * PIECE:
            raise OSError(28, "No space left on device")
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    copied = Copied.begin(kit.layout, kit.ledger, sha256_of(BIG), len(BIG))
    with pytest.raises(StoreFullError):
        copied.fill(source, lambda _amount: None)
    copied.close()
    os.close(source)
    assert kit.names() == []
    assert (kit.ledger.used, kit.ledger.reserved) == (0, 0)


def test_copied_bytes_need_room_before_anything_is_written(tmp_path: Path) -> None:
    """A file that does not fit leaves nothing, not even its temporary name."""
    with Kit(tmp_path / "data", quota=10) as kit:
        with pytest.raises(StoreFullError):
            Copied.begin(kit.layout, kit.ledger, sha256_of(BIG), len(BIG))
        assert kit.names() == []


def test_copied_bytes_that_could_not_be_synced_are_gone(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with any blob: what may not be on the disk gets no name."""
    source = _source(tmp_path, b"small")
    copied = Copied.begin(kit.layout, kit.ledger, sha256_of(b"small"), 5)
    copied.fill(source, lambda _amount: None)
    copied.finish()

    def fail(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError):
        kit.store.put([copied])
    copied.close()
    os.close(source)
    assert kit.names() == []
    assert (kit.ledger.used, kit.ledger.reserved) == (0, 0)
