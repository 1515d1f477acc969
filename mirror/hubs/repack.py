"""Archives made anew for clients that are strict about them.

TensorFlow Hub unpacks a tar as it comes and makes no folder that the archive does not name first
(tensorflow_hub 0.16.1, ``resolver.py``); other archives of the same models name none.
"""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Final, Never, Self, cast

from mirror.errors import UpstreamUnavailableError

_CHUNK: Final = 1 << 20
FOLDER_MODE: Final = 0o755
FILE_MODE: Final = 0o644
TAR_END: Final = b"\0" * 2 * tarfile.BLOCKSIZE

# The most that is read of an archive before its content: the largest SavedModels have some hundred files, and
# `tarfile` keeps each name in memory, and each long name or attribute while it reads it.
MAX_MEMBERS: Final = 100_000
MAX_NAME: Final = 1 << 20
_NAMES: Final = frozenset({
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
})  # fmt: skip


# Reads past the end before an archive is given up: `tarfile` makes one or two, and one for each 10 KiB of
# what a header promises, be it 2**60 bytes (gh-130577 is one of several such loops).
_PAST_END: Final = 8


class _Bounded:
    """A *file* that ends."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._past = 0

    def read(self, size: int) -> bytes:
        """Read on; raises `EOFError` for a reader that does not notice the end."""
        data = self._file.read(size)
        self._past += not data
        if self._past > _PAST_END:
            raise EOFError("it ends too early")
        return data


class _Member(tarfile.TarInfo):
    """A member whose name, or whatever stands before it, is of a length that can be."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _NAMES and not 0 <= member.size <= MAX_NAME:
            raise UpstreamUnavailableError("Upstream's archive has a name that is too long.")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse()
        return member

    def _proc_gnusparse_10(self, *_: object) -> Never:
        # Its list of holes stands in the content, and all of it would be read into memory.
        raise _sparse()


def with_folders(file: BinaryIO) -> Iterator[bytes] | None:
    """Write the tar in *file* (gzip or not) with an entry for each folder before what is in it.

    `None` where it is so already. The result is the same whenever it is made: no times, no owners. Raises
    `UpstreamUnavailableError` for what is no such archive: a link or a device in it, a path that leads out.
    """
    file.seek(0)
    if not _lacks_folders(file):
        return None
    return _written(file)


def _lacks_folders(file: BinaryIO) -> bool:
    named = {""}
    lacks = False
    for member, _ in _members(file):
        path = _path(member)
        lacks = lacks or path.rpartition("/")[0] not in named
        if member.isdir():
            named.add(path)
    return lacks


def _written(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    named = {""}
    for member, archive in _members(file):
        path = _path(member)
        steps = path.split("/")
        for depth in range(1, len(steps) + member.isdir()):
            folder = "/".join(steps[:depth])
            if folder not in named:
                named.add(folder)
                yield tar_head(folder, tarfile.DIRTYPE, FOLDER_MODE, 0)
        if member.isdir():
            continue
        yield tar_head(path, tarfile.REGTYPE, FILE_MODE, member.size)
        content = archive.extractfile(member)
        assert content is not None  # noqa: S101 -- it is a regular file
        while chunk := content.read(_CHUNK):
            yield chunk
        yield b"\0" * (-member.size % tarfile.BLOCKSIZE)
    yield TAR_END


def _members(file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    try:
        bounded = cast("BinaryIO", _Bounded(file))  # Nothing but `read` is called.
        with tarfile.open(fileobj=bounded, mode="r|*", tarinfo=_Member) as archive:
            for number, member in enumerate(archive):
                if number >= MAX_MEMBERS:
                    raise UpstreamUnavailableError("Upstream's archive has too many members.")
                if member.issparse():
                    raise _sparse()
                if not (member.isreg() or member.isdir()):
                    raise UpstreamUnavailableError(
                        "Upstream's archive holds something else than files and folders.",
                        hint="It is not passed on: clients refuse it too.",
                    )
                if _path(member):
                    yield member, archive
    except RecursionError:  # It reads a header that stands before another one in a call of its own.
        raise UpstreamUnavailableError("Upstream's archive has a name that never comes.") from None
    except (tarfile.TarError, EOFError, OSError, ValueError, LookupError) as error:
        raise UpstreamUnavailableError(
            f"Upstream sent something else than an archive ({error})."
        ) from error


def _sparse() -> UpstreamUnavailableError:
    return UpstreamUnavailableError("Upstream's archive has a file with holes.")


def _path(member: tarfile.TarInfo) -> str:
    """Where a member goes, without ``.`` and slashes at either end; one that leads out is refused."""
    steps = [step for step in member.name.split("/") if step not in ("", ".")]
    if ".." in steps or member.name.startswith("/") or not (steps or member.isdir()):
        raise UpstreamUnavailableError("Upstream's archive has a path that leads out of it.")
    return "/".join(steps)


def tar_head(path: str, kind: bytes, mode: int, size: int) -> bytes:
    """The head of one member of an archive: no times, no owners."""
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size = kind, mode, size
    return info.tobuf(tarfile.PAX_FORMAT)
