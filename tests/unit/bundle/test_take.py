"""Bytes on their way from a cache into the store: linked, shared, copied, and changed meanwhile."""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirror.bundle.adoptarchive import tar_of, zip_of
from mirror.bundle.adopttake import ChangedError, Link, Taking
from mirror.bundle.found import Content, content
from mirror.bundle.foundtree import Tree, look
from mirror.digest import GIT_SHA1, SHA256, Digest, git_sha1_of, sha256_of
from mirror.errors import DigestMismatchError, QuestionError
from mirror.hubs.repack import with_folders
from mirror.store import copied
from mirror.store.blobs import DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partials

DATA = os.urandom(9 << 20)


@dataclass
class Place:
    """A store, and a folder beside it."""

    layout: Layout
    ledger: Ledger
    partials: Partials
    store: DiskStore
    source: Path
    heard: list[int]

    def tree(self) -> Tree:
        """The folder as it is now."""
        return look(self.source, lambda _amount: None)

    def taking(self, link: Link = Link.REFLINK) -> Taking:
        """A way to take files."""
        return Taking(self.layout, self.ledger, self.partials, link, self.heard.append)

    def left(self) -> list[Path]:
        """What lies where things are on their way in."""
        return list(self.layout.partials.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty store and a folder with one file."""
    layout = Layout(tmp_path / "data")
    layout.prepare()
    ledger = Ledger(None, 0, 0, layout.free)
    partials, store = Partials(layout, ledger), DiskStore(layout, ledger)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").write_bytes(DATA)
    yield Place(layout, ledger, partials, store, tmp_path / "cache", [])
    store.close()
    partials.close()


@pytest.mark.parametrize("link", Link)
@pytest.mark.parametrize("name", [sha256_of(DATA), git_sha1_of(DATA)])
def test_file_is_taken_whole_and_its_room_counted(place: Place, link: Link, name: Digest) -> None:
    """By any way, under either name; the source keeps its mode and its bytes."""
    source = place.source / "file"
    source.chmod(0o640)
    tree = place.tree()
    finished = place.taking(link).file(tree, content(tree, "file"), name)
    (blob,) = place.store.put([finished])
    finished.close()
    assert blob.digest == sha256_of(DATA)
    assert place.layout.blob(blob.digest).read_bytes() == DATA
    assert (place.ledger.used, place.ledger.reserved) == (len(DATA), 0)
    assert sum(place.heard) == len(DATA)
    assert source.stat().st_mode & 0o777 == 0o640
    assert source.stat().st_nlink == (2 if link is Link.HARD else 1)
    assert place.left() == []
    opened = place.store.open(blob.digest)
    assert opened is not None
    opened.load(0)
    opened.close()


@pytest.mark.parametrize("link", Link)
def test_other_bytes_leave_nothing_behind(place: Place, link: Link) -> None:
    """Neither a file nor reserved room, and the source is where it was."""
    tree = place.tree()
    with pytest.raises(DigestMismatchError):
        place.taking(link).file(tree, content(tree, "file"), Digest(SHA256, "0" * 64))
    assert place.left() == []
    assert (place.ledger.used, place.ledger.reserved) == (0, 0)
    assert (place.source / "file").read_bytes() == DATA
    assert (place.source / "file").stat().st_nlink == 1


def test_file_that_changes_while_it_is_read_is_left_alone(place: Place) -> None:
    """It grows, shrinks, or is written to: no digest is asked then."""
    tree = place.tree()
    what = content(tree, "file")
    with (place.source / "file").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ChangedError):
        place.taking().file(tree, what, sha256_of(DATA))
    tree = place.tree()
    what = content(tree, "file")

    def shrink(_amount: int) -> None:
        os.truncate(place.source / "file", 1)

    taking = Taking(place.layout, place.ledger, place.partials, Link.NONE, shrink)
    with pytest.raises(ChangedError):
        taking.file(tree, what, sha256_of(DATA))
    assert place.left() == []
    assert place.ledger.reserved == 0


def test_what_stops_the_work_leaves_nothing_behind(place: Place) -> None:
    """Whatever is raised in the middle."""
    tree = place.tree()

    def stop(_amount: int) -> None:
        raise KeyboardInterrupt

    for link in Link:
        taking = Taking(place.layout, place.ledger, place.partials, link, stop)
        with pytest.raises(KeyboardInterrupt):
            taking.file(tree, content(tree, "file"), sha256_of(DATA))
        assert place.left() == []
        assert (place.ledger.used, place.ledger.reserved) == (0, 0)


def test_bytes_are_shared_where_the_file_system_can(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read and hashed all the same; none of them is written."""
    cloned = []

    def clone(source: int, target: int) -> bool:
        cloned.append(target)
        os.pwrite(target, os.pread(source, len(DATA), 0), 0)
        return True

    monkeypatch.setattr(copied, "clone", clone)
    tree, taking = place.tree(), place.taking()
    finished = taking.file(tree, content(tree, "file"), sha256_of(DATA))
    assert cloned == [finished.fileno()]
    assert taking.how(finished) == "reflink"
    place.store.put([finished])
    finished.close()
    assert (place.ledger.used, place.ledger.reserved) == (len(DATA), 0)
    (place.source / "file").write_bytes(bytes(len(DATA)))
    tree = place.tree()
    with pytest.raises(DigestMismatchError):
        taking.file(tree, content(tree, "file"), git_sha1_of(DATA))


def test_download_that_was_half_here_is_taken_over(place: Place) -> None:
    """What it had is not mixed with what comes now."""
    name = sha256_of(DATA)
    half = place.partials.begin(name, len(DATA))
    half.append(bytes(1 << 20))
    half.close()
    assert place.left() != []
    tree = place.tree()
    finished = place.taking().file(tree, content(tree, "file"), name)
    place.store.put([finished])
    finished.close()
    assert place.layout.blob(name).read_bytes() == DATA
    assert (place.ledger.used, place.ledger.reserved) == (len(DATA), 0)


def test_file_is_measured_and_compared_without_being_kept(place: Place) -> None:
    """Both of its names."""
    tree, taking = place.tree(), place.taking()
    what = content(tree, "file")
    sha256, git = taking.measure(tree, what)
    assert (sha256, Digest(GIT_SHA1, git)) == (sha256_of(DATA), git_sha1_of(DATA))
    taking.compare(tree, what, sha256, ())
    with pytest.raises(DigestMismatchError):
        taking.compare(tree, what, Digest(GIT_SHA1, "0" * 40), ())
    assert place.left() == []


def _folder(place: Place) -> None:
    for path in ("m/variables/index", "m/saved_model.pb", "m/__pycache__/x.pyc"):
        (place.source / path).parent.mkdir(parents=True, exist_ok=True)
        (place.source / path).write_bytes(path.encode())
    (place.source / "m" / "assets").mkdir()


def test_tar_names_its_folders_first_and_is_always_the_same(place: Place) -> None:
    """The transform that mends upstream's archives finds nothing to mend."""
    _folder(place)
    packed = b"".join(tar_of(place.tree(), "m"))
    os.utime(place.source / "m" / "saved_model.pb", (1, 1))
    assert b"".join(tar_of(place.tree(), "m")) == packed
    assert with_folders(io.BytesIO(packed)) is None
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        names = archive.getnames()
    assert names == ["assets", "saved_model.pb", "variables", "variables/index"]
    made = place.taking().made(tar_of(place.tree(), "m"))
    (blob,) = place.store.put([made])
    made.close()
    assert blob.digest.hex == hashlib.sha256(packed).hexdigest()


def test_archive_of_more_than_files_is_refused(place: Place) -> None:
    """A link would bring in what it leads to."""
    _folder(place)
    (place.source / "m" / "link").symlink_to("/etc/passwd")
    for chunks in (tar_of(place.tree(), "m"), zip_of(place.tree(), "m", "top")):
        with pytest.raises(QuestionError):
            place.taking().made(chunks)
    assert place.left() == []
    assert (place.ledger.used, place.ledger.reserved) == (0, 0)


def test_content_is_a_value() -> None:
    """What was found can be compared and kept in sets."""
    assert Content("a", 1, 2.0) == Content("a", 1, 2.0)
