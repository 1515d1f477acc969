"""The content-addressed store: blobs named by their sha256, published whole or not at all.

`BlobStore` is as narrow as a second tier on an object store can be: find, put, open, delete, walk. What
comes before a blob has its name (`mirror.store.partials`) and what room it takes (`mirror.store.ledger`)
is always local and not part of it.
"""

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from mirror.digest import SHA256, Digest
from mirror.errors import StoreError
from mirror.events import Alarm, Observer
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partial
from mirror.store.residency import Residency, Unknown, choose, random_access, unmark_absent
from mirror.store.shelf import Shelf
from mirror.store.stored import Checks, DiskBlob, Identity, OpenFile, Upkeep
from mirror.store.sums import PIECE, Sums, read_size


@dataclass(frozen=True, slots=True, order=True)
class Blob:
    """A stored blob: its sha256 and its length in bytes."""

    digest: Digest
    size: int


class StoredBlob(Protocol):
    """An open blob, as one reader sees it; the reader closes it."""

    @property
    def digest(self) -> Digest:
        """Its sha256."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    def fileno(self) -> int:
        """A descriptor to read or sendfile from at explicit offsets; valid until `close`."""
        ...

    def ready(self, offset: int, limit: int) -> int:
        """The end of the bytes from *offset*, at most *limit*, that may be sent now; never blocks."""
        ...

    def load(self, offset: int) -> None:
        """Make bytes at *offset* ready; blocks. Raises `StoreCorruptError` when they are damaged."""
        ...

    def close(self) -> None:
        """Let go; may be called twice."""
        ...


class Finished(Protocol):
    """Bytes that are all there and right, on their way to a name; a `Partial` is one."""

    @property
    def sha256(self) -> Digest:
        """Their name; raises `ValueError` while they are not finished."""
        ...

    @property
    def size(self) -> int:
        """Their length in bytes."""
        ...

    @property
    def sums(self) -> Sums:
        """The checksums of their pieces."""
        ...

    @property
    def marks(self) -> bytes:
        """One byte per piece, 1 where it was checked and has not left memory since."""
        ...

    def fileno(self) -> int:
        """The file's descriptor."""
        ...

    def publish(self, final: Path, folders: durable.FolderSyncs) -> None:
        """Give the file its name, *final*; raises `StoreError` with the file removed."""
        ...

    def abandon(self) -> None:
        """Remove the file and give its room back."""
        ...


class BlobStore(Protocol):
    """Where blobs are."""

    def find(self, digest: Digest) -> Blob | None:
        """Look a sha256 up; `None` when it is not here."""
        ...

    def put(self, partials: Sequence[Partial]) -> list[Blob]:
        """Publish finished partials, which end by it; one that is here already gives its room back."""
        ...

    def open(self, digest: Digest) -> StoredBlob | None:
        """Open a blob for one reader; `None` when it is not here."""
        ...

    def delete(self, digest: Digest) -> int:
        """Remove a blob and return the bytes given back; readers that have it open read on."""
        ...

    def walk(self) -> Iterator[Blob]:
        """Every blob, in no order, while others come and go."""
        ...


def _unheard(_event: object) -> None:
    """Tell nobody."""


class DiskStore:
    """Blobs as files of a data folder; the `BlobStore` of this machine.

    *residency* is `mirror.store.residency.choose` of the data folder, made on first use if not given;
    *observe* hears an `Alarm` of kind ``corrupt`` for each blob set aside, and *lost* its digest, on
    whatever thread found it; *gone* that of each blob, removed or set aside, once it is found no more.
    *capacity* is how many files stay open when nobody reads them.
    """

    def __init__(
        self,
        layout: Layout,
        ledger: Ledger,
        *,
        residency: Residency | None = None,
        observe: Observer = _unheard,
        lost: Callable[[Digest], object] = _unheard,
        gone: Callable[[Digest], object] = _unheard,
        capacity: int = 256,
    ) -> None:
        self._layout = layout
        self._lost, self._gone = lost, gone
        self._ledger = ledger
        self._given_residency = residency
        self._observe = observe
        self._shelf = Shelf(capacity)
        self._upkeep = Upkeep(self._read_sums, self._keep_sums, self._set_aside)
        self._publishing = (
            threading.Lock()
        )  # one batch at a time: the disk syncs one after the other
        self._naming = threading.Lock()  # held for microseconds, while a name goes away

    @cached_property
    def residency(self) -> Residency:
        """How it is known which bytes are in memory."""
        return self._given_residency or choose(self._layout.root)

    def find(self, digest: Digest) -> Blob | None:
        """Look a sha256 up; what has another size than it was published with is set aside.

        Raises `ValueError` for another algorithm and `StoreError` when the disk fails.
        """
        found = self._look(digest)
        return None if found is None else Blob(digest, found.st_size)

    def put(self, partials: Sequence[Finished]) -> list[Blob]:
        """Publish finished partials in order, sharing the syncs of their folders.

        For each: sums, then sync of the file, then rename; then the folders. When this returns the blobs
        are found, also after a crash. A blob that is here already is fine: the partial is removed and its
        room given back. Raises `StoreError` when the disk fails; the partials it failed for are removed,
        the others published. Raises `ValueError` for a partial that is not finished.
        """
        names = [partial.sha256 for partial in partials]
        folders = durable.FolderSyncs()
        blobs: list[Blob] = []
        failure: StoreError | None = None
        with self._publishing:
            for digest, partial in zip(names, partials, strict=True):
                try:
                    self._publish(digest, partial, folders)
                except StoreError as error:
                    partial.abandon()
                    durable.remove(self._layout.sums_of(digest))
                    failure = failure or error
                else:
                    blobs.append(Blob(digest, partial.size))
            folders.sync()
        if failure is not None:
            raise failure
        return blobs

    def open(self, digest: Digest) -> DiskBlob | None:
        """Open a blob for one reader; `None` when it is not here. Raises as `find` does."""
        status = self._look(digest)
        if status is None:
            return None
        # mincore says "resident" of every page, and cachestat nothing, to whoever does not own the file.
        residency = self.residency if status.st_uid == os.geteuid() else Unknown()

        def make(checks: Checks) -> OpenFile:
            fd = os.open(self._layout.blob(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            random_access(fd)
            return OpenFile(digest, fd, checks, residency, self._upkeep)

        try:
            file = self._shelf.take(digest, Identity.of(status), make)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise durable.disk_error(error, f"The blob {digest} cannot be opened") from error
        return DiskBlob(file, self._shelf.give_back)

    def delete(self, digest: Digest) -> int:
        """Remove a blob; returns the bytes that the disk has back, at once or when its readers are done.

        0 when it is not here, or when the file has other names that keep its bytes. Raises `StoreError`.
        """
        with self._naming:
            return self._remove(digest)

    def evict(self, digest: Digest) -> int | None:
        """Remove a blob as `delete` does, unless somebody is reading it: `None` then, and it stays.

        A reader who comes at that very moment is served from the file that has lost its name.
        """
        with self._naming:
            return None if self._shelf.in_use(digest) else self._remove(digest)

    def names(self, digest: Digest) -> int:
        """How many names the file of a blob has: 0 when it is not here, over 1 when others share it."""
        try:
            return self._layout.blob(digest).lstat().st_nlink
        except OSError:
            return 0

    def quarantine(self, digest: Digest, reason: str = "it was asked for") -> bool:
        """Set a blob aside, so that it is not found; returns whether it was here."""
        try:
            identity = Identity.of(self._layout.blob(digest).lstat())
        except FileNotFoundError:
            return False
        return self._set_aside(digest, identity, reason)

    def quarantined(self) -> int:
        """Bytes of what was set aside."""
        total = 0
        for path in self._layout.quarantine.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.lstat().st_size
        return total

    def empty_quarantine(self, before: float | None = None) -> int:
        """Remove what was set aside, all of it or up to the time *before*; returns the bytes given back.

        *before* is in seconds since the epoch, held against the file's time of change, which the move
        into the quarantine set.
        """
        given_back = 0
        for path in self._layout.quarantine.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if before is None or status.st_ctime < before:
                    path.unlink()
                    self._ledger.give_back(status.st_size)
                    given_back += status.st_size
        return given_back

    def walk(self, after: str = "") -> Iterator[Blob]:
        """Every blob in the order of their digests, while others come and go.

        From the first whose hexadecimal name is beyond *after*.
        """
        for entry in self._layout.blob_files(after):
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    size = entry.stat(follow_symlinks=False).st_size
                    yield Blob(Digest(SHA256, entry.name), size)

    def watch(self) -> Iterator[None]:
        """Notice which pieces have left memory since they were checked, a blob at a time.

        A reader notices it too, but only when it comes: until then somebody else, a backup say, may have
        brought the piece back, and nobody has checked it since. A blob costs an open and some 10 us.
        """
        residency = self.residency
        if not residency.exact:
            return
        for digest, checks in self._shelf.checked():
            with contextlib.suppress(OSError):  # gone meanwhile, or no descriptor to be had
                fd = os.open(self._layout.blob(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if Identity.of(os.fstat(fd)) == checks.identity:
                        unmark_absent(residency, fd, checks.marks, checks.identity.size)
                finally:
                    os.close(fd)
            yield

    def in_use(self, digest: Digest) -> bool:
        """Whether somebody is reading the blob now: such a blob is not evicted."""
        return self._shelf.in_use(digest)

    def close(self) -> None:
        """Close the files that nobody reads."""
        self._shelf.close()

    def _remove(self, digest: Digest) -> int:
        path = self._layout.blob(digest)
        try:
            status = path.lstat()
            path.unlink()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise durable.disk_error(error, f"The blob {digest} cannot be removed") from error
        self._shelf.forget(digest)
        self._gone(digest)
        durable.remove(self._layout.sums_of(digest))
        self._ledger.give_back(status.st_size)
        return status.st_size if status.st_nlink == 1 else 0

    def _look(self, digest: Digest) -> os.stat_result | None:
        path = self._layout.blob(digest)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise durable.disk_error(error, f"The blob {digest} cannot be looked up") from error
        identity = Identity.of(status)
        if not self._shelf.known(digest, identity):
            if not stat.S_ISREG(status.st_mode):
                self._set_aside(digest, identity, "it is not a regular file")
                return None
            published = read_size(self._layout.sums_of(digest))
            if published is not None and published != status.st_size:
                self._set_aside(
                    digest, identity, f"it has {status.st_size} bytes instead of {published}"
                )
                return None
            self._shelf.remember(digest, identity)
        return status

    def _publish(self, digest: Digest, partial: Finished, folders: durable.FolderSyncs) -> None:
        if self._look(digest) is not None:
            partial.abandon()
            return
        if partial.size > PIECE:
            self._write_sums(partial.sums, folders)
        marks = partial.marks
        partial.publish(self._layout.blob(digest), folders)
        self._shelf.remember(digest, Identity.of(os.fstat(partial.fileno())), marks)

    def _read_sums(self, digest: Digest) -> Sums | None:
        return Sums.read(self._layout.sums_of(digest), digest)

    def _write_sums(self, sums: Sums, folders: durable.FolderSyncs | None = None) -> None:
        path = self._layout.sums_of(sums.digest)
        durable.write(self._layout.temporary(), path, sums.encode(), mode=0o444, folders=folders)

    def _keep_sums(self, sums: Sums) -> None:
        """Write sums that were made again; on a full disk the open file's own copy has to do."""
        with contextlib.suppress(StoreError):
            self._write_sums(sums)

    def _set_aside(self, digest: Digest, identity: Identity, reason: str) -> bool:
        """Move a blob to the quarantine if its name still means the file that was found bad."""
        path, aside = self._layout.blob(digest), self._layout.quarantined(digest)
        with self._naming:
            try:
                now = Identity.of(path.lstat())
                if (now.device, now.inode) != (identity.device, identity.inode):
                    return False
                displaced = aside.lstat().st_size if os.path.lexists(aside) else 0
                durable.move(path, aside)
            except FileNotFoundError:
                return False
            except OSError as error:
                reason += f"; it could not be set aside: {error.strerror}"
            else:
                self._ledger.give_back(displaced)
                durable.remove(self._layout.sums_of(digest))
            self._shelf.forget(digest)
        self._gone(digest)
        self._observe(Alarm("corrupt", f"The stored blob {digest} was set aside: {reason}."))
        self._lost(digest)
        return True
