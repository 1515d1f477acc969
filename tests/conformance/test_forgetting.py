"""What the operator removes, every index forgets, and nothing else: the catalog and its double alike."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.digest import source_of
from mirror.errors import StoreError
from mirror.index import forgetting
from mirror.index.catalog import Catalog
from mirror.index.protocol import Index
from mirror.names import Access, Alias, Entries, Ref, SnapshotState, Verdict, Visibility
from tests.doubles.memory_index import MemoryIndex
from tests.unit.index.disk import refuse, relent
from tests.unit.index.samples import (
    COMMIT,
    LATER,
    NOON,
    OTHER,
    REPO,
    git_sha1,
    head,
    large,
    reply,
    sha256,
    small,
    xet,
)

SHARED = large("model.safetensors", "shared", 8)
FIRST = (SHARED, small("README.md", "old", 5), large("old.bin", "gone", 7))
SECOND = (SHARED, small("README.md", "new", 6))


@pytest.fixture(params=["catalog", "memory"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """Each implementation, with one repo of two commits and another that shares a file with it."""
    made: Index = MemoryIndex()
    if request.param == "catalog":
        made = Catalog.open(tmp_path / "index.sqlite3")
    made.record(
        [
            Entries(REPO, COMMIT, FIRST, ("absent.txt",)),
            head(commit=COMMIT),
            Entries(REPO, LATER, SECOND),
            head(commit=LATER),
            Ref(REPO, "v1", COMMIT, NOON),
            Ref(REPO, "main", LATER, NOON),
            Visibility(REPO, private=False, gated=False, seen_at=NOON),
            Entries(OTHER, COMMIT, (SHARED,)),
            Ref(OTHER, "main", COMMIT, NOON),
        ]
    ).result()
    links = [(git_sha1("old"), sha256("old")), (git_sha1("new"), sha256("new"))]
    sizes = {"shared": 8, "old": 5, "new": 6, "gone": 7}
    made.stored([(sha256(name), size) for name, size in sizes.items()], links).result()
    yield made
    made.close()


def test_forget_a_commit_leaves_the_others_whole(index: Index) -> None:
    """Its entries, absences and refs go; what another commit of the repo has is still found there."""
    index.forget(REPO, COMMIT)

    assert index.snapshot(REPO, COMMIT) is None
    assert index.entry(REPO, COMMIT, "old.bin") is None
    assert not index.absent(REPO, COMMIT, "absent.txt")
    assert [ref.revision for ref in index.refs(REPO)] == ["main"]
    assert list(index.commits(REPO)) == [LATER]
    assert index.by_digest(REPO, sha256("gone").hex) is None
    assert index.by_digest(REPO, sha256("shared").hex) == (LATER, SHARED)
    assert index.by_xet(REPO, xet("shared")) == (LATER, SHARED)
    assert index.visibility(REPO) is not None
    assert index.entry(OTHER, COMMIT, "model.safetensors") == SHARED


def test_forget_a_commit_counts_what_is_left(index: Index) -> None:
    """A repo's row says what its other commits have, as if the one had never been seen."""
    index.forget(REPO, COMMIT)

    row = next(row for row in index.repos(public_only=False) if row.repo == REPO)
    assert (row.commits, row.files, row.files_stored, row.bytes_stored) == (1, 2, 2, 14)


def test_forget_a_commit_may_be_learned_again(index: Index) -> None:
    """What is recorded anew is known anew, with its own description and state."""
    index.forget(REPO, COMMIT)
    index.record(
        [head(SnapshotState.PENDING, commit=COMMIT, info=b"{}"), Ref(REPO, "v1", COMMIT, NOON)]
    ).result()

    snapshot = index.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert (snapshot.state, snapshot.info) == (SnapshotState.PENDING, b"{}")
    assert index.entry(REPO, COMMIT, "old.bin") is None


def test_forget_a_repo_leaves_no_trace_of_it(index: Index) -> None:
    """Neither facts nor names nor verdicts are left, and the other repo is as it was."""
    old = type(REPO)(REPO.hub, "models/acme/former")
    index.record([Alias(old, REPO, "id", NOON), Alias(REPO, REPO, "id", 0.0)]).result()
    index.record_verdict("alice", Verdict(REPO, Access.READ, accepted=True, seen_at=NOON)).result()

    index.forget(REPO)

    assert [row.repo for row in index.repos(public_only=False)] == [OTHER]
    assert index.visibility(REPO) is None
    assert not index.refs(REPO)
    assert not index.commits(REPO)
    assert index.alias(old) is None
    assert index.alias(REPO) is None
    assert index.verdict("alice", REPO, Access.READ) is None
    assert index.by_digest(OTHER, sha256("shared").hex) == (COMMIT, SHARED)
    assert list(index.holders(sha256("shared"))) == [OTHER]


def test_forget_what_is_not_known_changes_nothing(index: Index) -> None:
    """A repo, a commit, an answer and a name that nobody ever saw."""
    before = index.repos(public_only=False)
    index.forget(type(REPO)(REPO.hub, "models/acme/never"))
    index.forget(REPO, "f" * 40)
    index.forget_replies(["GET /never"])
    index.unlink([source_of("https://never.example/")])

    assert index.repos(public_only=False) == before


def test_a_list_is_not_complete_that_lost_its_beginning(index: Index) -> None:
    """Pages that were read before a removal are gone: what is learned on top of them counts as begun."""
    seen = index.forgettings
    index.record([Entries(REPO, COMMIT, FIRST)], seen).result()
    index.forget(REPO, COMMIT)
    assert index.forgettings > seen
    assert index.forgettings % 2 == 0
    index.record([Entries(REPO, COMMIT, SECOND), head(commit=COMMIT)], seen).result()

    snapshot = index.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert snapshot.state is SnapshotState.PENDING
    assert not index.absent(REPO, COMMIT, "old.bin")
    index.record([Entries(REPO, COMMIT, FIRST), head(commit=COMMIT)], index.forgettings).result()
    snapshot = index.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert snapshot.state is SnapshotState.COMPLETE


def test_holders_are_the_repos_that_have_the_content(index: Index) -> None:
    """By any of its names, whatever is stored."""
    assert list(index.holders(sha256("shared"))) == sorted([REPO, OTHER])
    assert list(index.holders(sha256("old"))) == [REPO]
    assert list(index.holders(sha256("nobody's"))) == []
    assert list(index.names_of(sha256("old"))) == [git_sha1("old")]


def test_contents_are_those_that_are_stored(index: Index) -> None:
    """Each once for a repo, however many of its commits have it, under the name in the store."""
    index.dropped([sha256("gone")]).result()
    told = [(repo, blob.digest, blob.size) for repo, blob in index.contents()]

    assert sorted(told) == sorted(
        [
            (REPO, sha256("shared"), 8),
            (REPO, sha256("old"), 5),
            (REPO, sha256("new"), 6),
            (OTHER, sha256("shared"), 8),
        ]
    )


def test_replies_are_named_in_order_and_forgotten_by_key(index: Index) -> None:
    """Page by page; one that is forgotten is told no more."""
    for key in ("c", "a", "b"):
        index.record([reply(key, lasting=True)]).result()

    assert index.reply_keys("", 2) == ["a", "b"]
    assert index.reply_keys("b", 2) == ["c"]
    index.forget_replies(["a", "c"])
    assert index.reply_keys("", 9) == ["b"]
    assert index.reply("a") is None


def test_unlink_makes_room_for_another_word(index: Index) -> None:
    """The first word stands until it is taken back; then the next one does."""
    address = source_of("https://host.example/model.pt")
    index.link(address, sha256("shared")).result()
    assert list(index.names_of(sha256("shared"))) == [address]

    index.unlink([address])
    assert index.sha256_of(address) is None
    index.link(address, sha256("new")).result()
    assert index.sha256_of(address) == sha256("new")


def test_last_use_grows_with_each(index: Index) -> None:
    """It is the number that the blob used last has."""
    before = index.last_use
    index.touch([sha256("old")]).result()

    assert index.last_use > before
    used = index.blob(sha256("old"))
    assert used is not None
    assert used.used == index.last_use
    assert index.blob(sha256("nobody's")) is None


def test_forgetting_reaches_the_disk_or_fails(tmp_path: Path) -> None:
    """A disk that takes nothing is told of, and what was to be forgotten is still known."""
    with_trouble = Catalog.open(tmp_path / "index.sqlite3")
    with_trouble.record([Ref(REPO, "main", COMMIT, NOON)]).result()
    refuse(with_trouble)
    with pytest.raises(StoreError):
        with_trouble.forget(REPO)
    with pytest.raises(StoreError):
        with_trouble.forget_replies(["a"])
    with pytest.raises(StoreError):
        with_trouble.unlink([git_sha1("a")])
    assert with_trouble.ref(REPO, "main") is not None
    relent(with_trouble)
    with_trouble.forget(REPO)
    assert with_trouble.ref(REPO, "main") is None
    with_trouble.close()


def test_forgetting_goes_by_pieces_and_is_out_of_sight_from_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill leaves half forgotten shows nowhere, may be learned anew, and goes with the next call."""
    monkeypatch.setattr(forgetting, "_PIECE", 7)
    catalog = Catalog.open(tmp_path / "index.sqlite3")
    old = tuple(large(f"{number:03}.bin", f"old {number}", 10) for number in range(40))
    new = tuple(large(f"{number:03}.bin", f"old {number % 20}", 10) for number in range(40))
    for commit, entries in ((COMMIT, old), (LATER, new)):
        catalog.record([Entries(REPO, commit, entries), head(commit=commit)]).result()
    catalog.stored([(sha256(f"old {number}"), 10) for number in range(40)]).result()
    takes = iter(range(3))
    real = forgetting._take_some

    def dies(connection: sqlite3.Connection, key: int, number: int) -> bool:
        next(takes)
        return real(connection, key, number)

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, "_take_some", dies)
        with pytest.raises(StopIteration):
            catalog.forget(REPO, COMMIT)
    assert list(catalog.commits(REPO)) == [LATER]
    assert catalog.snapshot(REPO, COMMIT) is None
    assert not catalog.listing(REPO, COMMIT, "", recursive=True, after="", limit=99)
    assert catalog.by_digest(REPO, sha256("old 39").hex) is None
    catalog.record([Entries(REPO, COMMIT, old[:1]), head(commit=COMMIT)]).result()
    assert catalog.entry(REPO, COMMIT, "000.bin") == old[0]

    catalog.forget(REPO, COMMIT)
    assert list(catalog.commits(REPO)) == [LATER]
    (row,) = catalog.repos(public_only=False)
    assert (row.commits, row.files, row.files_stored, row.bytes_stored) == (1, 20, 20, 200)
    for number in range(20):
        found = catalog.by_digest(REPO, sha256(f"old {number}").hex)
        assert found is not None
        assert found[0] == LATER
    with sqlite3.connect(tmp_path / "index.sqlite3") as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (40,)
    connection.close()
    catalog.close()
