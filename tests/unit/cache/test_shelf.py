"""The shelf over an index: what is looked for again, and how long it takes with a million entries."""

import hashlib
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirror.bundle.present import Present
from mirror.cache.shelf import MAX_REPOS, MAX_ROWS, Shelf
from mirror.clock import FixedClock, SystemClock
from mirror.digest import sha256_of, source_of
from mirror.hubs import registry
from mirror.index import schema
from mirror.index.catalog import Catalog
from mirror.messages import Response
from mirror.names import Entries, Ref, Reply, Repo, SnapshotState, Visibility
from tests.doubles.memory_index import MemoryIndex
from tests.unit.index.samples import COMMIT, NOON, REPO, head, large, sha256

HUBS = registry.hubs(secret=b"s" * 32, tree_limit=1000, ref_lifetime=60.0)
# Bounds are for a machine that does other things besides.
PROBE = 0.1


@pytest.fixture
def index() -> Iterator[MemoryIndex]:
    """A public repo of three files, one of them here."""
    index = MemoryIndex()
    public = Visibility(REPO, private=False, gated=False, seen_at=NOON)
    entries = Entries(REPO, COMMIT, tuple(large(name, name, 5) for name in ("a", "b", "c")))
    index.record([public, Ref(REPO, "main", COMMIT, NOON), entries, head()])
    index.stored([(sha256("b"), 5)])
    yield index
    index.close()


def test_shelf_looks_again_only_for_what_it_found_missing(index: MemoryIndex) -> None:
    """What came is seen, what went is seen, and what did not change is not searched for again."""
    shelf = Shelf(index, HUBS, SystemClock())
    searches: list[str] = []
    search = index.missing

    def counted(repo: Repo, commit: str, *, after: str = "", limit: int) -> list[str]:
        searches.append(after)
        return list(search(repo, commit, after=after, limit=limit))

    index.missing = counted  # type: ignore[method-assign]
    assert shelf.lacking(REPO, "", 2) == ["a", "c"]
    assert shelf.lacking(REPO, "main", 2) == ["a", "c"]
    assert searches == [""]
    index.stored([(sha256("a"), 5)])
    assert shelf.lacking(REPO, COMMIT, 2) == ["c"]
    assert searches == ["", "c"]
    index.dropped([sha256("b")])
    assert shelf.lacking(REPO, "", 2) == ["b", "c"]
    index.stored([(sha256("b"), 5), (sha256("c"), 5)])
    assert shelf.lacking(REPO, "", 2) == []
    assert shelf.lacking(REPO, "v2", 2) is None


def test_shelf_knows_a_commit_that_is_whole_beside_one_that_is_not(index: MemoryIndex) -> None:
    """Each revision is looked at by itself."""
    later = "d" * 40
    index.record(
        [
            Ref(REPO, "next", later, NOON + 1),
            Entries(REPO, later, (large("b", "b", 5),)),
            head(commit=later),
        ]
    )
    shelf = Shelf(index, HUBS, SystemClock())
    assert shelf.lacking(REPO, "next", 9) == []
    assert shelf.lacking(REPO, "main", 9) == ["a", "c"]
    index.dropped([sha256("b")])
    assert shelf.lacking(REPO, "next", 9) == ["b"]


def test_shelf_counts_files_of_other_hosts_now_and_then(index: MemoryIndex) -> None:
    """They are counted anew when something came or went, at most a twentieth of the time."""
    clock = FixedClock(NOON)
    shelf = Shelf(index, HUBS, clock)
    assert shelf.elsewhere() == {}

    def put(number: int) -> None:
        url = f"https://download.pytorch.org/models/net-v{number}.pth"
        response = Response(200, {"content-length": "70"}, b"", "https://x", "")
        index.record([Reply(f"HEAD {url}", response, NOON, lifetime=1e9, lasting=True)])
        digest = sha256_of(url.encode())
        index.stored([(digest, 70)], [(source_of(url), digest)])

    put(1)
    assert {hub: (held.blobs, held.size) for hub, held in shelf.elsewhere().items()} == {
        "torch": (1, 70)
    }
    keys = index.keys
    index.keys = None  # type: ignore[assignment, method-assign]
    assert shelf.elsewhere()["torch"].blobs == 1  # nothing changed: nothing is read
    index.keys = keys  # type: ignore[method-assign]
    put(2)
    assert shelf.elsewhere()["torch"].blobs == 2


# ── a million entries ──────────────────────────────────────────────────────────────────────────


_KEPT_BY_TRIGGERS = """
INSERT INTO blobs SELECT digest, 10, 1 FROM entries
    WHERE path <> CAST('data/part-099/file-099999.bin' AS BLOB) ORDER BY digest;
INSERT INTO contents SELECT digest, snapshot, size, digest IN (SELECT sha256 FROM blobs), id
    FROM entries ORDER BY digest;
UPDATE totals SET (blobs, size) = (SELECT count(*), sum(size) FROM blobs);
UPDATE repos SET files = held.files, files_stored = held.stored, bytes_stored = held.bytes FROM (
    SELECT repo, count(*) AS files, sum(stored) AS stored, sum(size * stored) AS bytes
    FROM contents GROUP BY repo
) AS held WHERE held.repo = repos.id;
"""


def _million(path: Path, *, large_repos: int, small_repos: int) -> None:
    """Write repos with 100 000 and with 100 entries each, all of it stored but one file of each large one.

    What triggers keep is written at once at the end: row by row it takes most of a minute.
    """
    Catalog.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -600000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    triggers = dict(
        connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    )
    slow = ("entry_known", "xet_known", "content_known", "blob_stored")
    for trigger in slow:
        connection.execute(f"DROP TRIGGER {trigger}")
    commit = bytes.fromhex(COMMIT)
    for number, size in enumerate([100_000] * large_repos + [100] * small_repos, start=1):
        name = f"models/acme/model-{number:05}".encode()
        connection.execute(
            "INSERT INTO repos (id, hub, name, private, gated, visibility_at)"
            " VALUES (?, 'huggingface', ?, 0, 0, ?)",
            (number, name, NOON),
        )
        connection.execute("INSERT INTO refs VALUES (?, ?, ?, ?)", (number, b"main", commit, NOON))
        connection.execute(
            "INSERT INTO snapshots (id, repo, commit_id, state, view, seen_at)"
            " VALUES (?, ?, ?, ?, 'full', ?)",
            (number, number, commit, SnapshotState.COMPLETE, NOON),
        )
        connection.executemany(
            "INSERT INTO entries (snapshot, path, depth, kind, size, oid, digest)"
            " VALUES (?, ?, 2, 0, 10, '', ?)",
            [
                (
                    number,
                    b"data/part-%03d/file-%06d.bin" % (place // 1000, place),
                    hashlib.sha256(b"%d %d" % (number, place)).digest(),
                )
                for place in range(size)
            ],
        )
    # The last of a large one is missing: the whole list is looked through before that is known.
    for statement in _KEPT_BY_TRIGGERS.split(";"):
        connection.execute(statement)
    for trigger in slow:
        connection.execute(triggers[trigger])
    connection.execute("COMMIT")
    connection.close()
    schema.finish(path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_probes_take_no_longer_with_a_million_entries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What health and pages ask of the index stays far below a tenth of a second; the figures are printed."""
    path = tmp_path / "index.sqlite3"
    _million(path, large_repos=5, small_repos=5000)
    catalog = Catalog.open(path)
    shelf = Shelf(catalog, HUBS, SystemClock())
    present = Present(shelf)
    large_one = Repo("huggingface", "models/acme/model-00001")
    assert catalog.shown_counts() == {("huggingface", "models"): 5005}
    began = time.perf_counter()
    assert present.look("acme/model-00001")["model_missing"] == ["data/part-099/file-099999.bin"]
    figures = {"target, large, first": time.perf_counter() - began}

    def look(target: str, *, cached: bool) -> Callable[[], object]:
        def ask() -> None:
            assert present.look(target)["model_cached"] is cached

        return ask

    asked: dict[str, Callable[[], object]] = {
        "counts": lambda: (catalog.shown_counts(), catalog.totals()),
        "status's repos": lambda: catalog.shown("", after=None, limit=100),
        "target, large": look("acme/model-00002", cached=False),
        "target, small": look("acme/model-04000", cached=True),
        "home": lambda: shelf.repos("", None),
        "search, found": lambda: shelf.repos("model-04", None),
        "search, in vain": lambda: shelf.repos("nowhere", None),
        "repo page": lambda: shelf.repo(large_one, "", "data/part-050", ""),
    }
    for name, ask in asked.items():
        ask()
        figures[name] = statistics.median(_timed(ask) for _ in range(15))
    assert len(shelf.repos("", None)[0]) == MAX_REPOS
    leaf = shelf.repo(large_one, "", "data/part-050", "")
    assert leaf is not None
    assert (len(leaf.members), leaf.more, leaf.whole) == (MAX_ROWS, True, True)
    catalog.close()
    with capsys.disabled():
        for name, seconds in figures.items():
            sys.stdout.write(f"\n{name:24}{1e3 * seconds:10.2f} ms")
    assert {name: s for name, s in figures.items() if s > PROBE and "first" not in name} == {}


def _timed(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began
