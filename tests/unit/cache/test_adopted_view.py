"""What a client's cache told of a commit, as one question may use it: behind upstream's word, and offline."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.cache.facts import Lifetimes, View
from mirror.digest import SHA256, Digest
from mirror.index.memo import Memo
from mirror.names import (
    ADOPTED,
    ADOPTED_WHOLE,
    Entries,
    Entry,
    Fact,
    Repo,
    Snapshot,
    SnapshotState,
    adopted,
)
from tests.doubles.memory_index import MemoryIndex

REPO = Repo("huggingface", "models/acme/tiny")
COMMIT = "c" * 40


def _entry(path: str, digit: str) -> Entry:
    return Entry(path, "file", 1, Digest(SHA256, digit * 64), "", None, b"{}")


def _told(view: str, *paths: str, absent: tuple[str, ...] = ()) -> list[Fact]:
    """What a cache told."""
    name = adopted(COMMIT)
    entries = tuple(_entry(path, "a") for path in paths)
    return [
        Entries(REPO, name, entries, absent),
        Snapshot(REPO, name, SnapshotState.PENDING, view, b"", 1.0),
    ]


def _said(state: SnapshotState, *paths: str) -> list[Fact]:
    """What upstream said."""
    entries = tuple(_entry(path, "b") for path in paths)
    return [
        Entries(REPO, COMMIT, entries),
        Snapshot(REPO, COMMIT, state, "full", b"info", 2.0),
    ]


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    """A view while upstream cannot be asked."""
    memo = Memo.open(tmp_path / "memo")
    yield View(MemoryIndex(), memo, Lifetimes({}, 0.0, 0.0), "", 3.0, 3.0, offline=True)
    memo.close()


def _paths(view: View, *, limit: int = 100, after: str = "") -> list[str]:
    found = view.listing(REPO, COMMIT, "", recursive=True, after=after, limit=limit)
    return [entry.path for entry in found]


def test_a_cache_is_believed_only_while_nobody_can_be_asked(view: View) -> None:
    """Online the same commit is one that nobody has told of."""
    view.catalog.record(_told(ADOPTED, "a", "b", absent=("c",))).result()
    assert _paths(view) == ["a", "b"]
    assert view.entry(REPO, COMMIT, "a") is not None
    assert view.absent(REPO, COMMIT, "c")
    assert not view.absent(REPO, COMMIT, "d")
    snapshot = view.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert (snapshot.commit, snapshot.state) == (COMMIT, SnapshotState.PENDING)
    online = replace(view, offline=False, _aliases={})
    assert _paths(online) == []
    assert online.entry(REPO, COMMIT, "a") is None
    assert not online.absent(REPO, COMMIT, "c")
    assert online.snapshot(REPO, COMMIT) is None


def test_a_whole_list_proves_absence(view: View) -> None:
    """It is shown as complete."""
    view.catalog.record(_told(ADOPTED_WHOLE, "a")).result()
    snapshot = view.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert snapshot.state is SnapshotState.COMPLETE
    assert view.absent(REPO, COMMIT, "d")
    assert not view.absent(REPO, COMMIT, "a")


def test_upstream_s_complete_list_is_all_there_is(view: View) -> None:
    """What only the cache had is not there."""
    view.catalog.record(_told(ADOPTED_WHOLE, "a", "only")).result()
    view.catalog.record(_said(SnapshotState.COMPLETE, "a")).result()
    assert _paths(view) == ["a"]
    assert view.entry(REPO, COMMIT, "only") is None
    assert view.absent(REPO, COMMIT, "only")


def test_upstream_s_half_list_comes_first_and_the_cache_fills_it_up(view: View) -> None:
    """In one order, in pages, each path once."""
    view.catalog.record(_told(ADOPTED, "a", "b", "d")).result()
    view.catalog.record(_said(SnapshotState.PENDING, "b", "c")).result()
    assert _paths(view) == ["a", "b", "c", "d"]
    assert _paths(view, limit=2) == ["a", "b"]
    assert _paths(view, after="b") == ["c", "d"]
    for path, digit in (("a", "a"), ("b", "b")):
        entry = view.entry(REPO, COMMIT, path)
        assert entry is not None
        assert entry.digest == Digest(SHA256, digit * 64)
    snapshot = view.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert snapshot.info == b"info"


def test_content_is_found_under_the_commit_s_own_name(view: View) -> None:
    """Whatever name it is kept under."""
    view.catalog.record(_told(ADOPTED, "a")).result()
    found = view.by_digest(REPO, "a" * 64)
    assert found is not None
    assert found[0] == COMMIT
