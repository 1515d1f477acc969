"""The memo forgets what it must, keeps to its bound, and does nothing that its file tells it to do."""

import os
import pickle
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import diskcache
import pytest

from mirror.errors import StoreUnusableError
from mirror.index.memo import Memo, MemoDisk

FOREVER = 1e6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a memo may be, two levels below the test's own folder."""
    return tmp_path / "data" / "memo"


@pytest.fixture
def memo(folder: Path) -> Iterator[Memo]:
    """An empty memo."""
    opened = Memo.open(folder)
    yield opened
    opened.close()


def test_get_gives_back_what_was_set(memo: Memo) -> None:
    """Values come back to the byte under any key, and the last one holds."""
    for key in ("plain", "", "naïve 模型", "lone\ud800", "nul\0", "x" * 5000):
        value = key.encode("utf-8", "replace") + bytes(range(256))
        memo.set(key, b"old", FOREVER)
        memo.set(key, value, FOREVER)
        assert memo.get(key) == value
        assert memo.get(f"{key}!") is None


def test_get_forgets_after_the_lifetime(memo: Memo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is kept for its own lifetime; one without any is not kept."""
    memo.set("short", b"1", 10.0)
    memo.set("long", b"2", 1000.0)
    memo.set("none", b"3", 0.0)
    assert memo.get("short") == b"1"
    assert memo.get("none") is None
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + 60)

    assert memo.get("short") is None
    assert memo.get("long") == b"2"


def test_set_survives_a_restart(folder: Path) -> None:
    """What was kept is there after closing and opening."""
    memo = Memo.open(folder)
    memo.set("key", b"value", FOREVER)
    memo.close()
    memo.close()
    assert memo.get("key") is None

    again = Memo.open(folder)

    assert again.get("key") == b"value"
    again.close()


def test_set_keeps_to_the_bound(folder: Path) -> None:
    """However much is set, the file stays about as large as allowed, and the newest is there."""
    limit = 1 << 20
    memo = Memo.open(folder, limit)
    for number in range(400):
        memo.set(f"{number}", os.urandom(20_000), FOREVER)
    memo.trim()

    assert memo.get("399") is not None
    assert memo.get("0") is None
    memo.close()
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2 * limit


def test_set_refuses_what_would_push_out_the_rest(folder: Path) -> None:
    """A value of a good part of the bound is not kept, and pushes out nothing."""
    memo = Memo.open(folder, 1 << 20)
    memo.set("small", b"1", FOREVER)
    memo.set("huge", bytes(1 << 19), FOREVER)

    assert memo.get("huge") is None
    assert memo.get("small") == b"1"
    memo.close()


def test_values_are_never_files(memo: Memo, folder: Path) -> None:
    """Values of any size are in the row: beside the database there is no file."""
    memo.set("large", bytes(4 << 20), FOREVER)

    assert memo.get("large") == bytes(4 << 20)
    assert {path.name for path in folder.rglob("*")} <= {"cache.db", "cache.db-wal", "cache.db-shm"}


def test_another_reader_is_not_waited_for(memo: Memo, folder: Path) -> None:
    """A file locked by somebody else costs a moment and an answer, never an error."""
    memo.set("key", b"value", FOREVER)
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        memo.set("key", b"changed", FOREVER)
        assert memo.get("key") == b"value"


@pytest.mark.parametrize("damage", [b"no database" * 1000, b"\0" * 8192])
def test_damage_costs_the_content_alone(folder: Path, damage: bytes) -> None:
    """A damaged file is begun anew, when opening as well as later."""
    memo = Memo.open(folder)
    memo.set("key", b"value", FOREVER)
    memo.close()
    (folder / "cache.db").write_bytes(damage)
    memo = Memo.open(folder)
    assert memo.get("key") is None
    memo.set("key", b"value", FOREVER)
    assert memo.get("key") == b"value"

    with closing(sqlite3.connect(folder / "cache.db")) as other, other:
        other.execute("DROP TABLE Cache")

    assert memo.get("key") is None
    memo.set("key", b"again", FOREVER)
    assert memo.get("key") == b"again"
    memo.close()


def test_open_refuses_a_place_where_no_folder_can_be(tmp_path: Path) -> None:
    """A file in the way is an error that names the memo."""
    (tmp_path / "memo").write_bytes(b"")

    with pytest.raises(StoreUnusableError, match="memo"):
        Memo.open(tmp_path / "memo")


def test_open_refuses_a_name_that_would_be_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dollar sign in the data folder's name does not lead the memo elsewhere."""
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))

    with pytest.raises(StoreUnusableError, match="variable"):
        Memo.open(tmp_path / "$ELSEWHERE" / "memo")

    assert list(tmp_path.iterdir()) == []


# ── a hostile file ─────────────────────────────────────────────────────────────────────────────


class Bomb:
    """Runs when it is unpickled: leaves a file as evidence."""

    def __init__(self, evidence: Path) -> None:
        self._evidence = evidence

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        """Say how to make it again, which is to write the evidence."""
        return _explode, (str(self._evidence), "it ran")


def _explode(path: str, text: str) -> None:
    Path(path).write_text(text)


# key, raw, mode, filename, value: what each hostile row says. %-marks are filled in by the test.
ROWS = {
    "value that is a pickle": (b"target", 1, diskcache.core.MODE_PICKLE, None, "BOMB"),
    "value that is a pickle in a file": (
        b"target",
        1,
        diskcache.core.MODE_PICKLE,
        "BOMB FILE",
        None,
    ),
    "value that claims to be raw": (b"target", 1, diskcache.core.MODE_RAW, None, "BOMB"),
    "key that is a pickle": ("BOMB", 0, diskcache.core.MODE_RAW, None, b"v"),
    "key that is a pickle beside its name": (b"target", 0, diskcache.core.MODE_RAW, None, b"v"),
    "file name outside": (b"target", 1, diskcache.core.MODE_BINARY, "../../canary", None),
    "file name outside as text": (b"target", 1, diskcache.core.MODE_TEXT, "../../canary", None),
    "file name outside beside a value": (
        b"target",
        1,
        diskcache.core.MODE_RAW,
        "../../canary",
        b"v",
    ),
    "file name absolute": (b"target", 1, diskcache.core.MODE_BINARY, "CANARY", None),
    "key that is a number": (7, 1, 99, None, 7),
    "key that is text": ("target", 1, diskcache.core.MODE_RAW, None, "text"),
    "nothing at all": (None, None, None, None, None),
}

EXPIRED = "expired"
KEPT = "kept"


def _plant(folder: Path, row: str, state: str, evidence: Path) -> None:
    """Put one hostile row straight into the memo's database."""
    bomb = pickle.dumps(Bomb(evidence))
    (folder / "bomb.val").write_bytes(bomb)
    fill = {"BOMB": bomb, "BOMB FILE": "bomb.val", "CANARY": str(evidence.parent / "canary")}
    key, raw, mode, filename, value = (
        fill.get(part, part) if isinstance(part, str) else part for part in ROWS[row]
    )
    now = time.time()
    expire = now - 100 if state == EXPIRED else now + FOREVER
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute("DELETE FROM Cache")
        connection.execute(
            "INSERT INTO Cache (key, raw, store_time, expire_time, access_time, size, mode, filename,"
            " value) VALUES (?, ?, 0, ?, 0, 10, ?, ?, ?)",
            (key, raw, expire, mode, filename, value),
        )


def _everything(folder: Path) -> dict[str, bytes]:
    """Every file outside the memo's folder."""
    return {
        str(path): path.read_bytes()
        for path in folder.parent.parent.rglob("*")
        if path.is_file() and folder not in path.parents
    }


def _again(folder: Path, _memo: Memo) -> None:
    Memo.open(folder).close()


# Everything that the memo, or diskcache below it, does with rows.
DEEDS: dict[str, Callable[[Path, Memo], object]] = {
    "get": lambda _folder, memo: memo.get("target"),
    "set over it": lambda _folder, memo: memo.set("target", b"new", FOREVER),
    "set beside it": lambda _folder, memo: memo.set("beside", b"new", FOREVER),
    "trim": lambda _folder, memo: memo.trim(),
    "open again": _again,
    "iterate": lambda _folder, memo: list(memo._cache),
    "iterate keys": lambda _folder, memo: list(memo._cache.iterkeys()),
    "reverse": lambda _folder, memo: list(reversed(memo._cache)),
    "expire": lambda _folder, memo: memo._cache.expire(),
    "delete": lambda _folder, memo: memo._cache.delete(b"target"),
    "pop": lambda _folder, memo: memo._cache.pop(b"target"),
    "peek": lambda _folder, memo: memo._cache.peekitem(),
    "read": lambda _folder, memo: memo._cache.get(b"target", read=True),
    "clear": lambda _folder, memo: memo._cache.clear(),
}


@pytest.mark.parametrize("state", [KEPT, EXPIRED])
@pytest.mark.parametrize("row", ROWS)
def test_hostile_row_runs_nothing_and_touches_nothing(folder: Path, row: str, state: str) -> None:
    """Whatever is done with a planted row, no code runs and no file is read, written or removed."""
    canary = folder.parent.parent / "canary"
    evidence = folder.parent.parent / "evidence"
    Memo.open(folder).close()
    canary.write_text("alive")
    for deed, do in DEEDS.items():
        memo = Memo.open(folder)
        _plant(folder, row, state, evidence)
        before = _everything(folder)
        try:
            found = do(folder, memo)
        except (KeyError, TypeError) as error:
            found = repr(error)
        memo.close()

        assert not evidence.exists(), f"{deed} ran the pickle"
        assert _everything(folder) == before, f"{deed} touched a file outside"
        assert (folder / "bomb.val").exists(), f"{deed} removed a file"
        assert b"alive" not in repr(found).encode(), f"{deed} read a file outside"


def test_hostile_row_is_a_miss(folder: Path) -> None:
    """A row that is not as the memo writes them is no value, and the memo goes on."""
    evidence = folder.parent.parent / "evidence"
    memo = Memo.open(folder)
    for row in ROWS.keys() - {"value that claims to be raw"}:
        _plant(folder, row, KEPT, evidence)
        assert memo.get("target") is None
        memo.set("target", b"good", FOREVER)
        assert memo.get("target") == b"good"
    memo.close()


def test_hostile_rows_do_harm_with_what_diskcache_ships(folder: Path) -> None:
    """The rows above are live ammunition: without our disk they run, read and remove."""
    canary = folder.parent.parent / "canary"
    evidence = folder.parent.parent / "evidence"
    Memo.open(folder).close()
    canary.write_text("alive")
    with closing(diskcache.Cache(str(folder))) as naive:
        _plant(folder, "value that is a pickle", KEPT, evidence)
        naive.get(b"target")
        assert evidence.exists()
        evidence.unlink()
        _plant(folder, "key that is a pickle", KEPT, evidence)
        list(naive)
        assert evidence.exists()
        _plant(folder, "file name outside", KEPT, evidence)
        assert naive.get(b"target") == b"alive"
        naive.delete(b"target")
        assert not canary.exists()


def test_hostile_settings_are_not_taken_over(folder: Path) -> None:
    """Settings in the file become neither attributes nor pragmas; the bound stays ours."""
    Memo.open(folder).close()
    planted = {
        "_directory": "/nowhere",
        "size_limit": 1 << 60,
        "cull_limit": "many",
        "eviction_policy": "none",
        "statistics": 1,
        "disk_remove": "x",
        "disk_planted": "x",
        "sqlite_user_version": 77,
        "size": "not a number",
    }
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO Settings VALUES (?, ?)", planted.items())

    memo = Memo.open(folder, 1 << 20)
    memo.set("key", b"value", FOREVER)
    memo.trim()

    assert memo.get("key") == b"value"
    cache = memo._cache
    assert (cache.directory, cache.size_limit, cache.cull_limit) == (str(folder), 1 << 20, 10)
    assert (cache.eviction_policy, cache.statistics) == ("least-recently-stored", 0)
    assert not hasattr(cache.disk, "planted")
    assert callable(cache.disk.remove)
    memo.close()
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)


def test_disk_takes_bytes_alone(tmp_path: Path) -> None:
    """What is not bytes is refused on the way in, so nothing needs a pickle on the way out."""
    disk = MemoDisk(str(tmp_path))

    for thing in ("text", 7, None, ("a",), bytearray(b"x")):
        with pytest.raises(TypeError, match="keeps bytes"):
            disk.put(thing)
        with pytest.raises(TypeError, match="keeps bytes"):
            disk.store(thing, read=False)
    with pytest.raises(TypeError, match="in files"):
        disk.filename()
