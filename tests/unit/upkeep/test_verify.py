"""The check of a store: every flipped bit is found, and what cannot be looked at is not called fine."""

import errno
import os
import random
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.digest import SHA256, Digest, sha256_of
from mirror.index.catalog import Catalog
from mirror.names import Ref, Repo
from mirror.store import direct
from mirror.store.blobs import Blob
from mirror.upkeep import reading, verify
from mirror.upkeep.agreement import Agreement
from mirror.upkeep.findings import Finding, Report
from mirror.upkeep.subset import Subset
from mirror.upkeep.verify import Options, Verification
from tests.unit.store.kit import Kit, flip
from tests.unit.upkeep.kit import noise

MIB = 1 << 20
SIZES = (1, 4096, 100_000, MIB, MIB + 1, 2 * MIB + 12345)


class Silent:
    """Somebody who does not want to know."""

    def begin(self, _step: str, _total: int) -> None:
        """Hear of a step."""

    def advance(self, _amount: int) -> None:
        """Hear of progress."""

    def found(self, _finding: Finding) -> None:
        """Hear of a finding."""


class Heard(Silent):
    """Somebody who counts the bytes that were read."""

    def __init__(self) -> None:
        self.total = 0
        self._reading = False

    def begin(self, step: str, _total: int) -> None:
        """Hear of a step."""
        self._reading = step == "read"

    def advance(self, amount: int) -> None:
        """Hear of progress."""
        self.total += amount if self._reading else 0


def check(
    kit: Kit,
    *,
    read: bool = False,
    mend: bool = False,
    anew: bool = False,
    watch: Silent | None = None,
) -> Report:
    """Check the store of *kit* as a process of its own would."""
    options, draw = Options(read=read, mend=mend, anew=anew), random.Random(0)
    return Verification(kit.layout, options, watch or Silent(), boot="boot", draw=draw).run()


def test_verify_finds_each_of_a_hundred_flipped_bits(kit: Kit) -> None:
    """One bit anywhere in any blob, small or of several pieces, is found and its blob named."""
    blobs = [kit.fill(noise(size, size)) for size in SIZES]
    draw = random.Random(7)
    check(kit, anew=True)
    assert check(kit, read=True).result == "fine"
    for _ in range(100):
        digest = draw.choice(blobs)
        offset = draw.randrange(kit.file(digest).stat().st_size)
        flip(kit.file(digest), offset)

        report = check(kit, read=True)

        assert [(f.kind, Path(f.what).name) for f in report.findings] == [("blob-data", digest.hex)]
        assert report.blobs_read == len(SIZES)
        flip(kit.file(digest), offset)


def test_verify_says_which_piece_changed(kit: Kit) -> None:
    """With its sums at hand, a bad blob's first bad piece is named."""
    digest = kit.fill(noise(1, 3 * MIB))
    flip(kit.file(digest), 2 * MIB + 1)

    (finding,) = [f for f in check(kit, read=True).findings if f.kind == "blob-data"]

    assert "1 of its 3 pieces changed, the first is 2" in finding.detail


def test_verify_makes_sums_again(kit: Kit) -> None:
    """Sums that are missing are written by a repair, sums of other bytes are damage."""
    digest = kit.fill(noise(1, 3 * MIB))
    path = kit.layout.sums_of(digest)
    good = path.read_bytes()
    path.unlink()
    check(kit, read=True)
    assert not path.exists()
    check(kit, read=True, mend=True)
    assert path.read_bytes() == good


def test_verify_does_not_call_fine_what_it_could_not_read(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that may not be opened is not damaged and not fine; one that the disk lost is damaged."""
    kit.fill(noise(1, 1000))
    check(kit, anew=True)

    def refuse(number: int) -> None:
        def refusing(*_: object) -> int:
            raise OSError(number, "no")

        monkeypatch.setattr(os, "pread", refusing)
        monkeypatch.setattr(os, "preadv", refusing)

    refuse(13)
    assert check(kit, read=True).result == "unchecked"
    refuse(5)
    assert check(kit, read=True).result == "damaged"


@pytest.mark.parametrize("how", ["no such flag", "refused at once", "refused on the way"])
def test_verify_reads_by_way_of_memory_where_the_disk_wants_it(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Not every file system reads past memory: what was read by then is read again, and damage is found."""
    size = 2 * direct.CHUNK + 5
    digest = kit.fill(noise(1, size), noise(2, 100))
    check(kit, anew=True)
    real, opened = os.preadv, os.open

    def refusing(fd: int, buffers: list[memoryview], offset: int) -> int:
        if offset:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, buffers, offset)

    def unopened(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, mode)

    if how == "no such flag":
        monkeypatch.setattr(direct, "_DIRECT", None)
    elif how == "refused at once":
        monkeypatch.setattr(os, "open", unopened)
    else:
        monkeypatch.setattr(os, "preadv", refusing)
    heard = Heard()
    assert check(kit, read=True, watch=heard).result == "fine"
    assert heard.total == size + 100
    flip(kit.file(digest), size - 1)
    assert check(kit, read=True).result == "damaged"


def test_verify_reads_as_many_blobs_at_once_as_there_are_cores(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three are being read before one of them is done, and what is found stays in order."""
    blobs = [noise(number, 1000) for number in range(9)]
    kit.fill(*blobs)
    check(kit, anew=True)
    for blob in blobs[::2]:
        flip(kit.file(sha256_of(blob)), 5)
    meet, real = threading.Barrier(3), reading.read_again

    def together(*given: Any) -> reading.Reading:
        meet.wait(30)
        return real(*given)

    monkeypatch.setattr(reading, "read_again", together)
    monkeypatch.setattr(verify, "cores", lambda: 3)
    report = check(kit, read=True)
    bad = [sha256_of(blob).hex for blob in blobs[::2]]
    assert report.blobs_read == len(blobs)
    assert [finding.what.split("/")[-1] for finding in report.findings] == sorted(bad)


def test_verify_that_is_stopped_stops_its_threads(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever presses Ctrl-C does not wait for the blobs that are being read."""
    kit.fill(*(noise(number, 3 * direct.CHUNK) for number in range(3)))
    check(kit, anew=True)
    monkeypatch.setattr(verify, "cores", lambda: 2)

    class Impatient(Silent):
        def advance(self, _amount: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(kit, read=True, watch=Impatient())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("verify")]


def test_verify_changes_nothing_unasked(kit: Kit) -> None:
    """A check without repair leaves every file as it was, also a damaged one."""
    digest = kit.fill(noise(1, 3 * MIB))
    check(kit, anew=True)
    flip(kit.file(digest), 5)
    kit.layout.sums_of(digest).unlink()
    before = kit.names()

    check(kit, read=True)

    assert [name for name in kit.names() if not name.startswith("index")] == [
        name for name in before if not name.startswith("index")
    ]


@given(st.lists(st.integers(0, 10**9), max_size=60), st.integers(1, 9), st.integers(0, 2**32))
def test_subset_rota_reads_everything_once(sizes: list[int], parts: int, seed: int) -> None:
    """The parts of a rota are disjoint and together everything; a share is reached, by one blob more."""
    draw = random.Random(seed)
    blobs = [Blob(Digest(SHA256, draw.randbytes(32).hex()), size) for size in sizes]
    rota = [Subset.parse(f"{part}/{parts}").choose(blobs, draw) for part in range(1, parts + 1)]
    assert sorted(blob for part in rota for blob in part) == sorted(blobs)

    chosen = Subset.parse("30%").choose(blobs, draw)
    wanted = round(0.3 * sum(sizes))
    assert sum(blob.size for blob in chosen) >= wanted
    if chosen:
        assert sum(blob.size for blob in chosen) - max(blob.size for blob in chosen) <= wanted


@pytest.mark.parametrize("text", ["0/7", "8/7", "0%", "101%", "many", "", "1/", "-5%"])
def test_subset_of_no_form_is_refused(text: str) -> None:
    """What is no subset is refused with the forms that are."""
    with pytest.raises(ValueError, match="5%"):
        Subset.parse(text)


def test_verify_does_not_take_a_clock_that_was_set_back_for_damage(tmp_path: Path) -> None:
    """A branch seen again at its commit is known, whatever the clock said; an older commit is not."""
    repo, commit, other = Repo("huggingface", "models/acme/tiny"), "a" * 40, "b" * 40
    catalog = Catalog.open(tmp_path / "index.sqlite3")
    try:
        seen = Ref(repo, "main", commit, 1000.0)
        for known, told in ((commit, 0), (other, 1)):
            catalog.record([Ref(repo, "main", known, 10.0)]).result()
            with closing(Agreement(tmp_path / "index.sqlite3")) as agreement:
                assert len(list(agreement.line(seen))) == told
    finally:
        catalog.close()
