"""What is the catalog's own beyond the promises of every index: plans, batches, threads, its cost."""

import gc
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mirror.index import lookups, recording, shown
from mirror.index.catalog import Catalog
from mirror.names import Entries, Entry, Ref, SnapshotState
from tests.unit.index.samples import COMMIT, LATER, NOON, REPO, folder, head, large, sha256, small

MANY = 100_000
PAGE = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a catalog may be."""
    return tmp_path / "index.sqlite3"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    """An empty catalog."""
    opened = Catalog.open(path)
    yield opened
    opened.close()


# ── plans ──────────────────────────────────────────────────────────────────────────────────────

SELECTS = {
    name: text
    for name, text in (vars(lookups) | vars(shown)).items()
    if isinstance(text, str) and text.lstrip().startswith("SELECT")
}
# One reads a row a repo, and is asked for by people; the other a row a kind of repo, which are few.
WHOLE = {"_REPOS", "_SHOWN_COUNTS"}


@pytest.mark.parametrize("name", sorted(SELECTS.keys() - WHOLE))
def test_every_look_up_probes_an_index(catalog: Catalog, path: Path, name: str) -> None:
    """No look-up scans a table or sorts: its plan holds searches alone, so size does not slow it."""
    catalog.record([head()]).result()
    connection = sqlite3.connect(path)
    values = [None] * (4 if name == "_ABSENT" else SELECTS[name].count("?"))

    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {SELECTS[name]}", values)]
    connection.close()

    assert plan
    assert not [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step]


def test_paths_that_do_not_exist_are_remembered_up_to_a_bound(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers make them up: the file does not grow for ever, and the last ones told are known."""
    monkeypatch.setattr(recording, "MAX_ABSENCES", 500)
    monkeypatch.setattr(recording, "_LOOK", 4)
    for start in range(0, 3000, 10):
        paths = tuple(f"made-up-{number}" for number in range(start, start + 10))
        catalog.record([Entries(REPO, COMMIT, (), paths)]).result()
        assert all(catalog.absent(REPO, COMMIT, path) for path in paths)

    assert len(catalog.absences(REPO, COMMIT)) < 700


def test_children_of_a_folder_are_found_past_its_subtree(catalog: Catalog, path: Path) -> None:
    """Listing a folder takes as many steps with ten thousand files below its one child as with ten."""
    steps = []
    for commit, below in ((COMMIT, 10), (LATER, 10_000)):
        deep = tuple(small(f"data/deep/{number:05}") for number in range(below))
        tree = (folder("data"), folder("data/deep"), *deep, small("data/z"))
        catalog.record([Entries(REPO, commit, tree)]).result()
        steps.append(_steps(path, partial(_children, commit)))

    few, many = steps

    assert many <= few * 1.2


def _children(commit: str, view: lookups.Lookups) -> None:
    found = view.listing(REPO, commit, "data", recursive=False, after="", limit=1000)
    assert [entry.path for entry in found] == ["data/deep", "data/z"]


def _steps(path: Path, look: Callable[[lookups.Lookups], None]) -> int:
    """How many instructions of SQLite's machine a look-up takes."""
    view = lookups.Lookups(path)
    look(view)
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    view._connection().set_progress_handler(count, 1)
    look(view)
    view.stop()
    return counted[0]


def test_look_ups_take_the_same_steps_at_any_size(catalog: Catalog, path: Path) -> None:
    """A thousand times the entries cost a look-up no more instructions."""
    wanted = large("m/00500")

    def look(view: lookups.Lookups) -> None:
        assert view.entry(REPO, COMMIT, wanted.path) == wanted
        assert view.by_digest(REPO, sha256(wanted.path).hex) == (COMMIT, wanted)
        assert view.by_xet(REPO, wanted.xet or "") == (COMMIT, wanted)
        assert view.absent(REPO, COMMIT, "nowhere")
        assert len(view.repos(public_only=False)) == 1

    catalog.record([head(), Entries(REPO, COMMIT, (wanted,))]).result()
    before = _steps(path, look)
    rest = tuple(large(f"m/{number:05}") for number in range(1000))
    catalog.record([Entries(REPO, COMMIT, rest)]).result()

    assert _steps(path, look) == before


# ── descriptions ───────────────────────────────────────────────────────────────────────────────


def test_info_large_one_is_read_once(catalog: Catalog) -> None:
    """A snapshot's head is asked for at every request: its description is read again when it changed."""
    big = head(info=b"x" * (10 << 20))
    catalog.record([big]).result()
    first, second = catalog.snapshot(REPO, COMMIT), catalog.snapshot(REPO, COMMIT)

    assert first is not None
    assert second is not None
    assert first.info is second.info
    changed = head(info=b"y")
    catalog.record([changed]).result()
    assert catalog.snapshot(REPO, COMMIT) == changed


def test_info_kept_ones_are_few(catalog: Catalog) -> None:
    """However many snapshots are looked at, only the last few descriptions stay in memory."""
    for number in range(50):
        commit = f"{number:040x}"
        catalog.record([head(commit=commit)]).result()
        assert catalog.snapshot(REPO, commit) == head(commit=commit)

    assert len(catalog._file._infos) <= lookups._INFOS_KEPT


# ── writing ────────────────────────────────────────────────────────────────────────────────────


def test_writer_takes_what_waits_in_one_transaction(catalog: Catalog) -> None:
    """Facts that come while one transaction is under way share the next; none is seen half."""
    gate, entered = threading.Event(), threading.Event()

    def hold(_connection: sqlite3.Connection) -> None:
        entered.set()
        assert gate.wait(10)

    transactions: list[str] = []
    held = catalog._writer.submit(
        lambda connection: connection.set_trace_callback(transactions.append)
    )
    held.result()
    transactions.clear()
    held = catalog._writer.submit(hold)
    assert entered.wait(10)
    waiting = [catalog.record([Ref(REPO, f"v{n}", COMMIT, NOON)]) for n in range(20)]
    assert catalog.refs(REPO) == []
    gate.set()
    for future in [held, *waiting]:
        future.result(timeout=10)

    assert len(catalog.refs(REPO)) == 20
    assert transactions.count("COMMIT") == 2  # the one that was held, and one for the twenty


def test_writer_future_that_is_cancelled_is_written_all_the_same(catalog: Catalog) -> None:
    """A caller that goes away does not take back what upstream said."""
    future = catalog.record([Ref(REPO, "main", COMMIT, NOON)])

    assert not future.cancel()
    future.result(timeout=10)
    assert catalog.ref(REPO, "main") is not None


def test_writer_lives_on_when_memory_runs_out(catalog: Catalog) -> None:
    """SQLite tells it as a `MemoryError`; whoever waits is told, and the next is written."""

    def commits_without_memory(connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")
        raise MemoryError

    with pytest.raises(MemoryError):
        catalog._writer.submit(commits_without_memory).result(timeout=10)
    catalog.record([Ref(REPO, "main", COMMIT, NOON)]).result(timeout=10)

    assert catalog.ref(REPO, "main") is not None


def test_reader_never_sees_half_of_a_record(catalog: Catalog) -> None:
    """A complete snapshot and its entries appear together, while another thread keeps looking."""
    torn: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            snapshot = catalog.snapshot(REPO, COMMIT)
            if snapshot is not None and snapshot.state is SnapshotState.COMPLETE:
                torn.append(
                    len(catalog.listing(REPO, COMMIT, "", recursive=True, after="", limit=999))
                )
                return

    looker = threading.Thread(target=look)
    looker.start()
    entries = tuple(small(f"{number:03}") for number in range(500))
    catalog.record([head(), Entries(REPO, COMMIT, entries)]).result()
    looker.join(timeout=30)
    done.set()

    assert torn == [500]


def test_entry_seen_again_unchanged_costs_no_write(catalog: Catalog) -> None:
    """Reading the same tree again leaves its rows alone."""
    entries = Entries(REPO, COMMIT, tuple(large(f"{number:03}") for number in range(100)))
    changes: list[int] = []

    def count(connection: sqlite3.Connection) -> None:
        before = connection.total_changes
        recording.record(connection, [entries])
        changes.append(connection.total_changes - before)

    for _ in range(2):
        catalog._writer.submit(count).result()

    assert changes[0] >= 100
    assert changes[1] <= 2  # the repo's row


# ── cost ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_tree_of_a_hundred_thousand_is_recorded_and_read_in_time(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset of 100 000 files is recorded whole; the figures of writing and reading are printed."""
    catalog = Catalog.open(path)
    tree = [large(f"data/train/part-{n // PAGE:03}/shard-{n:06}.parquet") for n in range(MANY)]
    gc.collect()
    began = time.perf_counter()
    futures = [catalog.record([head(SnapshotState.PENDING)])]
    futures += [
        catalog.record([Entries(REPO, COMMIT, tuple(tree[start : start + PAGE]))])
        for start in range(0, MANY, PAGE)
    ]
    futures.append(catalog.record([head(info=b"")]))
    for future in futures:
        future.result()
    figures = {"record 100 000 entries, s": time.perf_counter() - began}
    probe = tree[MANY // 2]
    part = probe.path.rpartition("/")[0]
    figures |= {
        "entry, µs": 1e6 * _median(lambda: catalog.entry(REPO, COMMIT, probe.path)),
        "absent, µs": 1e6 * _median(lambda: catalog.absent(REPO, COMMIT, "nowhere")),
        "snapshot, µs": 1e6 * _median(lambda: catalog.snapshot(REPO, COMMIT)),
        "by_digest, µs": 1e6 * _median(lambda: catalog.by_digest(REPO, sha256(probe.path).hex)),
        "by_xet, µs": 1e6 * _median(lambda: catalog.by_xet(REPO, probe.xet or "")),
        "page of a folder, ms": 1e3 * _median(lambda: _page(catalog, part, recursive=False)),
        "page of the whole, ms": 1e3 * _median(lambda: _page(catalog, "", recursive=True)),
        "missing, ms": 1e3 * _median(lambda: catalog.missing(REPO, COMMIT, limit=20), 5),
        "repos, µs": 1e6 * _median(lambda: catalog.repos(public_only=False)),
    }
    assert catalog.entry(REPO, COMMIT, probe.path) == probe
    assert len(_page(catalog, part, recursive=False)) == PAGE
    (row,) = catalog.repos(public_only=False)
    assert row.files == MANY
    catalog.finish()
    catalog.close()
    figures["bytes per entry"] = path.stat().st_size / MANY
    began = time.perf_counter()
    catalog = Catalog.open(path)
    figures["open, ms"] = 1e3 * (time.perf_counter() - began)
    assert catalog.entry(REPO, COMMIT, probe.path) == probe
    catalog.close()
    with capsys.disabled():
        for name, figure in figures.items():
            sys.stdout.write(f"\n{name:28}{figure:10.2f}")


def _page(catalog: Catalog, where: str, *, recursive: bool) -> list[Entry]:
    return list(catalog.listing(REPO, COMMIT, where, recursive=recursive, after="", limit=PAGE))


def _median(look: Callable[[], object], times: int = 101) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        look()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[times // 2]
