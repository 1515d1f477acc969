"""Blobs on their way in: nothing unverified gets out, nothing synced is lost."""

import errno
import hashlib
import os
import stat
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from mirror.digest import Digest, sha256_of
from mirror.errors import (
    DigestMismatchError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    TruncatedBodyError,
)
from mirror.store import partial as partial_module
from mirror.store.partials import Leftover
from mirror.store.resume import Progress
from mirror.store.sums import PIECE
from tests.unit.store.kit import Kit, ScriptedResidency

DATA = os.urandom(2 * PIECE + 100)
DIGEST = sha256_of(DATA)


def test_partial_is_private_and_nameless_until_it_is_published(kit: Kit) -> None:
    """While bytes arrive there is one file, readable by its owner alone, and no blob."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA)
    assert stat.S_IMODE(os.fstat(partial.fileno()).st_mode) == 0o600
    assert kit.names() == [f"partial/sha256-{DIGEST.hex}/data"]
    assert kit.store.find(DIGEST) is None
    partial.abandon()
    partial.close()


def test_partial_shows_readers_what_was_received(kit: Kit) -> None:
    """Bytes below `received` are in the file before the number says so."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    for start in range(0, len(DATA), 300_000):
        partial.append(memoryview(DATA)[start : start + 300_000])
        assert partial.received == min(len(DATA), start + 300_000)
        assert os.pread(partial.fileno(), len(DATA), 0) == DATA[: partial.received]
        assert partial.ready(0, len(DATA)) == partial.received
    partial.finish()
    assert partial.sha256 == DIGEST
    partial.abandon()
    partial.close()


def test_partial_of_a_git_blob_is_checked_by_git_and_named_by_sha256(kit: Kit) -> None:
    """The small files of the Hub come with a git blob sha1; the store knows them by sha256."""
    git = Digest("git-sha1", hashlib.sha1(b"blob 5\0hello", usedforsecurity=False).hexdigest())
    partial = kit.finished(b"hello", git)
    assert partial.expected == git
    assert partial.sha256 == sha256_of(b"hello")
    partial.abandon()
    partial.close()


@pytest.mark.parametrize("algorithm", ["sha256", "git-sha1"])
def test_partial_with_other_bytes_is_removed(kit: Kit, algorithm: str) -> None:
    """A digest that does not match leaves nothing behind, no file and no room taken."""
    expected = Digest(algorithm, "0" * (64 if algorithm == "sha256" else 40))
    partial = kit.partials.begin(expected, 5)
    partial.append(b"hello")
    with pytest.raises(DigestMismatchError) as mismatch:
        partial.finish()
    assert mismatch.value.expected == expected != mismatch.value.got
    assert mismatch.value.got.algorithm == algorithm
    assert kit.names() == []
    assert (kit.ledger.used, kit.ledger.reserved) == (0, 0)
    with pytest.raises(ValueError, match="ended"):
        partial.append(b"more")
    partial.close()


def test_partial_with_more_bytes_than_promised_is_removed(kit: Kit) -> None:
    """A source that does not stop is found out at the first byte too many."""
    partial = kit.partials.begin(sha256_of(b"hello"), 5)
    partial.append(b"hell")
    with pytest.raises(DigestMismatchError, match="More bytes"):
        partial.append(b"o!")
    assert kit.names() == []
    partial.close()


def test_partial_cut_short_can_go_on(kit: Kit) -> None:
    """Missing bytes are told by number and the same partial takes the rest."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[:100])
    with pytest.raises(TruncatedBodyError) as cut:
        partial.finish()
    assert (cut.value.expected, cut.value.got) == (len(DATA), 100)
    partial.append(DATA[100:])
    partial.finish()
    partial.abandon()
    partial.close()


def test_partial_is_not_begun_without_room(kit: Kit, tmp_path: Path) -> None:
    """Room for all of it is reserved before the first byte, or nothing is made at all."""
    with Kit(tmp_path / "small", quota=1000) as small:
        with pytest.raises(StoreFullError):
            small.partials.begin(DIGEST, len(DATA))
        assert small.names() == []
        small.finished(b"x" * 1000).close()
    assert kit.names() == []


def test_partial_of_one_blob_has_one_writer(kit: Kit) -> None:
    """A second writer of the same blob would write over the first."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    with pytest.raises(StoreError, match="already"):
        kit.partials.begin(DIGEST, len(DATA))
    partial.abandon()
    partial.close()
    kit.finished(DATA).close()


def test_partial_kept_goes_on_in_another_process(kit: Kit) -> None:
    """Bytes, validator and room are taken up where they were left."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[: PIECE + 7])
    partial.validator = '"v1"'
    partial.keep()
    partial.close()
    assert (kit.ledger.used, kit.ledger.reserved) == (PIECE + 7, 0)
    with Kit(kit.layout.data) as later:
        assert later.ledger.used == PIECE + 7
        resumed = later.partials.begin(DIGEST, len(DATA))
        assert resumed.received == PIECE + 7
        assert resumed.validator == '"v1"'
        assert (later.ledger.used, later.ledger.reserved) == (0, len(DATA))
        resumed.append(DATA[PIECE + 7 :])
        resumed.finish()
        later.store.put([resumed])
        resumed.close()
        assert later.file(DIGEST).read_bytes() == DATA
        assert (later.ledger.used, later.ledger.reserved) == (len(DATA), 0)


def test_partial_believes_only_what_was_synced(kit: Kit) -> None:
    """Bytes that the journal does not vouch for may be anything after a crash."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[:PIECE])
    partial.keep()
    partial.close()
    folder = kit.layout.partial(DIGEST)
    with (folder / "data").open("ab") as file:
        file.write(bytes(len(DATA)))
    with Kit(kit.layout.data) as later:
        resumed = later.partials.begin(DIGEST, len(DATA))
        assert resumed.received == PIECE == os.fstat(resumed.fileno()).st_size
        resumed.append(DATA[PIECE:])
        resumed.finish()
        resumed.close()


@pytest.mark.parametrize("damage", ["no journal", "garbage", "longer", "other size", "other name"])
def test_partial_with_a_journal_that_does_not_fit_begins_anew(kit: Kit, damage: str) -> None:
    """A leftover that is not clearly this blob's is removed, with its room given back."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[:PIECE])
    partial.keep()
    partial.close()
    journal = kit.layout.partial(DIGEST) / "journal"
    if damage == "no journal":
        journal.unlink()
    elif damage == "garbage":
        journal.write_bytes(b'\xff{"size": []}\n[1]\nnull\n' + b"[" * 100_000 + b"\n")
    else:
        says = {
            "longer": Progress(DIGEST, len(DATA), None, PIECE + 1),
            "other size": Progress(DIGEST, len(DATA) + 1, None, PIECE),
            "other name": Progress(sha256_of(b"other"), len(DATA), None, PIECE),
        }
        journal.write_bytes(says[damage].encode())
    with Kit(kit.layout.data) as later:
        again = later.partials.begin(DIGEST, len(DATA))
        assert again.received == 0
        assert (later.ledger.used, later.ledger.reserved) == (0, len(DATA))
        again.abandon()
        again.close()
        assert later.names() == []


def test_partial_believes_the_last_whole_line(kit: Kit) -> None:
    """A line torn by a crash is as if it had never been written."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[:PIECE])
    partial.keep()
    partial.close()
    journal = kit.layout.partial(DIGEST) / "journal"
    torn = Progress(DIGEST, len(DATA), '"x"', PIECE + 5).encode()[:-1]
    journal.write_bytes(journal.read_bytes() + torn)
    resumed = kit.partials.begin(DIGEST, len(DATA))
    assert (resumed.received, resumed.validator) == (PIECE, None)
    resumed.abandon()
    resumed.close()


def test_partial_whose_kept_bytes_rotted_is_not_published(kit: Kit) -> None:
    """The journal says how much was written, the digest says whether it is right."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[:PIECE])
    partial.keep()
    partial.close()
    with (kit.layout.partial(DIGEST) / "data").open("r+b") as file:
        file.write(bytes([DATA[0] ^ 1]))
    resumed = kit.partials.begin(DIGEST, len(DATA))
    resumed.append(DATA[PIECE:])
    with pytest.raises(DigestMismatchError):
        resumed.finish()
    resumed.close()
    assert kit.names() == []


def test_partial_is_synced_while_it_grows(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies has its synced bytes back, without having been asked to stop."""
    monkeypatch.setattr(partial_module, "SYNC_EVERY", PIECE)
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.validator = '"v1"'
    partial.append(DATA[: PIECE + 5])
    partial.append(DATA[PIECE + 5 : PIECE + 10])
    kit.partials.close()
    with Kit(kit.layout.data) as later:
        resumed = later.partials.begin(DIGEST, len(DATA))
        assert (resumed.received, resumed.validator) == (PIECE + 5, '"v1"')
        resumed.abandon()
        resumed.close()
    partial.abandon()
    partial.close()


class WaitedFor(Future[None]):
    """A result that lets its maker go on once somebody asks for it."""

    def __init__(self, real: Future[None], go_on: threading.Event) -> None:
        super().__init__()
        self._real = real
        self._go_on = go_on

    def result(self, timeout: float | None = None) -> None:
        """Let the maker go on, and wait for it."""
        self._go_on.set()
        self._real.result(timeout)


def test_partial_ends_after_the_sync_under_way(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of the journal is the last sync's, not that of a slower one before."""
    monkeypatch.setattr(partial_module, "SYNC_EVERY", PIECE)
    go_on, fsync = threading.Event(), os.fsync
    early: list[str] = []

    def ordered(fd: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert go_on.wait(10)
        elif not go_on.is_set():
            early.append("the end did not wait")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", ordered)
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[: PIECE + 1])
    partial.append(DATA[PIECE + 1 : PIECE + 9])
    assert partial._syncing is not None
    partial._syncing = WaitedFor(partial._syncing, go_on)
    partial.keep()
    go_on.set()
    assert early == []
    last = Progress.last(kit.layout.partial(DIGEST) / "journal")
    assert last is not None
    assert last.synced == PIECE + 9
    partial.close()


def test_partial_whose_sync_failed_is_given_up(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk refused to keep is neither kept nor tried again."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[:PIECE])
    calls = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        partial.keep()
    partial.close()
    assert len(calls) == 1
    assert kit.names() == []
    assert (kit.ledger.used, kit.ledger.reserved) == (0, 0)


def test_partial_tells_a_background_sync_that_failed(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next write, or the end, hears of it: the error is never lost with the thread."""
    monkeypatch.setattr(partial_module, "SYNC_EVERY", PIECE)

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA)
    partial.finish()
    kit.partials.close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="Input/output error"):
        kit.store.put([partial])
    partial.close()
    assert kit.names() == []


def test_partial_starts_again_when_its_source_has_changed(kit: Kit) -> None:
    """After a 200 where a 206 was hoped for, the first byte comes again; a crash then finds nothing."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(b"other" * 100_000)
    partial.validator = '"old"'
    partial.keep()
    partial.close()
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.restart()
    assert (partial.received, partial.validator) == (0, None)
    last = Progress.last(kit.layout.partial(DIGEST) / "journal")
    assert last is not None
    assert last.synced == 0
    partial.append(DATA)
    partial.finish()
    kit.store.put([partial])
    partial.close()
    assert kit.file(DIGEST).read_bytes() == DATA
    assert (kit.ledger.used, kit.ledger.reserved) == (len(DATA), 0)


def test_partial_left_just_before_its_name_is_taken_up(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the last chmod and the rename leaves a file that even its owner may only read."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA)
    partial.keep()
    partial.close()
    data = kit.layout.partial(DIGEST) / "data"
    data.chmod(0o444)
    real = os.open

    def as_no_root(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR and path == data and not data.stat().st_mode & 0o200:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", as_no_root)
    resumed = kit.partials.begin(DIGEST, len(DATA))
    assert resumed.received == len(DATA)
    assert stat.S_IMODE(os.fstat(resumed.fileno()).st_mode) == 0o600
    resumed.finish()
    kit.store.put([resumed])
    resumed.close()
    assert kit.file(DIGEST).read_bytes() == DATA


def test_partial_whose_bytes_cannot_be_read_back_is_corrupt(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector under a fill ends the fill, by the name of what it is."""

    def fail(_fd: int, _length: int, _offset: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(StoreCorruptError, match="Input/output error"):
        partial.load(0)
    partial.abandon()
    partial.close()


def test_partial_without_bytes_leaves_nothing_to_keep(kit: Kit) -> None:
    """There is no point in resuming from the first byte."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.keep()
    partial.close()
    assert kit.names() == []


def test_partial_lists_and_discards_what_nobody_writes(kit: Kit) -> None:
    """The sweep sees leftovers with their size, and cannot touch a running fill."""
    partial = kit.partials.begin(DIGEST, len(DATA))
    partial.append(DATA[:100])
    assert list(kit.partials.leftovers()) == []
    assert kit.partials.discard(DIGEST) == 0
    partial.keep()
    partial.close()
    (kit.layout.partials / "stray").mkdir()
    leftovers = list(kit.partials.leftovers())
    assert leftovers == [Leftover(DIGEST, 100, leftovers[0].modified)]
    assert kit.partials.discard(DIGEST) == 100
    assert kit.partials.discard(DIGEST) == 0
    assert kit.ledger.used == 0
    assert kit.names() == []


def test_partial_descriptor_outlives_its_end(kit: Kit) -> None:
    """Readers that are behind read on after the blob has its name, and after it was given up."""
    for end in ("put", "abandon", "keep"):
        partial = kit.finished(DATA)
        if end == "put":
            kit.store.put([partial])
        elif end == "abandon":
            partial.abandon()
        else:
            partial.keep()
        assert os.pread(partial.fileno(), len(DATA), 0) == DATA
        partial.close()
        with pytest.raises(ValueError, match="closed"):
            partial.fileno()
        kit.store.delete(DIGEST)


def test_partial_does_not_send_what_left_memory_unchecked(tmp_path: Path) -> None:
    """Bytes that went to the disk and came back are looked at again before they are shown."""
    residency = ScriptedResidency()
    with Kit(tmp_path / "data", residency=residency) as kit:
        partial = kit.partials.begin(DIGEST, len(DATA))
        partial.append(DATA[: 2 * PIECE + 50])
        assert partial.ready(0, len(DATA)) == 2 * PIECE + 50
        residency.absent = {1}
        assert partial.ready(0, len(DATA)) == PIECE
        residency.absent = set()
        assert partial.ready(0, len(DATA)) == PIECE
        partial.load(PIECE)
        assert partial.ready(PIECE + 3, len(DATA)) == 2 * PIECE + 50
        residency.absent = {2}
        assert partial.ready(PIECE, len(DATA)) == 2 * PIECE
        partial.load(2 * PIECE)
        os.pwrite(partial.fileno(), bytes([DATA[PIECE] ^ 1]), PIECE)
        with pytest.raises(StoreCorruptError):
            partial.load(PIECE)
        os.pwrite(partial.fileno(), bytes([DATA[2 * PIECE] ^ 1]), 2 * PIECE)
        with pytest.raises(StoreCorruptError):
            partial.load(2 * PIECE)
        partial.abandon()
        partial.close()


def test_partial_that_nobody_closed_is_told(kit: Kit) -> None:
    """A lost descriptor shows up in tests instead of on a full day."""
    partial = kit.finished(b"x")
    partial.abandon()
    with pytest.warns(ResourceWarning, match="unclosed partial"):
        del partial
