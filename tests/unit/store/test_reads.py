"""Stored bytes are looked at before they leave: once per residency, and never sent when bad."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.digest import Digest
from mirror.errors import StoreCorruptError
from mirror.store.blobs import DiskStore
from mirror.store.stored import DiskBlob, OpenFile
from mirror.store.sums import PIECE
from tests.unit.store.kit import Kit, ScriptedResidency, flip, read

DATA = os.urandom(5 * PIECE + 10)
END = len(DATA)


class Shop:
    """A kit with scripted residency, one blob in it, and the readers it handed out."""

    def __init__(self, folder: Path, *, exact: bool = True) -> None:
        self.residency = ScriptedResidency(exact=exact)
        self.kit = Kit(folder, residency=self.residency)
        self.digest = self.kit.fill(DATA)
        self.readers: list[DiskBlob] = []

    def open(self, store: DiskStore | None = None, digest: Digest | None = None) -> DiskBlob:
        """One more reader."""
        blob = (store or self.kit.store).open(digest or self.digest)
        assert blob is not None
        self.readers.append(blob)
        return blob

    def rot(self, piece: int) -> None:
        """Flip a bit of a piece on the disk while it is not in memory."""
        self.residency.absent.add(piece)
        for reader in self.readers:
            reader.ready(piece * PIECE, END)
        self.residency.absent.discard(piece)
        flip(self.kit.file(self.digest), piece * PIECE + 7)


def send(blob: DiskBlob, got: bytearray) -> None:
    """Read all of a blob into *got*, 100 kB at a time, as far as it goes."""
    while len(got) < END:
        got += read(blob, len(got), min(END, len(got) + 100_000))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A store with one blob of six pieces, all in memory."""
    opened = Shop(tmp_path / "data")
    yield opened
    for reader in opened.readers:
        reader.close()
    opened.kit.store.close()
    opened.kit.partials.close()


def test_reads_of_a_fresh_blob_need_no_second_look(shop: Shop) -> None:
    """The commit has hashed every byte, so all pieces may go out while they stay in memory."""
    blob = shop.open()
    assert blob.ready(0, END) == END
    assert blob.ready(3, 100) == 100
    assert blob.ready(END - 1, END + 50) == END
    assert blob.ready(END, END) == END


def test_reads_ask_once_for_a_whole_run(shop: Shop) -> None:
    """Hot data costs one question per call, however many pieces it covers."""
    blob = shop.open()
    shop.residency.asked = 0
    assert blob.ready(PIECE - 1, END) == END
    assert shop.residency.asked == 1


def test_reads_stop_at_a_piece_that_is_not_in_memory(shop: Shop) -> None:
    """What comes before it may go, it itself may not, nor once it is back unchecked."""
    blob = shop.open()
    shop.residency.absent = {2, 4}
    assert blob.ready(10, END) == 2 * PIECE
    assert blob.ready(2 * PIECE, END) == 2 * PIECE
    shop.residency.absent = set()
    assert blob.ready(10, END) == 2 * PIECE
    assert blob.ready(3 * PIECE, END) == 4 * PIECE
    blob.load(2 * PIECE + 5)
    assert blob.ready(10, END) == 4 * PIECE


def test_reads_of_a_fresh_process_are_checked_first(shop: Shop) -> None:
    """Nothing is known of what another process left in memory."""
    store = shop.kit.fresh()
    blob = shop.open(store)
    assert blob.ready(0, END) == 0
    assert read(blob) == DATA
    assert blob.ready(0, END) == END


def test_reads_load_no_more_than_their_window(shop: Shop) -> None:
    """A load takes one or two pieces, so that other readers get their turn."""
    blob = shop.open(shop.kit.fresh())
    blob.load(0)
    assert blob.ready(0, END) == 2 * PIECE
    blob.load(5 * PIECE)
    assert blob.ready(5 * PIECE, END) == END


@pytest.mark.parametrize("piece", [0, 3, 5])
def test_reads_never_give_out_a_rotten_piece(shop: Shop, piece: int) -> None:
    """The bytes before it go out, the bad ones do not, and the blob is set aside and counted."""
    blob = shop.open()
    shop.rot(piece)
    got = bytearray()
    with pytest.raises(StoreCorruptError, match="damaged"):
        send(blob, got)
    assert bytes(got) == DATA[: len(got)]
    assert piece * PIECE - 100_000 < len(got) <= piece * PIECE
    assert shop.kit.store.find(shop.digest) is None
    assert [alarm.kind for alarm in shop.kit.alarms] == ["corrupt"]
    shop.kit.fill(DATA)
    assert read(shop.open()) == DATA


def test_reads_notice_what_another_program_brought_back(shop: Shop) -> None:
    """A piece that left memory and was read by somebody else is checked, once the watch saw it absent."""
    blob = shop.open()
    shop.residency.absent = {3}
    flip(shop.kit.file(shop.digest), 3 * PIECE + 7)
    for _ in shop.kit.store.watch():
        pass
    shop.residency.absent = set()
    assert blob.ready(0, END) == 3 * PIECE
    with pytest.raises(StoreCorruptError, match="piece 3"):
        read(blob)


def test_reads_are_not_checked_again_for_being_watched(shop: Shop) -> None:
    """What stayed in memory keeps its marks, and a blob that is gone is passed over."""
    blob, other = shop.open(), shop.kit.fill(b"other")
    shop.kit.file(other).unlink()
    assert len(list(shop.kit.store.watch())) == 2
    assert blob.ready(0, END) == END


def test_reads_condemn_the_bad_file_and_not_its_successor(shop: Shop) -> None:
    """A reader that finds damage late must not set the good copy aside that came since."""
    late, early = shop.open(), shop.open()
    shop.rot(0)
    with pytest.raises(StoreCorruptError):
        early.load(0)
    shop.kit.fill(DATA)
    with pytest.raises(StoreCorruptError):
        late.load(0)
    assert shop.kit.store.find(shop.digest) is not None
    assert read(shop.open()) == DATA
    assert len(shop.kit.alarms) == 1


def test_reads_check_again_what_somebody_touched(shop: Shop) -> None:
    """A new modification time clears every mark; good bytes pass, changed ones do not."""
    blob = shop.open()
    os.utime(shop.kit.file(shop.digest), ns=(1, 1))
    assert blob.ready(0, END) == 0
    assert read(blob) == DATA
    flip(shop.kit.file(shop.digest), 4 * PIECE, quietly=False)
    assert blob.ready(0, END) == 0
    with pytest.raises(StoreCorruptError):
        read(blob)


def test_reads_of_a_blob_cut_while_open_are_refused(shop: Shop) -> None:
    """A file that lost its end while somebody reads it is not padded and not waited for."""
    blob = shop.open()
    shop.kit.file(shop.digest).chmod(0o600)
    os.truncate(shop.kit.file(shop.digest), 4 * PIECE)
    assert blob.ready(0, END) == 0
    with pytest.raises(StoreCorruptError):
        blob.load(0)
    assert shop.kit.store.find(shop.digest) is None


def test_reads_remember_checks_beyond_link_rename_and_chmod(shop: Shop, tmp_path: Path) -> None:
    """These change the time of change only; an export must not cost a second look."""
    file = shop.kit.file(shop.digest)
    os.link(file, tmp_path / "exported")
    file.chmod(0o400)
    blob = shop.open()
    assert blob.ready(0, END) == END


def test_reads_remember_checks_while_the_file_is_closed(tmp_path: Path) -> None:
    """Marks outlive the descriptor that few files can have."""
    residency = ScriptedResidency()
    with Kit(tmp_path / "data", residency=residency, capacity=0) as kit:
        digest = kit.fill(DATA)
        for _ in range(2):
            blob = kit.store.open(digest)
            assert blob is not None
            assert blob.ready(0, END) == END
            blob.close()


@pytest.mark.parametrize("damage", ["missing", "damaged", "of another size"])
def test_reads_without_sums_check_the_whole_and_make_them_again(shop: Shop, damage: str) -> None:
    """Lost sums cost one look at the whole blob, once."""
    sums = shop.kit.layout.sums_of(shop.digest)
    good = sums.read_bytes()
    sums.unlink()
    if damage == "damaged":
        sums.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "of another size":
        sums.write_bytes(good[:64])
    blob = shop.open(shop.kit.fresh())
    assert read(blob) == DATA
    assert sums.read_bytes() == good


def test_reads_without_sums_find_rot_anywhere(shop: Shop) -> None:
    """Without sums only the whole digest can tell, and it does before the first byte."""
    shop.kit.layout.sums_of(shop.digest).unlink()
    blob = shop.open(shop.kit.fresh())
    flip(shop.kit.file(shop.digest), END - 1)
    with pytest.raises(StoreCorruptError):
        blob.load(0)
    assert shop.kit.store.find(shop.digest) is None


def test_reads_of_small_blobs_are_checked_by_their_name(shop: Shop) -> None:
    """A blob of one piece has no sums; its sha256 is as quick."""
    digest = shop.kit.fill(b"small")
    flip(shop.kit.file(digest), 2)
    blob = shop.open(shop.kit.fresh(), digest)
    assert blob.ready(0, 5) == 0
    with pytest.raises(StoreCorruptError):
        blob.load(0)
    assert shop.kit.store.find(digest) is None


def test_reads_take_a_bad_sector_for_damage(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk cannot read is as bad as what it reads wrong."""

    def fail(_fd: int, _length: int, _offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    blob = shop.open(shop.kit.fresh())
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(StoreCorruptError, match="Input/output error"):
        blob.load(0)


def test_reads_where_residency_is_unknown_check_each_piece_each_time(tmp_path: Path) -> None:
    """On a file system that tells nothing, what a reader's own load checked may go, no more."""
    shop = Shop(tmp_path / "data", exact=False)
    blob, other = shop.open(), shop.open()
    assert blob.ready(0, END) == 0
    blob.load(PIECE + 1)
    assert blob.ready(PIECE + 1, END) == 3 * PIECE
    assert blob.ready(0, END) == 0
    assert blob.ready(3 * PIECE, END) == 3 * PIECE
    assert other.ready(PIECE + 1, END) == PIECE + 1
    assert read(other) == DATA
    flip(shop.kit.file(shop.digest), 2 * PIECE)
    with pytest.raises(StoreCorruptError):
        read(blob)
    blob.close()
    other.close()
    shop.kit.store.close()


def test_reads_of_a_file_of_another_owner_trust_no_residency(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of such a file mincore says that all of it is in memory."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    blob = shop.open(shop.kit.fresh())
    shop.residency.asked = 0
    assert read(blob) == DATA
    assert shop.residency.asked == 0


class Crowd(threading.Condition):
    """A condition that tells when *size* threads wait on it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.missing = size
        self.complete = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, and be counted."""
        self.missing -= 1
        if not self.missing:
            self.complete.set()
        return super().wait(timeout)


def test_reads_of_many_threads_check_a_piece_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight readers of one cold piece wait for one of them instead of reading it eight times."""
    store = shop.kit.fresh()
    blobs = [shop.open(store) for _ in range(8)]
    crowd = Crowd(len(blobs) - 1)
    blobs[0]._opened()._loaded = crowd
    checked: list[int] = []
    check = OpenFile._check

    def slow(self: OpenFile, piece: int) -> None:
        checked.append(piece)
        if piece == 0:
            assert crowd.complete.wait(10)
        check(self, piece)

    monkeypatch.setattr(OpenFile, "_check", slow)
    threads = [threading.Thread(target=blob.load, args=(0,)) for blob in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(checked) == [0, 1]
    store.close()


def test_reads_go_on_after_the_blob_was_deleted(shop: Shop) -> None:
    """An evicted blob that is being sent is sent to its end, also from the disk."""
    blob = shop.open()
    assert shop.kit.store.delete(shop.digest) == END
    assert shop.kit.store.open(shop.digest) is None
    shop.residency.absent = set(range(6))
    assert blob.ready(0, END) == 0
    shop.residency.absent = set()
    assert read(blob) == DATA
    blob.close()
    with pytest.raises(ValueError, match="closed"):
        blob.fileno()


def test_reads_that_nobody_closed_are_told(shop: Shop) -> None:
    """A lost reader shows up in tests instead of on a full day."""
    blob = shop.kit.store.open(shop.digest)
    with pytest.warns(ResourceWarning, match="unclosed blob"):
        del blob
