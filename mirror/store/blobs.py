"""The content-addressed store: blobs named by their sha256, published whole or not at all.

What comes before a blob has its name (`mirror.store.partials`) and what room it takes
(`mirror.store.ledger`) is always local and no part of what a store promises (`mirror.store.protocol`).
"""

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final

from mirror.digest import SHA256, Digest
from mirror.errors import StoreError
from mirror.events import Alarm, Observer
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.protocol import Blob, BlobStore, Finished, StoredBlob
from mirror.store.residency import Residency, Unknown, choose, random_access, unmark_absent
from mirror.store.shelf import Shelf
from mirror.store.stored import Checks, DiskBlob, Identity, OpenFile, Upkeep
from mirror.store.sums import PIECE, Sums, read_size

__all__ = ["Blob", "BlobStore", "DiskStore", "Finished", "StoredBlob"]

# Files of a batch that wait for the disk at once. A journal commits what waits together: 600 files of 4 KiB
# took 2.3 s one by one on ext4, 0.15 s by 8 threads, and no less by 32.
_SYNCERS: Final = 8


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
        # One batch at a time: the disk syncs one after the other.
        self._publishing = threading.Lock()
        self._syncers = ThreadPoolExecutor(_SYNCERS, thread_name_prefix="syncer")
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

    def put(self, finished: Sequence[Finished]) -> list[Blob]:
        """Publish what is finished in order, sharing the syncs.

        First the bytes of all, and their sums; then, for each, its name; then the folders. When this
        returns the blobs are found, also after a crash. A blob that is here already is fine: what came is
        removed and its room given back. Raises `StoreError` when the disk fails; what it failed for is
        removed, the others published. Raises `ValueError` for what is not finished.
        """
        names = [one.sha256 for one in finished]
        folders = durable.FolderSyncs()
        blobs: list[Blob] = []
        failure: StoreError | None = None
        with self._publishing:
            self._to_disk(
                [one for name, one in zip(names, finished, strict=True) if not self._look(name)],
                folders,
            )
            for digest, one in zip(names, finished, strict=True):
                try:
                    self._publish(digest, one, folders)
                except StoreError as error:
                    one.abandon()
                    durable.remove(self._layout.sums_of(digest))
                    failure = failure or error
                else:
                    blobs.append(Blob(digest, one.size))
            folders.sync(self._syncers if len(finished) > 1 else None)
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
        self._syncers.shutdown()
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

    def _to_disk(self, finished: Sequence[Finished], folders: durable.FolderSyncs) -> None:
        """Bring bytes and sums to the disk, many at once; what fails is told when its name is given."""

        def one(each: Finished) -> None:
            with folders.before(each.fileno()):
                if each.size > PIECE:
                    self._write_sums(each.sums, folders)
                durable.sync_file(each.fileno(), self._layout.blob(each.sha256))

        for _ in (map if len(finished) == 1 else self._syncers.map)(one, finished):
            pass

    def _publish(self, digest: Digest, finished: Finished, folders: durable.FolderSyncs) -> None:
        if self._look(digest) is not None:
            finished.abandon()
            return
        marks = finished.marks
        finished.publish(self._layout.blob(digest), folders)
        self._shelf.remember(digest, Identity.of(os.fstat(finished.fileno())), marks)

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
