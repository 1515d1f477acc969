"""The index after every kind of end: level with what is durable, and not rebuilt without need."""

from pathlib import Path

import pytest

from mirror.digest import Digest
from mirror.names import Entries, Ref
from mirror.store import durable
from mirror.store.blobs import DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.upkeep import known as known_module
from mirror.upkeep.known import Known
from mirror.upkeep.running import End, RunMark, boot_id
from tests.unit.index.samples import COMMIT, NOON, REPO, head, large
from tests.unit.store.kit import Kit

BOOT = "6f3c0f4e-1f9a-4c7e-9b58-000000000001"
LATER_BOOT = "6f3c0f4e-1f9a-4c7e-9b58-000000000002"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A prepared data folder."""
    layout = Layout(tmp_path / "data")
    layout.prepare()
    return layout


def _opened(layout: Layout, boot: str | None, said: list[str] | None = None) -> Known:
    store = DiskStore(layout, Ledger(None, 0, 0, layout.free))
    return Known(layout, store, (said if said is not None else []).append, boot=boot)


def test_run_mark_tells_how_the_last_run_ended(layout: Layout) -> None:
    """No mark is a clean end; a mark of this boot a kill; of another boot, or of none, a power cut."""
    assert RunMark(layout, BOOT).begin() is End.CLEAN
    assert RunMark(layout, BOOT).begin() is End.KILLED
    assert RunMark(layout, LATER_BOOT).begin() is End.POWER_CUT
    RunMark(layout, LATER_BOOT).end()
    assert RunMark(layout, None).begin() is End.CLEAN
    assert RunMark(layout, None).begin() is End.POWER_CUT
    layout.running.write_bytes(b"")
    assert RunMark(layout, BOOT).begin() is End.POWER_CUT


def test_run_mark_is_on_the_disk_before_anything_is_written(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark is synced, file and folder, before `begin` returns."""
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    RunMark(layout, BOOT).begin()

    assert synced == [layout.root]
    assert layout.running.read_text() == f"{BOOT}\n"


def test_boot_id_is_the_same_while_the_machine_runs() -> None:
    """Two looks at the machine's start agree."""
    assert boot_id() == boot_id()


def test_known_takes_its_mark_away_on_leaving(layout: Layout) -> None:
    """A run that ends in good order leaves no mark, also when it ended by an error elsewhere."""
    with _opened(layout, BOOT):
        assert RunMark(layout, BOOT).last() is End.KILLED
    assert RunMark(layout, BOOT).last() is End.CLEAN
    with pytest.raises(RuntimeError), _opened(layout, BOOT):
        raise RuntimeError
    assert RunMark(layout, BOOT).last() is End.CLEAN


def test_known_is_rebuilt_after_a_power_cut(layout: Layout) -> None:
    """Transactions that went with the machine come back from the records."""
    with _opened(layout, BOOT) as known:
        known.catalog.record([Entries(REPO, COMMIT, (large("model.bin"),)), head()]).result()
        known.records.save(known.catalog, REPO, COMMIT)
    _forget_snapshot(layout)
    RunMark(layout, BOOT).begin()

    with _opened(layout, LATER_BOOT) as known:
        # What it still has is kept: nobody else knows the order of use.
        assert not known.catalog.fresh
        assert known.catalog.snapshot(REPO, COMMIT) == head()
        assert known.catalog.entry(REPO, COMMIT, "model.bin") == large("model.bin")


def test_known_writes_the_record_that_a_kill_came_before(layout: Layout) -> None:
    """A list that was whole in the catalog alone is on the disk after the next start, and outlives it."""
    ref = Ref(REPO, "main", COMMIT, NOON)
    with _opened(layout, BOOT) as known:
        known.catalog.record([Entries(REPO, COMMIT, (large("model.bin"),)), head(), ref]).result()
    RunMark(layout, BOOT).begin()
    with _opened(layout, BOOT) as known:
        assert known.records.path(REPO, COMMIT).exists()
    for file in layout.root.glob("index.sqlite3*"):
        file.unlink()

    with _opened(layout, BOOT) as known:
        assert known.catalog.snapshot(REPO, COMMIT) == head()
        assert known.catalog.ref(REPO, "main") == ref


def test_known_is_made_anew_when_a_kill_lost_what_it_cannot_lose(layout: Layout) -> None:
    """A catalog that lacks what had been committed before a kill is not believed, but rebuilt."""
    with _opened(layout, BOOT) as known:
        known.catalog.record([Entries(REPO, COMMIT, (large("model.bin"),)), head()]).result()
        known.records.save(known.catalog, REPO, COMMIT)
    _forget_snapshot(layout)
    RunMark(layout, BOOT).begin()

    with _opened(layout, BOOT) as known:
        assert known.catalog.snapshot(REPO, COMMIT) == head()
        assert known.catalog.entry(REPO, COMMIT, "model.bin") == large("model.bin")


def test_known_is_not_rebuilt_after_a_kill_that_lost_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill, be it at the start or under way, costs a look at the blobs and no more."""
    with _opened(layout, BOOT) as known:
        known.catalog.record([head()]).result()
        for file in layout.root.glob("index.sqlite3*"):
            (layout.data / file.name).write_bytes(file.read_bytes())
    for file in layout.data.glob("index.sqlite3*"):
        file.replace(layout.root / file.name)
    monkeypatch.delattr(known_module, "rebuild")
    for _ in range(2):
        RunMark(layout, BOOT).begin()
        with _opened(layout, BOOT) as known:
            assert known.catalog.snapshot(REPO, COMMIT) == head()


def test_known_is_not_rebuilt_after_a_clean_end(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start after a clean end reads neither records nor blobs, whether or not the machine rebooted."""
    with _opened(layout, BOOT):
        pass
    monkeypatch.delattr(known_module, "rebuild")
    monkeypatch.delattr(known_module, "match_blobs")

    with _opened(layout, LATER_BOOT):
        pass


def test_known_learns_of_blobs_after_a_kill(tmp_path: Path) -> None:
    """What was published or removed just before a kill is known and forgotten at the next start."""
    with Kit(tmp_path / "data") as kit:
        digest = kit.fill(b"published, and not yet written down")
        ghost = Digest("sha256", "ab" * 32)
        with Known(kit.layout, kit.store, print, boot=BOOT) as known:
            known.catalog.dropped([digest]).result()
            known.catalog.stored([(ghost, 5)]).result()
        RunMark(kit.layout, BOOT).begin()

        with Known(kit.layout, kit.store, print, boot=BOOT) as known:
            held = [blob.digest for blob in known.catalog.least_recent(after=0, limit=10)]
            assert held == [digest]


def _forget_snapshot(layout: Layout) -> None:
    """Have the catalog be one that never saw its last transactions."""
    empty = Layout(layout.data / "empty")
    empty.prepare()
    with _opened(empty, BOOT):
        pass
    layout.index.write_bytes(empty.index.read_bytes())


def test_a_start_after_a_clean_end_counts_the_blobs_without_looking_at_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: the catalog keeps their sum. After a kill all of them are looked at."""
    told: list[int] = []
    with Kit(tmp_path / "data") as kit:
        digest = kit.fill(b"some", b"bytes")
        for _ in range(2):  # The first run has an empty catalog to fill.
            with Known(kit.layout, kit.store, print, boot=BOOT, count=told.append):
                pass
        assert told == [9, 9]

        def looked(*_: object) -> None:
            raise AssertionError("somebody looked at every blob")

        with monkeypatch.context() as patch:
            patch.setattr(Layout, "blob_files", looked)
            with Known(kit.layout, kit.store, print, boot=BOOT, count=told.append):
                pass
        assert told[2:] == [9]

        RunMark(kit.layout, BOOT).begin()
        kit.file(digest).unlink()
        with Known(kit.layout, kit.store, print, boot=BOOT, count=told.append):
            pass
        assert told[3:] == [5]
