"""Archives made anew for clients that are strict about them.

TensorFlow Hub unpacks a tar as it comes and makes no folder that the archive does not name first
(tensorflow_hub 0.16.1, ``resolver.py``); other archives of the same models name none.
"""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Final

from mirror.errors import UpstreamUnavailableError

_CHUNK: Final = 1 << 20
_FOLDER: Final = 0o755
_FILE: Final = 0o644
_END: Final = b"\0" * 2 * tarfile.BLOCKSIZE


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
                yield _head(folder, tarfile.DIRTYPE, _FOLDER, 0)
        if member.isdir():
            continue
        yield _head(path, tarfile.REGTYPE, _FILE, member.size)
        content = archive.extractfile(member)
        assert content is not None  # noqa: S101 -- it is a regular file
        while chunk := content.read(_CHUNK):
            yield chunk
        yield b"\0" * (-member.size % tarfile.BLOCKSIZE)
    yield _END


def _members(file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                if not (member.isreg() or member.isdir()):
                    raise UpstreamUnavailableError(
                        "Upstream's archive holds something else than files and folders.",
                        hint="It is not passed on: clients refuse it too.",
                    )
                if _path(member) or not member.isdir():
                    yield member, archive
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UpstreamUnavailableError(
            f"Upstream sent something else than an archive ({error})."
        ) from error


def _path(member: tarfile.TarInfo) -> str:
    """Where a member goes, without ``.`` and slashes at either end; one that leads out is refused."""
    steps = [step for step in member.name.split("/") if step not in ("", ".")]
    if ".." in steps or member.name.startswith("/"):
        raise UpstreamUnavailableError("Upstream's archive has a path that leads out of it.")
    return "/".join(steps)


def _head(path: str, kind: bytes, mode: int, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size = kind, mode, size
    return info.tobuf(tarfile.PAX_FORMAT)
