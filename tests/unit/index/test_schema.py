"""The file of the catalog: made, taken up again, and thrown away when it is not to be trusted."""

import sqlite3
from pathlib import Path

import pytest

from mirror.errors import StoreCorruptError, StoreFullError, StoreUnusableError
from mirror.index import schema
from mirror.index.catalog import Catalog
from mirror.names import Entries, Ref
from tests.unit.index.samples import COMMIT, NOON, REPO, head, large, sha256

REF = Ref(REPO, "main", COMMIT, NOON)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed catalog that knows one ref."""
    path = tmp_path / "index.sqlite3"
    catalog = Catalog.open(path)
    catalog.record([REF])
    catalog.finish()
    catalog.close()
    return path


def _reopened(path: Path) -> tuple[bool, Ref | None]:
    catalog = Catalog.open(path)
    try:
        return catalog.fresh, catalog.ref(REPO, "main")
    finally:
        catalog.close()


def test_open_takes_up_what_was_written(path: Path) -> None:
    """A catalog that was closed is as it was, and leaves no log behind."""
    assert _reopened(path) == (False, REF)
    assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.name}-committed"}


def test_open_begins_a_catalog_where_there_is_none(tmp_path: Path) -> None:
    """A missing file makes an empty catalog that says so until it is finished."""
    path = tmp_path / "new.sqlite3"
    catalog = Catalog.open(path)
    assert catalog.fresh
    catalog.finish()
    assert not catalog.fresh
    catalog.close()

    assert _reopened(path) == (False, None)


def test_open_begins_anew_what_was_never_finished(tmp_path: Path) -> None:
    """A catalog that a crash left half rebuilt is not taken for a whole one, however often that happens."""
    path = tmp_path / "index.sqlite3"
    for _ in range(2):
        catalog = Catalog.open(path)
        assert catalog.fresh
        assert catalog.ref(REPO, "main") is None
        catalog.record([REF]).result()
        catalog.close()


@pytest.mark.parametrize("version", [0, 1, schema.SCHEMA_VERSION + 1])
def test_open_throws_away_another_version(path: Path, version: int) -> None:
    """A file of another version, older or newer, is replaced by an empty one."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()

    assert _reopened(path) == (True, None)


@pytest.mark.parametrize("damage", ["no database", "empty", "head", "schema", "cut"])
def test_open_throws_away_a_damaged_file(path: Path, damage: str) -> None:
    """A file whose first pages are not sound is replaced by an empty one, whatever they became."""
    sound = path.read_bytes()
    path.write_bytes(
        {
            "no database": b"not a database at all" * 500,
            "empty": b"",
            "head": b"\0" * 4096 + sound[4096:],
            "schema": sound[:100] + b"\xff" * 3996 + sound[4096:],
            "cut": sound[:700],
        }[damage]
    )

    assert _reopened(path) == (True, None)


def test_open_throws_away_a_file_without_its_tables(path: Path) -> None:
    """A database that only has the right number is not taken for a catalog."""
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
    connection.close()

    assert _reopened(path) == (True, None)


def test_damage_found_later_is_said_and_mended_by_the_next_start(path: Path) -> None:
    """A page that goes bad inside fails the look-up, leaves a mark, and costs a rebuild, not a life."""
    catalog = Catalog.open(path)
    entries = tuple(large(f"{number:04}") for number in range(2000))
    catalog.record([head(), Entries(REPO, COMMIT, entries)]).result()
    catalog.close()
    sound = path.read_bytes()
    tables = (
        40 * 4096
    )  # every table and index has its first page here, and the schema all of its own
    path.write_bytes(sound[:tables] + b"\xa5" * (len(sound) - tables))
    catalog = Catalog.open(path)
    assert not catalog.fresh

    with pytest.raises(StoreCorruptError, match="rebuilds the index"):
        catalog.listing(REPO, COMMIT, "", recursive=True, after="", limit=2000)
    with pytest.raises(StoreCorruptError):
        catalog.record([Entries(REPO, COMMIT, tuple(large(f"x{n}") for n in range(2000)))]).result()
    catalog.close()

    assert _reopened(path) == (True, None)


def test_open_throws_away_a_file_whose_blobs_are_damaged(path: Path) -> None:
    """Damage that opening itself runs into costs no second start."""
    catalog = Catalog.open(path)
    catalog._writer.submit(_damage_blobs).result()
    catalog.close()

    assert _reopened(path) == (True, None)


def _damage_blobs(connection: sqlite3.Connection) -> None:
    """Make the root page of an index one that is none."""
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'blobs_by_use'")


def test_open_refuses_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    """A folder in the way, or none to write in, is an error that names the index."""
    (tmp_path / "folder.sqlite3").mkdir()

    for place in (tmp_path / "folder.sqlite3", tmp_path / "missing" / "index.sqlite3"):
        with pytest.raises(StoreUnusableError, match="index"):
            Catalog.open(place)


def test_unclean_end_loses_nothing_committed(path: Path) -> None:
    """What was committed survives a process that never closed: the next one reads its log."""
    catalog = Catalog.open(path)
    later = Ref(REPO, "later", COMMIT, NOON)
    catalog.record([later]).result()
    copy = path.with_name("copy.sqlite3")
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(
            path.with_name(path.name + suffix).read_bytes()
        )
    catalog.close()

    survivor = Catalog.open(copy)

    assert not survivor.fresh
    assert survivor.ref(REPO, "later") == later
    survivor.close()


def test_recency_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The counter of uses is taken up again, so an old blob never looks newer than a new one."""
    path = tmp_path / "index.sqlite3"
    for name in ("first", "second"):
        catalog = Catalog.open(path)
        catalog.stored([(sha256(name), 1)])
        catalog.finish()
        catalog.close()
    catalog = Catalog.open(path)

    order = [blob.digest for blob in catalog.least_recent(after=0, limit=9)]

    assert order == [sha256("first"), sha256("second")]
    catalog.close()


def test_a_full_disk_is_called_that(tmp_path: Path) -> None:
    """A write that finds no room fails with the store's word for it, and the catalog goes on."""
    path = tmp_path / "index.sqlite3"
    catalog = Catalog.open(path)
    catalog.record([REF]).result()
    pages = {"limit": 0}

    def limit(connection: sqlite3.Connection) -> None:
        (pages["limit"],) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages['limit']}")

    catalog._writer.submit(limit).result()
    many = Entries(REPO, COMMIT, tuple(large(f"{number:04}") for number in range(2000)))

    with pytest.raises(StoreFullError, match="full"):
        catalog.record([many]).result()

    assert catalog.ref(REPO, "main") == REF
    assert catalog.entry(REPO, COMMIT, "0000") is None
    again = Ref(REPO, "again", COMMIT, NOON)
    catalog.record([again]).result()
    assert catalog.ref(REPO, "again") == again
    catalog.close()
