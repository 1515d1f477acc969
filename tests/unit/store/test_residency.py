"""What the kernel says about pages in memory, and whether it can be believed."""

import os
import sys
from pathlib import Path

import pytest

from mirror.errors import StoreCorruptError
from mirror.store import residency as module
from mirror.store.blobs import DiskStore
from mirror.store.residency import (
    PAGE,
    Cachestat,
    Mincore,
    Residency,
    Unknown,
    choose,
    random_access,
    read_ahead,
)
from mirror.store.sums import PIECE
from tests.unit.store.kit import Kit, flip, read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these calls are Linux's own")

KINDS = pytest.mark.parametrize("kind", [Cachestat, Mincore])


def send_away(path: Path) -> None:
    """Have the pages of a file leave memory, or skip where they cannot (tmpfs)."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if Mincore().resident(file.fileno(), 0, min(path.stat().st_size, PAGE)):
            pytest.skip("pages do not leave memory on this file system")


def trusted(kind: type[Cachestat | Mincore], folder: Path) -> Residency:
    """One way of asking, or a skip where this kernel or file system does not have it."""
    residency = kind()
    if not module._tells_the_truth(residency, folder):
        pytest.skip(f"{residency.name} does not tell the truth here")
    return residency


@KINDS
def test_residency_sees_pages_come_and_go(tmp_path: Path, kind: type[Cachestat | Mincore]) -> None:
    """All of a range counts, and one absent page is enough to say no."""
    residency = trusted(kind, tmp_path)
    path = tmp_path / "file"
    path.write_bytes(os.urandom(8 * PAGE + 1))
    send_away(path)
    with path.open("rb") as file:
        fd = file.fileno()
        random_access(fd)
        assert not residency.resident(fd, 0, PAGE)
        os.pread(fd, 3 * PAGE, 0)
        assert residency.resident(fd, 0, 3 * PAGE)
        assert not residency.resident(fd, 0, 4 * PAGE)
        assert not residency.resident(fd, 3 * PAGE, 4 * PAGE)
        os.pread(fd, 9 * PAGE, 0)
        assert residency.resident(fd, 0, 8 * PAGE + 1)


@KINDS
def test_residency_of_what_cannot_be_asked_is_no(kind: type[Cachestat | Mincore]) -> None:
    """An error of the kernel is never taken for a yes."""
    assert not kind().resident(-1, 0, PAGE)


def test_residency_random_access_brings_in_what_was_asked_for(tmp_path: Path) -> None:
    """Without readahead a read leaves its neighbours where they are."""
    residency = choose(tmp_path)
    if not residency.exact:
        pytest.skip("nothing is known about residency here")
    path = tmp_path / "file"
    path.write_bytes(os.urandom(4 * PIECE))
    send_away(path)
    with path.open("rb") as file:
        fd = file.fileno()
        random_access(fd)
        os.pread(fd, PIECE, PIECE)
        assert residency.resident(fd, PIECE, 2 * PIECE)
        assert not residency.resident(fd, 0, PAGE)
        assert not residency.resident(fd, 2 * PIECE, 2 * PIECE + PAGE)
        read_ahead(fd, 2 * PIECE, 3 * PIECE)
        assert not residency.resident(fd, 3 * PIECE, 3 * PIECE + PAGE)


class Liar:
    """Says the same of every page."""

    name = "liar"
    exact = True

    def __init__(self, *, says: bool) -> None:
        self._says = says

    def resident(self, _fd: int, _start: int, _end: int) -> bool:
        """Lie."""
        return self._says


@pytest.mark.parametrize("says", [True, False])
def test_residency_that_lies_is_not_chosen(tmp_path: Path, says: bool) -> None:  # noqa: FBT001
    """The self-test catches a kernel that says yes, or no, to everything."""
    assert not module._tells_the_truth(Liar(says=says), tmp_path)


def test_residency_falls_back_when_nothing_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then every piece is checked by the thread, and the store works all the same."""
    monkeypatch.setattr(module, "Cachestat", lambda: Liar(says=True))
    monkeypatch.setattr(module, "Mincore", lambda: Liar(says=False))
    chosen = choose(tmp_path)
    assert isinstance(chosen, Unknown)
    data = os.urandom(2 * PIECE)
    with Kit(tmp_path / "data", residency=chosen) as kit:
        blob = kit.store.open(kit.fill(data))
        assert blob is not None
        assert read(blob) == data
        blob.close()


@KINDS
def test_residency_finds_a_byte_flipped_at_rest(
    tmp_path: Path, kind: type[Cachestat | Mincore]
) -> None:
    """With the real kernel: a blob that rots while it is out of memory is not given out."""
    residency = trusted(kind, tmp_path)
    data = os.urandom(3 * PIECE)
    with Kit(tmp_path / "data", residency=residency) as kit:
        digest = kit.fill(data)
        blob = kit.store.open(digest)
        assert blob is not None
        assert blob.ready(0, len(data)) == len(data)
        send_away(kit.file(digest))
        assert blob.ready(0, len(data)) == 0
        flip(kit.file(digest), PIECE + 5)
        send_away(kit.file(digest))
        assert blob.ready(0, len(data)) == 0
        with pytest.raises(StoreCorruptError):
            read(blob)
        blob.close()
        assert kit.store.find(digest) is None


def test_residency_is_chosen_by_the_store_itself(kit: Kit) -> None:
    """A store that was given none tries the folder it is in."""
    assert DiskStore(kit.layout, kit.ledger).residency.name == choose(kit.layout.root).name
