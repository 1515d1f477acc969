"""Archives made anew: folders before what is in them, and nothing of a hostile archive."""

import contextlib
import gzip
import io
import tarfile
import zlib
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirror.errors import UpstreamUnavailableError
from mirror.hubs import repack
from mirror.hubs.repack import with_folders

FILES: Final = {
    "saved_model.pb": b"graph" * 1000,
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": bytes(70_000),
    "assets/deep/er/tokens.txt": b"",
}


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: object) -> bytes:
    """One member, its content included."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in more.items():
        setattr(info, key, value)
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return info.tobuf(tarfile.GNU_FORMAT) + content + padding


def tar(*entries: bytes) -> bytes:
    """An archive of *entries*."""
    return b"".join(entries) + bytes(2 * tarfile.BLOCKSIZE)


def made(archive: bytes) -> bytes | None:
    """What becomes of *archive*; `None` where it is served as it is."""
    chunks = with_folders(io.BytesIO(archive))
    return None if chunks is None else b"".join(chunks)


def unpacked(archive: bytes) -> dict[str, bytes]:
    """As TensorFlow Hub unpacks it: no folder that is not named first."""
    folders, files = {""}, {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|*") as opened:
        for member in opened:
            parent, _, _ = member.name.rpartition("/")
            assert parent in folders, member.name
            if member.isdir():
                assert member.name not in folders
                folders.add(member.name)
            else:
                assert member.isreg()
                content = opened.extractfile(member)
                assert content is not None
                files[member.name] = content.read()
    return files


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "gzip"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_each_folder_is_named_before_what_is_in_it(
    pack: Callable[[bytes], bytes], prefix: str
) -> None:
    """Once, and every file is what it was."""
    archive = pack(tar(*(entry(prefix + name, content) for name, content in FILES.items())))
    result = made(archive)
    assert result is not None
    assert unpacked(result) == FILES
    assert made(result) is None
    assert made(archive) == result


def test_the_result_is_the_same_whoever_packed_it() -> None:
    """Times, owners and modes do not go into it."""
    one = tar(*(entry(name, content) for name, content in FILES.items()))
    other = tar(*(
        entry(f"./{name}", content, mtime=1_700_000_000, uid=1000, uname="me", mode=0o600)
        for name, content in FILES.items()
    ))  # fmt: skip
    assert one != other
    assert made(one) == made(other)


def test_an_archive_that_names_its_folders_is_served_as_it_is() -> None:
    """With its own folder as ``./``, and folders that end in a slash."""
    assert made(tar(
        entry("./", kind=tarfile.DIRTYPE),
        entry("./variables/", kind=tarfile.DIRTYPE),
        entry("./variables/variables.index", b"index"),
    )) is None  # fmt: skip


def test_a_folder_that_comes_too_late_comes_earlier() -> None:
    """And not twice."""
    late = tar(entry("variables/x", b"x"), entry("variables", kind=tarfile.DIRTYPE))
    result = made(late)
    assert result is not None
    assert unpacked(result) == {"variables/x": b"x"}


def test_long_and_foreign_names_are_kept() -> None:
    """Beyond the 100 bytes of a header, in any language, and in no encoding at all."""
    names = {f"{'d' * 90}/{'f' * 200}": b"1", "vokabeln/wörter": b"2", "raw/\udcff\udcfe": b"3"}
    result = made(tar(*(entry(name, content) for name, content in names.items())))
    assert result is not None
    assert unpacked(result) == names


def extended(headers: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """A header with attributes of the next member."""
    return entry("headers", headers, kind)


@pytest.mark.parametrize(
    "archive",
    [
        tar(entry("x/../../etc/passwd", b"x")),
        tar(entry("../x", b"x")),
        tar(entry("/etc/passwd", b"x")),
        tar(entry("x/..", kind=tarfile.DIRTYPE)),
        tar(entry("", b"x")),
        tar(entry("./", b"x")),
        tar(entry("x", kind=tarfile.SYMTYPE, linkname="/etc/passwd")),
        tar(entry("x", kind=tarfile.LNKTYPE, linkname="y")),
        tar(entry("x", kind=tarfile.CHRTYPE)),
        tar(entry("x", kind=tarfile.FIFOTYPE)),
        tar(extended(b"13 path=../x\n"), entry("x", b"x")),
        tar(extended(b"99999999 path=x\n"), entry("x", b"x"))[:1024],
        tar(entry("y", b"y"), entry("x", b"x" * 9000))[:5000],
        gzip.compress(tar(entry("y/x", b"x" * 900_000)))[:500],
        gzip.compress(b"x" * 100_000),
        zlib.compress(b"x"),
        b"<html>",
        b"",
        b"\x1f\x8b\x08\x00",
        b"\xff" * 10_240,
    ],
)  # fmt: skip
def test_what_no_client_would_unpack_is_refused(archive: bytes) -> None:
    """Links, devices, ways out, and what is no archive: with a sentence, and nothing of it goes out."""
    with pytest.raises(UpstreamUnavailableError, match=r"Upstream"):
        made(archive)


SPARSE_10: Final = extended(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n")


@pytest.mark.parametrize(
    "archive",
    [
        tar(entry("x", bytes(1024), tarfile.GNUTYPE_SPARSE)),
        tar(extended(b"22 GNU.sparse.map=0,1\n27 GNU.sparse.size=1000000\n"), entry("x", b"x")),
        tar(SPARSE_10, entry("x", b"1000000000\n0\n" + b"1\n" * 400)),
    ],
)
def test_files_with_holes_are_refused_before_their_holes_are_read(archive: bytes) -> None:
    """In each of the forms that there are: the last overrides a private part of `tarfile`."""
    with pytest.raises(UpstreamUnavailableError, match="holes"):
        made(archive)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "gzip"])
@pytest.mark.parametrize("size", [2**62, 2**40])
def test_a_promise_of_more_than_there_is_ends_with_the_archive(
    pack: Callable[[bytes], bytes], size: int
) -> None:
    """Not after as many reads as it would take, which is years."""
    header = tarfile.TarInfo("x")
    header.size = size
    with pytest.raises(UpstreamUnavailableError, match="Upstream sent something else"):
        made(pack(header.tobuf(tarfile.GNU_FORMAT) + bytes(100_000)))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_that_fills_memory_is_not_read(kind: bytes) -> None:
    """Its length is looked at before it is."""
    header = tarfile.TarInfo("name")
    header.type, header.size = kind, repack.MAX_NAME + 1
    with pytest.raises(UpstreamUnavailableError, match="too long"):
        made(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_headers_before_headers_end(kind: bytes) -> None:
    """One for each name is enough."""
    header = entry("name", b"13 path=d/xx\n", kind)
    with pytest.raises(UpstreamUnavailableError, match="never comes"):
        made(tar(header * 5000, entry("x", b"x")))


def test_members_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tarfile` keeps all of them in memory."""
    monkeypatch.setattr(repack, "MAX_MEMBERS", 3)
    few = [entry(f"d/{number}", b"x") for number in range(4)]
    assert made(tar(*few[:3])) is not None
    with pytest.raises(UpstreamUnavailableError, match="too many"):
        made(tar(*few))


# Folders and files never share a name: an archive in which they do cannot be unpacked by anybody.
PATHS: Final = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "ö" * 60]), max_size=4), st.sampled_from("xyz")
    ).map(lambda parts: "/".join((*parts[0], parts[1]))),
    unique=True,
    max_size=8,
)


@settings(max_examples=100)
@given(paths=PATHS, named=st.sets(st.sampled_from(["a", "b", "a/b", "b/a"])), data=st.data())
def test_any_tree_comes_out_as_it_went_in(
    paths: list[str], named: set[str], data: st.DataObject
) -> None:
    """Whichever of its folders were named, and wherever."""
    files = {path: path.encode() * 40 for path in paths}
    entries = [entry(path, content) for path, content in files.items()]
    entries += [entry(folder, kind=tarfile.DIRTYPE) for folder in sorted(named)]
    archive = tar(*data.draw(st.permutations(entries)))
    result = made(archive)
    kept = archive if result is None else result
    assert unpacked(kept) == files
    assert made(kept) is None


BASE: Final = tar(
    extended(b"13 path=../x\n".replace(b"../x", b"d/xx")),
    entry("", b"x" * 700),
    *(entry(name, content[:900]) for name, content in FILES.items()),
)


@settings(max_examples=200)
@example(spot=124, byte=0xFF, packed=False)  # A size in base 256, below nothing.
@example(spot=512 + 1024, byte=0x00, packed=False)
@given(spot=st.integers(0, len(BASE) - 1), byte=st.integers(0, 255), packed=st.booleans())
def test_a_broken_archive_never_breaks_the_mirror(spot: int, byte: int, *, packed: bool) -> None:
    """It is refused, or what is left of it is an archive that unpacks nowhere else."""
    archive = bytearray(gzip.compress(BASE, mtime=0) if packed else BASE)
    archive[spot % len(archive)] = byte
    with contextlib.suppress(UpstreamUnavailableError):
        result = made(bytes(archive))
        for name in unpacked_names(bytes(archive) if result is None else result):
            assert not name.startswith("/")
            assert ".." not in name.split("/")


def unpacked_names(archive: bytes) -> list[str]:
    """What is in an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|*") as opened:
        return [member.name for member in opened]
