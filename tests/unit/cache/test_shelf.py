"""The shelf over an index: what is looked for again, and how long it takes with a million entries."""

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
from mirror.index.catalog import Catalog
from mirror.messages import Response
from mirror.names import Entries, Ref, Reply, Repo, Visibility
from tests.bench.million import write_entries
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_probes_take_no_longer_with_a_million_entries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What health and pages ask of the index stays far below a tenth of a second; the figures are printed."""
    path = tmp_path / "index.sqlite3"
    write_entries(path, large_repos=5, small_repos=5000, stored=True)
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
