"""The store's own promises beyond those of every blob store: order, files, quarantine."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from mirror.digest import sha256_of
from mirror.errors import StoreError
from mirror.store.blobs import Blob
from mirror.store.sums import PIECE, Sums
from tests.unit.store.kit import Kit, ScriptedResidency, read
from tests.unit.store.trace import Trace

BIG = os.urandom(2 * PIECE + 1)
SMALL = b"small"


def open_files() -> int:
    """Descriptors that this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def test_blobs_commit_in_the_one_order(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums, then the file, then its name, then the folders."""
    name, fan = sha256_of(BIG).hex, sha256_of(BIG).hex[:2]
    for path in (kit.layout.blob(sha256_of(BIG)), kit.layout.sums_of(sha256_of(BIG))):
        path.parent.mkdir()
    partial = kit.finished(BIG)
    trace = Trace(monkeypatch)
    kit.store.put([partial])
    assert trace.steps[0].startswith("sync new-")
    assert trace.steps[1].startswith("rename new-")
    assert trace.steps[1].endswith(name)
    assert trace.steps[2:] == ["sync data", f"rename data {name}", f"sync {fan}", f"sync {fan}"]
    partial.close()


def test_blobs_batch_shares_the_syncs_of_its_folders(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All names first, then every folder once, so that the disk commits them together."""
    blobs = [b"%d" % number for number in range(40)]
    partials = [kit.finished(data) for data in blobs]
    trace = Trace(monkeypatch)
    kit.store.put(partials)
    folders = {"sha256"} | {sha256_of(data).hex[:2] for data in blobs}
    last_rename = max(n for n, step in enumerate(trace.steps) if step.startswith("rename"))
    assert sorted(trace.steps[last_rename + 1 :]) == sorted(f"sync {name}" for name in folders)
    for partial in partials:
        partial.close()


def test_blobs_batch_waits_for_the_disk_together(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of all are synced at once, by several threads, and all of them before the first name."""
    partials = [kit.finished(b"%d" % number) for number in range(4)]
    meet, steps, fsync, rename = threading.Barrier(4), list[str](), os.fsync, os.rename

    def together(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            meet.wait(30)
            steps.append("sync")
        fsync(fd)

    def named(source: Path, final: Path) -> None:
        steps.append("name")
        rename(source, final)

    monkeypatch.setattr(os, "fsync", together)
    monkeypatch.setattr(os, "rename", named)
    kit.store.put(partials)
    assert steps[:4] == ["sync"] * 4
    assert "sync" not in steps[4:]
    for partial in partials:
        partial.close()


def test_blobs_whose_folder_could_not_be_synced_are_told_to_nobody(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of one folder of a batch is the error of the batch."""
    partials = [kit.finished(b"%d" % number) for number in range(4)]
    bad = sha256_of(b"2").hex[:2]
    real = os.fsync

    def fail(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().name == bad:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        kit.store.put(partials)
    for partial in partials:
        partial.close()


def test_blobs_are_files_that_nobody_writes(kit: Kit) -> None:
    """A published blob is read-only, has sums above one piece, and leaves no partial."""
    big, small = sha256_of(BIG), sha256_of(SMALL)
    kit.fill(BIG, SMALL)
    assert stat.S_IMODE(kit.file(big).stat().st_mode) == 0o444
    assert kit.names() == sorted(
        [
            f"blobs/sha256/{big.hex[:2]}/{big.hex}",
            f"blobs/sha256/{small.hex[:2]}/{small.hex}",
            f"sums/{big.hex[:2]}/{big.hex}",
        ]
    )
    sums = Sums.read(kit.layout.sums_of(big), big)
    assert sums is not None
    assert sums.size == len(BIG)


def test_blobs_that_could_not_be_synced_are_not_published(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that the disk refused is gone with its room; the rest of the batch is there."""
    partials = [kit.finished(data) for data in (b"first", b"second", b"third")]
    real, bad = os.fsync, partials[1].fileno()

    def fail(fd: int) -> None:
        if fd == bad:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        kit.store.put(partials)
    assert kit.store.find(sha256_of(b"first")) is not None
    assert kit.store.find(sha256_of(b"second")) is None
    assert kit.store.find(sha256_of(b"third")) is not None
    assert (kit.ledger.used, kit.ledger.reserved) == (10, 0)
    assert len(kit.names()) == 2
    for partial in partials:
        partial.close()


@pytest.mark.parametrize("damage", ["shorter", "longer", "empty"])
def test_blobs_of_the_wrong_size_are_set_aside(kit: Kit, damage: str) -> None:
    """A blob that lost its end is not found, is counted, and can be looked at."""
    digest = kit.fill(BIG)
    kit.file(digest).chmod(0o600)
    size = {"shorter": len(BIG) - 1, "longer": len(BIG) + 1, "empty": 0}[damage]
    os.truncate(kit.file(digest), size)
    assert kit.store.find(digest) is None
    assert kit.store.open(digest) is None
    assert kit.names() == [f"quarantine/{digest.hex}"]
    assert [alarm.kind for alarm in kit.alarms] == ["corrupt"]
    assert digest.hex in kit.alarms[0].detail


def test_blobs_of_the_wrong_size_are_seen_by_a_fresh_process(kit: Kit) -> None:
    """The right size is written down with the sums, not only remembered."""
    digest = kit.fill(BIG)
    kit.file(digest).chmod(0o600)
    os.truncate(kit.file(digest), PIECE - 1)
    assert kit.fresh().find(digest) is None
    assert kit.names() == [f"quarantine/{digest.hex}"]


@pytest.mark.parametrize("planted", ["link", "pipe"])
def test_blobs_are_regular_files_or_nothing(kit: Kit, tmp_path: Path, planted: str) -> None:
    """A link under a blob's name leads nowhere, and a pipe does not hang the server."""
    outside = tmp_path / "outside"
    outside.write_bytes(SMALL)
    digest = sha256_of(SMALL)
    kit.file(digest).parent.mkdir()
    if planted == "link":
        kit.file(digest).symlink_to(outside)
    else:
        os.mkfifo(kit.file(digest))
    assert kit.store.open(digest) is None
    assert kit.store.find(digest) is None
    assert list(kit.store.walk()) == []
    assert outside.read_bytes() == SMALL


def test_blobs_set_aside_make_way_for_good_ones(kit: Kit) -> None:
    """The room of a bad blob stays counted until the quarantine is emptied."""
    digest = kit.fill(SMALL)
    assert kit.store.quarantine(digest, "a test wants it so")
    assert not kit.store.quarantine(digest)
    assert kit.ledger.used == len(SMALL) == kit.layout.measure()
    kit.fill(SMALL)
    assert kit.store.find(digest) == Blob(digest, len(SMALL))
    assert kit.store.quarantine(digest)
    assert kit.ledger.used == len(SMALL) == kit.layout.measure()
    assert kit.store.empty_quarantine() == len(SMALL)
    assert kit.ledger.used == 0 == kit.layout.measure()


def test_blobs_deleted_by_hand_are_not_found(kit: Kit) -> None:
    """An open file is no reason to believe in a name that is gone."""
    digest = kit.fill(SMALL)
    blob = kit.store.open(digest)
    assert blob is not None
    kit.file(digest).unlink()
    assert kit.store.find(digest) is None
    assert kit.store.open(digest) is None
    assert read(blob) == SMALL
    blob.close()


def test_blobs_that_are_deleted_hold_no_descriptor(kit: Kit) -> None:
    """The disk has the bytes back only when the last open file on them is closed."""
    before = open_files()
    digest = kit.fill(SMALL)
    for _ in range(2):
        blob = kit.store.open(digest)
        assert blob is not None
        blob.close()
    assert open_files() == before + 1
    kit.store.delete(digest)
    assert open_files() == before


def test_blobs_with_other_names_give_no_bytes_back(kit: Kit, tmp_path: Path) -> None:
    """Deleting one of two hard links frees nothing, and eviction must know."""
    digest = kit.fill(SMALL)
    os.link(kit.file(digest), tmp_path / "exported")
    assert kit.store.delete(digest) == 0
    assert kit.store.find(digest) is None
    assert kit.ledger.used == 0


def test_blobs_walk_skips_what_is_no_blob(kit: Kit) -> None:
    """Stray files under the fan-out folders are not blobs."""
    digest = kit.fill(SMALL)
    (kit.file(digest).parent / "README").write_text("stray")
    wrong = kit.layout.blobs / ("00" if digest.hex[:2] != "00" else "01") / digest.hex
    wrong.parent.mkdir()
    wrong.write_bytes(SMALL)
    assert list(kit.store.walk()) == [Blob(digest, len(SMALL))]


def test_blobs_in_use_are_known(kit: Kit) -> None:
    """Eviction asks before it takes a blob."""
    digest = kit.fill(SMALL)
    assert not kit.store.in_use(digest)
    first, second = kit.store.open(digest), kit.store.open(digest)
    assert first is not None
    assert second is not None
    assert first.fileno() == second.fileno()
    first.close()
    first.close()
    assert kit.store.in_use(digest)
    second.close()
    assert not kit.store.in_use(digest)


def test_blobs_keep_a_bounded_number_of_files_open(tmp_path: Path) -> None:
    """Idle files are closed, the longest idle first; those in use never are."""
    with Kit(tmp_path / "data", capacity=3, residency=ScriptedResidency()) as kit:
        digests = [kit.fill(b"%d" % number) for number in range(8)]
        held = kit.store.open(digests[0])
        assert held is not None
        before = open_files()
        for digest in digests[1:]:
            blob = kit.store.open(digest)
            assert blob is not None
            assert read(blob)
            blob.close()
        assert open_files() == before + 2
        assert read(held) == b"0"
        held.close()
