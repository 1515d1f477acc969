"""The disk format: where things are, who may read them, what is refused."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirror.digest import Digest, sha256_of
from mirror.errors import StoreUnusableError
from mirror.store.layout import Layout

SHA = sha256_of(b"x")
GIT = Digest("git-sha1", "ab" * 20)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up root's rights for a moment, if there are any."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_layout_paths_are_those_of_the_disk_format(tmp_path: Path) -> None:
    """Every path is where the drawing in the module says."""
    layout = Layout(tmp_path)
    root = tmp_path / "v1"
    assert layout.blob(SHA) == root / "blobs/sha256" / SHA.hex[:2] / SHA.hex
    assert layout.sums_of(SHA) == root / "sums" / SHA.hex[:2] / SHA.hex
    assert layout.record(SHA) == root / "records" / SHA.hex[:2] / f"{SHA.hex}.json"
    assert layout.partial(GIT) == root / "partial" / f"git-sha1-{GIT.hex}"
    assert layout.quarantined(SHA) == root / "quarantine" / SHA.hex
    assert {path.name for path in (layout.journal, layout.index, layout.lock, layout.control)} == {
        "journal.jsonl",
        "index.sqlite3",
        "lock",
        "control.sock",
    }


def test_layout_blob_refuses_a_name_that_is_no_sha256(tmp_path: Path) -> None:
    """A git sha1 is an alias, never the name of a blob."""
    with pytest.raises(ValueError, match="sha256"):
        Layout(tmp_path).blob(GIT)


@pytest.mark.parametrize("digest", [SHA, GIT])
def test_layout_partial_folder_names_its_digest(tmp_path: Path, digest: Digest) -> None:
    """What a leftover is for can be read off its folder."""
    layout = Layout(tmp_path)
    assert layout.expected_of(layout.partial(digest)) == digest
    assert layout.expected_of(layout.temporary()) is None


def test_layout_prepare_makes_folders_that_strangers_cannot_enter(tmp_path: Path) -> None:
    """No folder of a fresh store is open to others, the data folder itself included."""
    layout = Layout(tmp_path / "deep" / "data")
    layout.prepare()
    folders = [path for path in layout.root.rglob("*") if path.is_dir()]
    assert folders
    assert [
        path for path in [layout.data, layout.root, *folders] if path.stat().st_mode & stat.S_IRWXO
    ] == []
    assert not [path for path in layout.root.rglob("*") if path.is_file()]
    layout.prepare()


def test_layout_prepare_refuses_another_version_and_touches_nothing(tmp_path: Path) -> None:
    """A data folder of a later program is left as it is."""
    (tmp_path / "v2").mkdir()
    with pytest.raises(StoreUnusableError, match="v2") as refusal:
        Layout(tmp_path).prepare()
    assert refusal.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["v2"]


def test_layout_prepare_refuses_a_later_version_beside_ours(tmp_path: Path) -> None:
    """After a newer program has been here, ours would be a second truth."""
    Layout(tmp_path).prepare()
    (tmp_path / "v10").mkdir()
    with pytest.raises(StoreUnusableError, match="v10"):
        Layout(tmp_path).prepare()


def test_layout_prepare_names_user_folder_and_command_where_it_may_not_write(
    tmp_path: Path,
) -> None:
    """The refusal can be acted on without reading anything else."""
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    with ordinary_user():
        with pytest.raises(StoreUnusableError) as refusal:
            Layout(data).prepare()
        assert str(os.geteuid()) in refusal.value.message
        assert str(data) in refusal.value.message
        assert refusal.value.hint.endswith(f"chown -R {os.geteuid()}:{os.getegid()} {data}")


def test_layout_prepare_refuses_a_file_for_a_folder(tmp_path: Path) -> None:
    """The data folder is a file: said as such, not as a traceback."""
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(StoreUnusableError) as refusal:
        Layout(tmp_path / "data").prepare()
    assert "--data" in refusal.value.hint


def test_layout_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """Every caller gets the same 32 bytes, and another folder gets others."""
    layout, other = Layout(tmp_path / "a"), Layout(tmp_path / "b")
    layout.prepare()
    other.prepare()
    secret = layout.secret()
    assert len(secret) == 32
    assert secret == Layout(tmp_path / "a").secret() != other.secret()
    assert stat.S_IMODE(layout.secret_file.stat().st_mode) == 0o600
    assert list(layout.partials.iterdir()) == []


@pytest.mark.parametrize("damage", ["short", "open", "link"])
def test_layout_secret_refuses_what_is_no_secret(tmp_path: Path, damage: str) -> None:
    """A cut, a readable or a planted secret is refused by name, never replaced in silence."""
    layout = Layout(tmp_path)
    layout.prepare()
    layout.secret()
    if damage == "short":
        layout.secret_file.write_bytes(b"cut")
    elif damage == "open":
        layout.secret_file.chmod(0o644)
    else:
        layout.secret_file.rename(tmp_path / "elsewhere")
        layout.secret_file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnusableError, match="secret"):
        layout.secret()


def test_layout_tidy_removes_only_what_was_half_written(tmp_path: Path) -> None:
    """Temporaries of a crash go; partials stay."""
    layout = Layout(tmp_path)
    layout.prepare()
    layout.temporary().write_bytes(b"half")
    layout.partial(SHA).mkdir()
    layout.tidy()
    assert list(layout.partials.iterdir()) == [layout.partial(SHA)]


def test_layout_measure_counts_blobs_partials_and_quarantine(tmp_path: Path) -> None:
    """The ledger starts with what takes room, not with journals and sums."""
    layout = Layout(tmp_path)
    layout.prepare()
    assert layout.measure() == 0
    for path in (layout.blob(SHA), layout.sums_of(SHA)):
        path.parent.mkdir()
    layout.blob(SHA).write_bytes(b"a" * 100)
    layout.quarantined(SHA).write_bytes(b"b" * 20)
    layout.partial(GIT).mkdir()
    (layout.partial(GIT) / "data").write_bytes(b"c" * 3)
    (layout.partial(GIT) / "journal").write_bytes(b"d" * 1000)
    layout.sums_of(SHA).write_bytes(b"e" * 1000)
    (layout.blob(SHA).parent / "stray").write_bytes(b"f" * 1000)
    assert layout.measure() == 123
