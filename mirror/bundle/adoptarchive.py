"""Archives made of folders that a client had unpacked: what upstream sent cannot be had from them.

The result is the same whenever it is made of the same files: in order, without times and owners.
"""

import io
import tarfile
import zipfile
from collections.abc import Iterator

from mirror.bundle.adopttake import file_chunks
from mirror.bundle.found import content
from mirror.bundle.foundtree import Tree
from mirror.errors import QuestionError
from mirror.hubs.repack import FILE_MODE, FOLDER_MODE, TAR_END, tar_head

# Compiled Python that importing a repository leaves in it.
_LEFT: str = "__pycache__"


def tar_of(tree: Tree, folder: str) -> Iterator[bytes]:
    """A tar of *folder*, each folder of it before what is in it, as TensorFlow Hub wants it.

    Raises `QuestionError` where something else than files lies in it, `ChangedError` and `OSError`.
    """
    for path in _walked(tree, folder):
        name = path[len(folder) + 1 :]
        if path in tree.folders:
            yield tar_head(name, tarfile.DIRTYPE, FOLDER_MODE, 0)
            continue
        file = content(tree, path)
        yield tar_head(name, tarfile.REGTYPE, FILE_MODE, file.size)
        yield from file_chunks(tree, file)
        yield b"\0" * (-file.size % tarfile.BLOCKSIZE)
    yield TAR_END


def zip_of(tree: Tree, folder: str, top: str) -> Iterator[bytes]:
    """A zip of *folder* below the one folder *top*, as GitHub sends a repository. Raises as `tar_of` does."""
    written = _Stream()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{top}/"), b"")
        for path in _walked(tree, folder):
            name = f"{top}/{path[len(folder) + 1 :]}"
            if path in tree.folders:
                archive.writestr(zipfile.ZipInfo(f"{name}/"), b"")
                continue
            file = content(tree, path)
            info = zipfile.ZipInfo(name)
            info.file_size = file.size
            with archive.open(info, "w", force_zip64=file.size >= 1 << 31) as member:
                for chunk in file_chunks(tree, file):
                    member.write(chunk)
                    yield written.taken()
            yield written.taken()
    yield written.taken()


def _walked(tree: Tree, folder: str) -> Iterator[str]:
    """Everything below *folder*, each folder before what is in it."""
    for name in tree.names(folder):
        path = f"{folder}/{name}"
        if name == _LEFT:
            continue
        if path in tree.folders:
            yield path
            yield from _walked(tree, path)
        elif path in tree.files:
            yield path
        else:
            raise QuestionError(f"{path} is neither a file nor a folder.")


class _Stream(io.RawIOBase):
    """Takes what an archive is written as, and gives it out in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # typeshed's takes any buffer
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = bytes(self._written)
        self._written.clear()
        return data
