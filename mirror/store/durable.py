"""The only fsync, rename, link and lock in the project.

What a crash may leave behind is decided by the order of a few system calls, so they live in one place
where the order can be read and tested: sync the file, rename it, sync the folder. A failed sync is never
tried again: after an I/O error Linux drops the dirty pages and the next fsync reports success over lost
bytes (fsync(2), NOTES), so the file at hand is thrown away instead.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mirror.errors import StoreError, StoreFullError, StoreUnusableError

FOLDER_MODE: Final = 0o750

# macOS's fsync stops at the drive's own cache; this one empties that too (fcntl(2) there).
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)

# What file systems that cannot sync a folder (some FUSE ones) answer; there is nothing to add then.
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP})

# What one call writes. For more the kernel looks for larger runs of free memory: where page cache fills the
# machine, 1 MiB at a time took 0.9 CPU-s per GiB (median of 9) and 64 KiB 0.36; else 0.25 and 0.3.
STEP: Final = 64 << 10

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def disk_error(error: OSError, what: str, *, needed: int = 0) -> StoreError:
    """Word an `OSError` of the disk: *what* is the start of a sentence, such as ``X cannot be read``.

    *needed* is how many bytes were to be written.
    """
    reason = error.strerror or type(error).__name__
    if error.errno in _NO_ROOM:
        return StoreFullError(
            f"{what}: {reason}.",
            needed=needed,
            free=0,
            hint="Free some space on the disk of the data folder, or give it less with --quota.",
        )
    return StoreError(f"{what}: {reason}.", hint="The system log tells more about the disk.")


def free_bytes(folder: Path) -> int:
    """Bytes that an ordinary user may still write to the file system of *folder*."""
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize


def sync_file(fd: int, name: Path) -> None:
    """Wait until the bytes and the length of an open file are on the disk.

    Raises `StoreError` (once: whoever sees it must throw the file *name* away).
    """
    try:
        if _FULL_SYNC is not None:
            fcntl.fcntl(fd, _FULL_SYNC)
        else:
            os.fsync(fd)
    except OSError as error:
        raise disk_error(error, f"{name} could not be brought to the disk") from error


def begin(fd: int, offset: int, length: int) -> None:
    """Have the disk begin with bytes that were just written, without waiting; a later sync is short then.

    POSIX_FADV_DONTNEED begins with those that are not on the disk, and cannot drop them before they are
    (mm/fadvise.c). A hint: nothing is promised, and elsewhere nothing is done.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Wait until the names in *folder* are on the disk. Raises `StoreError`."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise disk_error(error, f"The folder {folder} could not be synced") from error


class FolderSyncs:
    """What a batch of publications shares: files that are synced at once before, folders after.

    The first sync of a folder commits the file system's journal with every rename of the batch in it, so
    the others wait for no more than that the disk empties its own cache, which they do at once.
    """

    __slots__ = ("_files", "_folders")

    def __init__(self) -> None:
        self._folders: dict[Path, None] = {}
        self._files: dict[int, StoreError | None] = {}

    def add(self, folder: Path) -> None:
        """Note that a name in *folder* changed."""
        self._folders[folder] = None

    @contextlib.contextmanager
    def before(self, fd: int) -> Iterator[None]:
        """Bring the file of descriptor *fd* to the disk in here, on any thread: `publish` does so no more.

        A `StoreError` of the block is kept for it: a sync that failed is not tried again.
        """
        self._files[fd] = None
        try:
            yield
        except StoreError as error:
            self._files[fd] = error

    def synced(self, fd: int) -> bool:
        """Whether the file of *fd* was brought to the disk; raises the `StoreError` that it met."""
        if (error := self._files.get(fd)) is not None:
            raise error
        return fd in self._files

    def sync(self, pool: Executor | None = None) -> None:
        """Sync the folders, many at once in *pool*; nothing of the batch may be told to anyone before.

        Raises `StoreError`; those that were not synced are left for another call.
        """
        folders = list(self._folders)
        done = (pool.map if pool else map)(sync_folder, folders)
        for folder, _ in zip(folders, done, strict=True):
            self._folders.pop(folder)


def publish(
    temporary: Path,
    final: Path,
    *,
    fd: int | None = None,
    folders: FolderSyncs | None = None,
    synced: bool = False,
) -> None:
    """Give a finished file its name: sync the file, rename it, sync the folder.

    Both paths are on one file system; the folder of *final* is made if it is missing. *fd* is a
    descriptor of *temporary* if there is one; with *folders* the last step is left to a batch, which may
    have done the first; *synced* says that it was done long ago. Raises `StoreError`; *temporary* is gone
    then and *final* untouched, unless it was the folder's sync that failed.
    """
    try:
        if synced:
            pass
        elif fd is None:
            fd = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                sync_file(fd, temporary)
            finally:
                os.close(fd)
        elif folders is None or not folders.synced(fd):
            sync_file(fd, temporary)
        made = _rename(temporary, final)
    except (OSError, StoreError) as error:
        remove(temporary)
        if isinstance(error, StoreError):
            raise
        raise disk_error(error, f"{final} could not be published") from error
    for folder in (final.parent, *made):
        _synced(folder, folders)


def _rename(temporary: Path, final: Path) -> tuple[Path, ...]:
    """Rename, into a new folder if need be; returns the folder in which that one was made."""
    try:
        os.rename(temporary, final)
    except FileNotFoundError:
        final.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        os.rename(temporary, final)
        return (final.parent.parent,)
    return ()


def write(
    temporary: Path,
    final: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    folders: FolderSyncs | None = None,
) -> None:
    """Put a small file in place whole: written to *temporary*, then published. Raises `StoreError`."""
    _write_temporary(temporary, data, mode)
    publish(temporary, final, folders=folders)


def append(path: Path, line: bytes) -> None:
    """Add *line* to a file and wait until it is on the disk. Raises `StoreError`.

    The file is never longer than the lines that were wanted: a line that could not be written whole is
    for the reader to recognise.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(fd, rest) :]
            sync_file(fd, path)
        finally:
            os.close(fd)
    except OSError as error:
        raise disk_error(error, f"{path} cannot be written") from error


def create(temporary: Path, final: Path, data: bytes, *, mode: int = 0o600) -> bool:
    """Put a small file in place whole unless *final* exists; returns whether it did.

    The file appears with all of its content or not at all, also when two processes try at once.
    Raises `StoreError`.
    """
    _write_temporary(temporary, data, mode)
    try:
        fd = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            sync_file(fd, temporary)
        finally:
            os.close(fd)
        link(temporary, final)
    except FileExistsError:
        return False
    finally:
        remove(temporary)
    return True


def link(source: Path, final: Path, *, folders: FolderSyncs | None = None) -> None:
    """Give *source* a second name, *final*, on the same file system.

    Raises `FileExistsError` if the name is taken, and `OSError` as link(2) does where the file system
    or a policy has no hard links.
    """
    os.link(source, final, follow_symlinks=False)
    _synced(final.parent, folders)


def point(temporary: Path, final: Path, to: str, *, folders: FolderSyncs | None = None) -> None:
    """Put a symbolic link to *to* in place, over a file or a link that is there.

    With *folders* the folder's sync is left to a batch. Raises `OSError`, also where the file system has no
    such links.
    """
    try:
        final.symlink_to(to)  # one step where nothing is there, as nearly always
    except FileExistsError:
        temporary.symlink_to(to)
        try:
            os.rename(temporary, final)
        except OSError:
            remove(temporary)
            raise
    _synced(final.parent, folders)


def link_open(source: int, temporary: Path) -> None:
    """Give the open file *source* a second name, *temporary*, without syncing.

    By descriptor, so that it is the very file that was opened (linkat(2), AT_SYMLINK_FOLLOW). Raises
    `OSError` where the file system or a policy has no hard links, or the two are not on one.
    """
    # With a folder's descriptor given Python calls linkat, which alone follows; the path is absolute.
    os.link(f"/proc/self/fd/{source}", temporary, src_dir_fd=source, follow_symlinks=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder that ought to be empty, with what is in it all the same; nothing raises."""
    try:
        folder.rmdir()  # a tenth of what `rmtree` takes to find that out
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def move(source: Path, final: Path) -> None:
    """Rename without syncing: for what leaves the store, where a crash may bring it back.

    Raises `OSError`.
    """
    os.rename(source, final)


def remove(path: Path) -> None:
    """Unlink *path* if it is there; room that cannot be freed now is found by the next sweep."""
    with contextlib.suppress(OSError):
        path.unlink()


def _write_temporary(temporary: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(temporary, flags, mode)
        try:
            write_all(fd, data, 0)
        finally:
            os.close(fd)
    except OSError as error:
        remove(temporary)
        raise disk_error(error, f"{temporary} could not be written") from error


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of *data* at *offset*; pwrite(2) may take less than it is given. Raises `OSError`."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.pwrite(fd, rest[:STEP], offset)
        rest, offset = rest[written:], offset + written


def read_all(fd: int, length: int, offset: int) -> bytes:
    """Read exactly *length* bytes at *offset*. Raises `OSError`, also where the file ends before."""
    data = os.pread(fd, length, offset)
    while len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            raise OSError(errno.EIO, "the file is shorter than it was")
        data += more
    return data


def _synced(folder: Path, folders: FolderSyncs | None) -> None:
    if folders is None:
        sync_folder(folder)
    else:
        folders.add(folder)


class StoreLock:
    """The one lock of a data folder: who holds it alone writes.

    It is an advisory flock(2) on *path*, which the kernel gives back when the holder dies, however it
    dies. The file holds the holder's process id for the message of whoever comes second.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise `StoreUnusableError`, naming the process that has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            msg = f"The lock {self._path} cannot be opened: {error.strerror}."
            raise StoreUnusableError(msg) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            folder = self._path.parent.parent
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise StoreUnusableError(
                    f"The data folder {folder} cannot be locked: {error.strerror}.",
                    hint="Put it on a file system that knows flock, such as a local disk.",
                ) from error
            raise StoreUnusableError(
                f"The data folder {folder} is in use by another modelmirror"
                f" (process {holder or 'unknown'}).",
                hint="Stop that one first, or give this one another folder with --data.",
            ) from error
        os.ftruncate(fd, 0)
        write_all(fd, b"%d\n" % os.getpid(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
