"""Putting what has come under its names: files, copies of them, links, and folders that were unpacked.

Everything is written under another name, brought to the disk and renamed; the names themselves are brought
there before the manifest says so (`Placing.sync`), many at a time. Folders are made readable for everybody:
containers are run as whoever they like.
"""

import os
import secrets
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mirror.bundle.manifest import Manifest, sha256_of_file
from mirror.bundle.store import clone, copy
from mirror.bundle.transfer import Came
from mirror.errors import MirrorError
from mirror.store import durable
from mirror.store.durable import FolderSyncs

_FOLDER_MODE: Final = 0o755
# The manifest, and the working folder.
_OURS: Final = ".modelmirror."


class Placing:
    """Puts things into *folder*, by way of *working*, a folder on the same file system."""

    def __init__(self, folder: Path, working: Path) -> None:
        self._folder = folder
        self._working = working
        self._folders = FolderSyncs()
        self._syncing = threading.Lock()

    def sync(self) -> None:
        """Wait until every name that was given is on the disk. Raises `StoreError`."""
        with self._syncing:
            self._folders.sync()

    def file(self, came: Came, paths: tuple[str, ...]) -> None:
        """Give *came* its first name, and put copies under the others. Raises `StoreError`."""
        for path in paths[1:]:
            temporary = self._temporary()
            try:
                if not clone(came.path, temporary):
                    copy(came.path, temporary)
            except OSError as error:
                durable.remove(temporary)
                raise durable.disk_error(error, f"{path} cannot be written") from error
            self._publish(temporary, path)
        self._publish(came.path, paths[0])

    def made(self, path: str, content: bytes) -> None:
        """Write a small file. Raises `StoreError` or `OSError`."""
        final = self._ready(path)
        durable.write(self._temporary(), final, content, folders=self._folders)
        final.chmod(0o644)  # whatever the umask is

    def link(self, path: str, to: str) -> None:
        """Make a symbolic link at *path*. Raises `StoreError`."""
        final = self._ready(path)
        try:
            durable.point(self._temporary(), final, to, folders=self._folders)
        except OSError as error:
            if final.is_dir() and not final.is_symlink():
                raise _in_the_way(final) from error
            said = durable.disk_error(error, f"The link {final} cannot be made")
            raise MirrorError(
                said.message, hint="Where the file system has no links: export with --links none."
            ) from error

    def folder(self, new: Path, path: str, digests: Mapping[str, str], manifest: Manifest) -> None:
        """Put the unpacked folder *new* in place whole.

        *digests* are those of its files. What is there already stays if it is the same; if it is ours (in
        *manifest*) it is replaced, else nothing is touched. Raises `StoreError`.
        """
        final = self._ready(path)
        if final.is_symlink():
            durable.remove(final)
        if os.path.lexists(final):
            if self._same(final, digests):
                shutil.rmtree(new)
                return
            ours = any(one.startswith(f"{path}/") for one in manifest.files)
            if not ours and (not final.is_dir() or any(final.iterdir())):
                raise _in_the_way(final)
            old = self._temporary()
            durable.move(final, old)
        else:
            old = None
        try:
            durable.move(new, final)
            durable.sync_folder(final.parent)
        except OSError as error:
            raise durable.disk_error(error, f"{final} cannot be put in place") from error
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def fresh(self) -> Path:
        """A new path in the working folder."""
        return self._temporary()

    def _publish(self, temporary: Path, path: str) -> None:
        final = self._ready(path)
        if final.is_dir() and not final.is_symlink():
            raise _in_the_way(final)
        try:
            own = temporary.stat().st_nlink == 1
            if own:  # Else it is the store's own file, and on the disk.
                temporary.chmod(0o644)
        except OSError as error:
            raise durable.disk_error(error, f"{final} cannot be written") from error
        durable.publish(temporary, final, folders=self._folders, synced=not own)

    def _ready(self, path: str) -> Path:
        """The path itself, once the folders above it are there."""
        if path.startswith(_OURS):
            raise MirrorError(f"{path} is the exported folder's own and can hold nothing else.")
        final = self._folder / path
        missing = []
        folder = final.parent
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        try:
            for folder in reversed(missing):
                folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
                folder.chmod(_FOLDER_MODE)  # whatever the umask is
                self._folders.add(folder.parent)
        except OSError as error:
            raise durable.disk_error(error, f"The folder {folder} cannot be made") from error
        return final

    def _temporary(self) -> Path:
        return self._working / f"new-{secrets.token_hex(8)}"

    @staticmethod
    def _same(folder: Path, digests: Mapping[str, str]) -> bool:
        if not folder.is_dir():
            return False
        found = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        }
        return found.keys() == digests.keys() and all(
            sha256_of_file(found[name]) == digest for name, digest in digests.items()
        )


def _in_the_way(path: Path) -> MirrorError:
    return MirrorError(
        f"{path} is there already and is not what is to be put there; it was left alone.",
        hint=f"Move it away and export again: mv {path} {path}.old",
    )
