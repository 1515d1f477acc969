"""Adopting on disks that share bytes, on two disks, and on one that is too small."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks import NotPermittedError, mounted, small_disk
from tests.mirror.adopting import adopt

SIZE = 64 << 20
DATA = os.urandom(SIZE)
COMMIT = "c" * 40


def _cache(folder: Path) -> Path:
    """A Hub cache with one large file."""
    repo, name = folder / "cache" / "models--acme--tiny", hashlib.sha256(DATA).hexdigest()
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs" / name).write_bytes(DATA)
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").symlink_to(f"../../blobs/{name}")
    os.sync()
    return folder / "cache"


def _free(folder: Path) -> int:
    os.sync()
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A disk whose files can share their bytes."""
    if shutil.which("mkfs.xfs") is None:
        pytest.skip("not installed: mkfs.xfs")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
    try:
        with mounted(str(image), tmp_path / "disk", "-o", "loop") as disk:
            yield disk
    except NotPermittedError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("link", ["reflink", "hard"])
def test_bytes_are_shared_and_take_no_room(xfs: Path, link: str) -> None:
    """By the way that was asked for; the source has the bytes that it had, whatever becomes of the blob."""
    cache = _cache(xfs)
    before = _free(xfs)
    done = adopt(xfs / "data", str(cache), "--link", link)
    assert done.report["taken"] == {link: {"files": 1, "bytes": SIZE}}, done.out
    assert before - _free(xfs) < 16 << 20
    (source,) = cache.glob("*/blobs/*")
    (blob,) = (xfs / "data" / "v1" / "blobs" / "sha256").glob(f"*/{source.name}")
    assert blob.read_bytes() == DATA
    assert (blob.stat().st_ino == source.stat().st_ino) == (link == "hard")
    if link == "reflink":
        with source.open("r+b") as file:
            file.write(b"changed")
        assert blob.read_bytes() == DATA


def test_a_file_on_another_disk_is_copied(xfs: Path, tmp_path: Path) -> None:
    """Neither link can reach there."""
    cache = _cache(tmp_path)
    for number, link in enumerate(("reflink", "hard")):
        done = adopt(xfs / f"data{number}", str(cache), "--link", link)
        assert done.report["taken"] == {"copy": {"files": 1, "bytes": SIZE}}, done.out


def test_a_disk_that_is_too_small_takes_nothing(tmp_path: Path) -> None:
    """It is said before a byte is written."""
    cache = _cache(tmp_path)
    try:
        with small_disk(tmp_path / "small", SIZE // 2) as disk:
            done = adopt(disk / "data", str(cache), as_json=False)
            assert done.code == 1
            assert "There is no room for 64.0 MiB more" in done.err
            assert not [
                path for path in (disk / "data" / "v1" / "partial").rglob("*") if path.is_file()
            ]
    except NotPermittedError as error:
        pytest.skip(str(error))


def test_a_hard_link_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    """A full disk is no reason against it."""
    try:
        with small_disk(tmp_path / "small", SIZE + (24 << 20)) as disk:
            cache = _cache(disk)
            assert _free(disk) < SIZE
            done = adopt(disk / "data", str(cache), "--link", "hard")
            assert done.report["taken"] == {"hard": {"files": 1, "bytes": SIZE}}, done.out
    except NotPermittedError as error:
        pytest.skip(str(error))
