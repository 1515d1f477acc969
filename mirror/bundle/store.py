"""Taking bytes out of the mirror's own store, where it is on this machine: cloned, linked or copied.

Whether a file may be had, and which one it is, the mirror has said before (`mirror.bundle.transfer`). What is
taken is hashed all the same: a store may rot between two scrubs.
"""

import fcntl
import os
import secrets
import threading
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final

from mirror.bundle.plan import File
from mirror.bundle.transfer import Came, sha256_if_right
from mirror.digest import SHA256, SOURCE, Digest
from mirror.errors import MirrorError
from mirror.index.lookups import Lookups
from mirror.store import durable
from mirror.store.layout import Layout

# linux/fs.h: makes one file share the extents of another (Btrfs, XFS, bcachefs, ZFS 2.2).
_FICLONE: Final = 0x40049409

# Below so many bytes a file of one's own costs less than the wait. Seconds of it, and between two looks.
_WORTH_IT: Final = 1 << 20
_PATIENCE: Final = 5.0
_LOOK_EVERY: Final = 0.05


class Links(StrEnum):
    """What exported files share with the store."""

    REFLINK = "reflink"
    """Their extents, where the file system can; else nothing."""
    HARD = "hard"
    """Themselves: they are files of the store under a second name."""
    NONE = "none"
    """Nothing; and there are no symbolic links either."""


class Shelf:
    """The blobs of the data folder *layout*, taken as *links* says into *folder*."""

    def __init__(self, layout: Layout, links: Links, folder: Path) -> None:
        self._layout = layout
        self._links = links
        self._folder = folder
        self._stop = threading.Event()

    def close(self) -> None:
        """Wait for nothing any more, and look no more names up."""
        self._stop.set()
        names = self.__dict__.pop("_names", None)
        if names is not None:
            names.stop()

    def has(self, file: File) -> bool:
        """Whether *file*, as far as it is known, lies in the store."""
        digest = self._name_of(file)
        try:
            return digest is not None and (self._layout.blob(digest).stat().st_size == file.size)
        except OSError:
            return False

    def take(self, file: File) -> Came | None:
        """Take *file*, whose size and digest are known, if it is here and sound; else `None`.

        Raises `StoreError` where the working folder cannot be written.
        """
        digest = self._name_of(file)
        if digest is None:
            return None
        source = self._layout.blob(digest)
        path = self._folder / f"new-{secrets.token_hex(8)}"
        try:
            if not self._given(source, path) or sha256_if_right(path, file) != digest.hex:
                durable.remove(path)
                return None
        except FileNotFoundError:
            return None
        except OSError as error:
            durable.remove(path)
            raise durable.disk_error(error, f"{path} cannot be written") from error
        return Came(path, digest.hex, file.size or 0, file.etag)

    def instead(self, came: Came) -> Came:
        """What has come over the wire, or the same out of the store, where that saves its room.

        The mirror gives a blob its name a moment after its client has the last byte: that is waited for where
        it is worth it.
        """
        if came.size < _WORTH_IT or not self._shares:
            return came
        source = self._layout.blob(Digest(SHA256, came.sha256))
        for _ in range(round(_PATIENCE / _LOOK_EVERY)):
            if source.exists() or self._stop.wait(_LOOK_EVERY):
                break
        taken = self.take(
            File(source="", size=came.size, digest=Digest(SHA256, came.sha256), etag=came.etag)
        )
        if taken is None:
            return came
        durable.remove(came.path)
        return taken

    def _name_of(self, file: File) -> Digest | None:
        """The name in the store of what *file* must be, if it has one: small files of the Hub have git's."""
        digest = file.digest
        if digest is None or digest.algorithm in {SHA256, SOURCE}:
            return digest if digest is not None and digest.algorithm == SHA256 else None
        try:
            return self._names.sha256_of(digest)
        except MirrorError:
            return None  # Then it is asked for, as where there is no store.

    @cached_property
    def _names(self) -> Lookups:
        """The index of the data folder, read beside the server that writes it."""
        return Lookups(self._layout.index)

    @cached_property
    def _shares(self) -> bool:
        """Whether files can share anything with the store at all, as is wanted."""
        if self._links is not Links.REFLINK:
            return self._links is Links.HARD
        probe = self._folder / "probe"
        durable.remove(probe)
        try:
            return clone(self._layout.lock, probe)
        except OSError:
            return False
        finally:
            durable.remove(probe)

    def _given(self, source: Path, path: Path) -> bool:
        """Put the blob at *path* in the way that is wanted, or the next best one."""
        if self._linked(source, path):
            return True
        if self._links is not Links.NONE and clone(source, path):
            return True
        copy(source, path)
        return True

    def _linked(self, source: Path, path: Path) -> bool:
        if self._links is not Links.HARD:
            return False
        try:
            # Nobody looks for this name after a crash, so its folder need not be on the disk.
            durable.link(source, path, folders=durable.FolderSyncs())
        except FileNotFoundError:
            raise
        except OSError:  # Another file system, or a policy.
            return False
        return True


def clone(source: Path, path: Path) -> bool:
    """Make *path* a clone of *source*, where the file system can do that. Raises `OSError`."""
    with source.open("rb") as whole, path.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, whole.fileno())
        except OSError:
            durable.remove(path)
            return False
        os.fchmod(new.fileno(), 0o644)
    return True


def copy(source: Path, path: Path) -> None:
    """Make *path* a copy of *source*. Raises `OSError`."""
    with source.open("rb", buffering=0) as whole, path.open("xb", buffering=0) as new:
        offset, size = 0, os.fstat(whole.fileno()).st_size
        while offset < size:
            sent = os.sendfile(new.fileno(), whole.fileno(), offset, min(size - offset, 1 << 30))
            if not sent:
                break
            offset += sent
        os.fchmod(new.fileno(), 0o644)
