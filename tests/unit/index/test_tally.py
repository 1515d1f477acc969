"""The note beside the catalog: whether all is there that was committed before a kill."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.index.catalog import Catalog
from mirror.index.tally import Tally
from mirror.names import Ref
from tests.unit.index.samples import COMMIT, NOON, REPO, head

REF = Ref(REPO, "main", COMMIT, NOON)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """What a killed process left: a catalog that knows a ref from before, and a head by its log alone."""
    alive = tmp_path / "alive" / "index.sqlite3"
    alive.parent.mkdir()
    catalog = Catalog.open(alive)
    catalog.record([REF]).result()
    catalog.finish()
    catalog.close()
    catalog = Catalog.open(alive)
    catalog.record([head()]).result()
    shutil.copytree(alive.parent, tmp_path / "killed")
    catalog.close()
    return tmp_path / "killed" / "index.sqlite3"


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def test_a_kill_loses_nothing(killed: Path) -> None:
    """With its log the catalog has all that was committed, and is taken up."""
    assert _log(killed).stat().st_size > 0
    catalog = Catalog.open(killed, killed=True)
    assert not catalog.fresh
    assert catalog.ref(REPO, "main") == REF
    assert catalog.snapshot(REPO, COMMIT) == head()
    catalog.close()


def _lose(path: Path) -> None:
    _log(path).unlink()


def _cut(path: Path) -> None:
    os.truncate(_log(path), _log(path).stat().st_size - 1)


def _empty(path: Path) -> None:
    os.truncate(_log(path), 0)


def _garble(path: Path) -> None:
    log = bytearray(_log(path).read_bytes())
    log[len(log) // 2] ^= 1
    _log(path).write_bytes(log)


def _replace(path: Path) -> None:
    _log(path).write_bytes(os.urandom(_log(path).stat().st_size))


def _lose_the_note(path: Path) -> None:
    path.with_name(f"{path.name}-committed").unlink()


def _garble_the_note(path: Path) -> None:
    path.with_name(f"{path.name}-committed").write_bytes(b"\0" * 42)


@pytest.mark.parametrize(
    "spoil", [_lose, _cut, _empty, _garble, _replace, _lose_the_note, _garble_the_note]
)
def test_what_was_committed_is_missed(killed: Path, spoil: Callable[[Path], None]) -> None:
    """A log that is gone, short or wrong, or a note that is, begins the catalog anew."""
    spoil(killed)
    catalog = Catalog.open(killed, killed=True)
    assert catalog.fresh
    assert catalog.ref(REPO, "main") is None
    catalog.close()


def test_a_power_cut_may_lose_the_last_transactions(killed: Path) -> None:
    """Where the machine itself went down the rest is sound, and kept."""
    _lose(killed)
    catalog = Catalog.open(killed)
    assert not catalog.fresh
    assert catalog.ref(REPO, "main") == REF
    assert catalog.snapshot(REPO, COMMIT) is None
    assert Tally(killed).holds()  # what it lost is not missed again at the next start
    catalog.close()
    assert Tally(killed).holds()


def test_a_start_that_is_killed_misses_nothing(killed: Path) -> None:
    """Killed again before anything was written, it is taken up again."""
    for _ in range(3):
        catalog = Catalog.open(killed, killed=True)
        assert not catalog.fresh
        catalog.close()
        assert Tally(killed).holds()
    assert not _log(killed).exists()


def test_a_catalog_made_anew_is_not_held_against_the_old_one(killed: Path) -> None:
    """The note goes with the catalog that it was about."""
    for _ in range(100):
        Tally(killed).note(1 << 40)
    catalog = Catalog.open(killed, killed=True)
    assert catalog.fresh
    catalog.record([REF]).result()
    catalog.finish()
    catalog.close()
    catalog = Catalog.open(killed, killed=True)
    assert not catalog.fresh
    assert catalog.ref(REPO, "main") == REF
    catalog.close()


def test_a_disk_that_refuses_the_note_refuses_no_fact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older note is behind the catalog, which is no reason to doubt it."""
    path = tmp_path / "index.sqlite3"
    catalog = Catalog.open(path)

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    catalog.record([REF]).result()
    catalog.finish()
    monkeypatch.undo()
    catalog.close()
    assert Tally(path).holds()
