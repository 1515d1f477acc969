"""The disk takes nothing: what is learned counts all the same, and is written when it can be."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirror.errors import StoreError, StoreFullError
from mirror.index.arrears import Arrears
from mirror.index.catalog import Catalog
from mirror.index.journal import Journal
from mirror.index.records import Records
from mirror.names import (
    Access,
    Alias,
    Entries,
    Ref,
    Repo,
    SnapshotState,
    Verdict,
    Visibility,
)
from tests.unit.index.disk import Syncs, refuse, relent, write
from tests.unit.index.samples import COMMIT, LATER, NOON, OTHER, REPO, head, large, sha256

REF = Ref(REPO, "main", COMMIT, NOON)
OPEN = Visibility(REPO, private=False, gated=False, seen_at=NOON)
SHUT = Visibility(REPO, private=True, gated=False, seen_at=NOON + 60)
TAKEN = Verdict(REPO, Access.READ, accepted=True, seen_at=NOON)
REFUSED = Verdict(REPO, Access.READ, accepted=False, seen_at=NOON + 60)
DEAD = Verdict(Repo(REPO.hub, ""), Access.NONE, accepted=False, seen_at=NOON + 60)
BOUND = 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the catalog is."""
    return tmp_path / "index.sqlite3"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    """A catalog that knows an open repo, and holds little."""
    catalog = Catalog.open(path, bound=BOUND)
    catalog.record([REF, OPEN]).result()
    catalog.record_verdict("alice", TAKEN).result()
    catalog.finish()
    yield catalog
    catalog.close()


def _wait(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_held_is_written_when_the_disk_takes_it(catalog: Catalog) -> None:
    """By itself, with nobody writing anything more, and in the order in which it was learned."""
    refuse(catalog)
    catalog.record([Ref(REPO, "main", LATER, NOON + 1), SHUT]).result()
    catalog.record([Ref(REPO, "main", COMMIT, NOON + 2)]).result()
    catalog.record([Entries(REPO, COMMIT, (large("m"),)), head()]).result()
    catalog.stored([(sha256("m"), 7)]).result()
    assert "readonly" in catalog.trouble
    assert catalog._file.visibility(REPO) == OPEN

    relent(catalog)
    _wait(lambda: not catalog.trouble)

    assert not catalog._held.something
    assert catalog._file.ref(REPO, "main") == Ref(REPO, "main", COMMIT, NOON + 2)
    assert catalog._file.visibility(REPO) == SHUT
    assert catalog._file.entry(REPO, COMMIT, "m") == large("m")
    assert catalog._file.totals() == catalog.totals()
    assert catalog.totals().blobs == 1


def test_what_can_never_be_written_does_not_keep_the_rest_waiting(catalog: Catalog) -> None:
    """A fact that the file would refuse whatever the disk says is left out."""
    refuse(catalog)
    catalog.record([SHUT]).result()
    catalog._held.refs[REPO, "odd"] = Ref(REPO, "odd", COMMIT, "no time")  # type: ignore[arg-type]
    catalog._held.replies["odd"] = "no reply"  # type: ignore[assignment]
    relent(catalog)
    _wait(lambda: not catalog.trouble)
    assert catalog._held.something is False


def test_a_full_disk_is_called_that(catalog: Catalog) -> None:
    """A write that finds no room is held, and the reason says that there is none."""
    connection = catalog._writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many = Entries(REPO, COMMIT, tuple(large(f"{number:04}") for number in range(90)))

    catalog.record([many]).result()

    assert catalog.trouble == "The disk of the index is full."
    assert catalog.entry(REPO, COMMIT, "0000") == large("0000")
    assert catalog._file.entry(REPO, COMMIT, "0000") is None
    with pytest.raises(StoreFullError):
        catalog.finish()
    connection.execute("PRAGMA max_page_count = 1000000")
    catalog.finish()
    assert catalog._file.entry(REPO, COMMIT, "0000") == large("0000")


def test_a_use_that_was_not_written_leaves_no_trouble_behind(catalog: Catalog) -> None:
    """Where nothing is held the disk is tried again all the same, by itself."""
    refuse(catalog)
    catalog.touch([sha256("m")]).result()
    assert catalog.trouble
    relent(catalog)
    _wait(lambda: not catalog.trouble)


# ── the bound ──────────────────────────────────────────────────────────────────────────────────


def _flood(catalog: Catalog) -> None:
    """Learn much more than is held."""
    for number in range(2 * BOUND // 600):
        repo = Repo(REPO.hub, f"models/a/{number}")
        catalog.record([Ref(repo, "main", COMMIT, NOON)]).result()
        catalog.record([Visibility(repo, private=True, gated=False, seen_at=NOON)]).result()
        catalog.record([Alias(repo, REPO, "id", NOON)]).result()
        catalog.record_verdict(
            "alice", Verdict(repo, Access.READ, accepted=False, seen_at=NOON)
        ).result()
        catalog.record_verdict(f"{number}", DEAD).result()


def test_what_takes_away_is_never_let_go(catalog: Catalog) -> None:
    """However much comes, nobody is admitted by what the file believes and upstream took back."""
    refuse(catalog)
    taken_over = Alias(REPO, OTHER, "id", NOON + 60)
    catalog.record([SHUT, taken_over]).result()
    catalog.record_verdict("alice", REFUSED).result()
    catalog.record_verdict("alice", DEAD).result()

    _flood(catalog)

    assert catalog.visibility(REPO) == SHUT
    assert catalog.alias(REPO) == taken_over
    assert catalog.verdict("alice", REPO, Access.READ) == REFUSED
    assert catalog.verdict("alice", DEAD.repo, Access.NONE) == DEAD


def test_what_may_be_learned_again_is_let_go_oldest_first(catalog: Catalog) -> None:
    """Memory stays within its bound; the newest is still known."""
    refuse(catalog)
    catalog.record([Ref(OTHER, "main", COMMIT, NOON)]).result()
    _flood(catalog)

    held = catalog._held
    assert held._size <= BOUND
    assert held._size == sum(cost for cost, _ in held._costs.values())
    assert catalog.ref(OTHER, "main") is None
    newest = Repo(REPO.hub, f"models/a/{2 * BOUND // 600 - 1}")
    assert catalog.ref(newest, "main") is not None
    known = len(held.refs) + len(held.audiences) + len(held.aliases) + len(held.verdicts)
    assert known < BOUND // 500


def test_a_list_that_is_being_read_stays_together(catalog: Catalog) -> None:
    """Half a list that went and half that came would prove paths absent that are there."""
    refuse(catalog)
    pending = head(state=SnapshotState.PENDING)
    catalog.record([Entries(REPO, COMMIT, (large("first"),)), pending]).result()
    _flood(catalog)
    catalog.record([Entries(REPO, COMMIT, (large("last"),)), head()]).result()

    assert catalog.entry(REPO, COMMIT, "first") == large("first")
    assert catalog.absent(REPO, COMMIT, "neither")
    _flood(catalog)
    assert catalog.snapshot(REPO, COMMIT) is None
    assert catalog.entry(REPO, COMMIT, "last") is None
    assert not catalog.absent(REPO, COMMIT, "neither")


def test_a_list_too_large_to_hold_is_refused_without_loss(catalog: Catalog) -> None:
    """What does not fit is refused as a full store is, and names no folder of this machine."""
    refuse(catalog)
    many = tuple(large(f"{number:05}") for number in range(1000))
    with pytest.raises(StoreFullError, match="cannot be written") as caught:
        catalog.record([Entries(REPO, COMMIT, many)]).result()
    assert "/" not in str(caught.value)
    assert catalog.entry(REPO, COMMIT, "00000") is None
    catalog.record([SHUT]).result()
    assert catalog.visibility(REPO) == SHUT


# ── an end in the meantime ─────────────────────────────────────────────────────────────────────


def test_an_end_with_something_held_leaves_doubt(path: Path) -> None:
    """What was taken away and could not be written makes the next run ask anew about every audience."""
    catalog = Catalog.open(path)
    catalog.record([REF, OPEN]).result()
    catalog.record_verdict("alice", TAKEN).result()
    catalog.finish()
    refuse(catalog)
    catalog.record([SHUT]).result()
    with pytest.raises(StoreError):
        catalog.finish()
    catalog.close()

    catalog = Catalog.open(path, killed=True)
    assert not catalog.fresh
    assert catalog.ref(REPO, "main") == REF
    seen = catalog.visibility(REPO)
    assert seen is not None
    assert seen.seen_at == 0
    assert catalog.verdict("alice", REPO, Access.READ) is None
    catalog.record([OPEN]).result()
    catalog.close()
    catalog = Catalog.open(path, killed=True)
    assert catalog.visibility(REPO) == OPEN
    catalog.close()


# ── journal and records ────────────────────────────────────────────────────────────────────────


def test_arrears_are_written_in_order_when_the_disk_takes_them(
    catalog: Catalog, tmp_path: Path
) -> None:
    """Nobody is refused for a journal or a record that fails; both follow, the last word last."""
    syncs, full, said = Syncs(), [True], list[str]()

    def put(file: Path, data: bytes) -> None:
        if full[0] and file.suffix == ".json":
            raise OSError(28, "No space left on device")
        write(file, data)

    journal = Journal.open(tmp_path / "journal.jsonl", write, syncs)
    records = Records(tmp_path / "records", put)
    arrears = Arrears(catalog, journal, records, said.append)
    catalog.record([Entries(REPO, COMMIT, (large("m"),)), head()]).result()
    syncs.failing = True
    arrears.append([SHUT])
    arrears.append([OPEN])
    arrears.save(REPO, COMMIT)
    arrears.settle()
    arrears.settle()
    assert "Input/output error" in arrears.trouble
    assert list(journal.replay()) == []

    syncs.failing = False
    arrears.settle()
    assert list(journal.replay()) == [OPEN]
    assert "No space left" in arrears.trouble

    full[0] = False
    arrears.settle()
    assert arrears.trouble == ""
    assert len(list(records.walk())) == 1
    assert len(said) == 2
    assert "held in memory" in said[0]
    assert said[1] == "The index is written again."
    journal.close()
