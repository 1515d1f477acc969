"""Archives that somebody else has made."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from mirror.bundle.plan import Packing, safe
from mirror.bundle.unpacking import unpack
from mirror.errors import MirrorError


def tar(folder: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """An archive of members: name, type, content or target."""
    path = folder / "archive"
    with tarfile.open(path, "w:gz") as opened:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                opened.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content.decode()
                opened.addfile(info)
    return path


def zipped(folder: Path, *names: str) -> Path:
    """An archive of small files."""
    path = folder / "archive"
    with zipfile.ZipFile(path, "w") as opened:
        for name in names:
            opened.writestr(zipfile.ZipInfo(name), b"x")
    return path


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("../x", tarfile.REGTYPE, b"x"),
        ("/etc/x", tarfile.REGTYPE, b"x"),
        ("a/../../x", tarfile.REGTYPE, b"x"),
        ("a\\..\\x", tarfile.REGTYPE, b"x"),
        ("link", tarfile.SYMTYPE, b"/etc"),
        ("hard", tarfile.LNKTYPE, b"ok"),
        ("pipe", tarfile.FIFOTYPE, b""),
        ("device", tarfile.CHRTYPE, b""),
    ],
)
def test_members_that_lead_out_or_are_no_files_are_refused(
    tmp_path: Path, name: str, kind: bytes, content: bytes
) -> None:
    """Whatever stands around them, and nothing is written outside."""
    archive = tar(tmp_path, ("ok", tarfile.REGTYPE, b"fine"), (name, kind, content))
    with pytest.raises(MirrorError, match=r"acme|neither"):
        unpack(archive, Packing.TAR, tmp_path / "new", "acme", topless=False)
    assert {path.name for path in tmp_path.iterdir()} <= {"archive", "new"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("top/a", "other/b"), "more than one folder"),
        (("a",), "more than one folder"),
        (("top/../../a",), "cannot be laid out"),
        (("top/a", "top/a/b"), "two members"),
        (("top/a", "top/a"), "two members"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_of_one_folder_is_that_or_nothing(
    tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    """Its folder's name is left out, so there must be one alone."""
    with pytest.raises(MirrorError, match=said):
        unpack(zipped(tmp_path, *names), Packing.ZIP, tmp_path / "new", "acme", topless=True)


@pytest.mark.parametrize("packing", list(Packing))
def test_what_is_no_archive_is_said(tmp_path: Path, packing: Packing) -> None:
    """A page of a host that is broken, an archive that is cut short."""
    path = tmp_path / "archive"
    path.write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(MirrorError, match="The archive of acme cannot be read"):
        unpack(path, packing, tmp_path / "new", "acme", topless=False)


@pytest.mark.parametrize(
    "path", ["", "/", "a//b", "./a", "a/.", "..", "a/..", "a\0b", "a\nb", "c:/x", "a" * 256]
)
def test_paths_that_no_folder_can_hold_are_refused(path: str) -> None:
    """Whoever wrote them."""
    with pytest.raises(MirrorError):
        safe(path, "acme")
