"""Disks to break: small ones, failing ones, and ones whose power goes away.

Everything mounted here is seen by this process and its children alone, and unmounted at the end, lazily
if it must be, so that no other run finds a leftover. Where mounting is not permitted
`NotPermittedError` says why, for the test to skip.
"""

import ctypes
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mirror.store.residency import choose

# How long a page may take to leave memory, in seconds.
PATIENCE = 20.0

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS, sched.h


class NotPermittedError(Exception):
    """This machine cannot make such a disk; the message says why."""


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{' '.join(command)}: {done.stderr.strip() or done.returncode}"
        raise NotPermittedError(message)


def _need(*programs: str) -> None:
    if os.geteuid() != 0:
        raise NotPermittedError("only root may mount")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise NotPermittedError(f"not installed: {', '.join(missing)}")


@functools.cache
def _hide_mounts() -> None:
    """Mount for this process and its children only: whatever ends them ends their mounts with them.

    Once: a child that is already there would not see what is mounted after the next time.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        raise NotPermittedError("this process may not have mounts of its own")
    _run("mount", "--make-rprivate", "/")


@contextmanager
def mounted(what: str, folder: Path, *options: str) -> Iterator[Path]:
    """Mount *what* on *folder*, made if need be; unmounted in any case."""
    _need("mount", "umount")
    _hide_mounts()
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", *options, what, str(folder))
    try:
        yield folder
    finally:
        for lazily in ((), (), ("--lazy",)):
            done = subprocess.run(
                ("umount", *lazily, str(folder)), capture_output=True, check=False
            )
            if done.returncode == 0:
                break
            time.sleep(0.2)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk in memory of *size* bytes."""
    with mounted("tmpfs", folder, "-t", "tmpfs", "-o", f"size={size}"):
        yield folder


# Which file system is on the disk, and what a copy of it needs to be mounted beside it.
_MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q")}
_TWIN = {"ext4": "loop", "xfs": "loop,nouuid"}


@contextmanager
def on_xfs(folder: Path, size: int, kind: str) -> Iterator["PowerCuts"]:
    """A disk with a file system of *kind* in an image on an XFS that can clone files, to cut its power."""
    _need("mkfs.xfs", _MAKE[kind][0], "cp")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Three images of the inner disk at most, and what XFS takes for itself.
        outer = _image(folder / "outer.img", max(4 * size, 320 << 20))
        _run("mkfs.xfs", "-q", "-m", "reflink=1", str(outer))
        shelf = stack.enter_context(mounted(str(outer), folder / "outer", "-o", "loop"))
        inner = _image(shelf / "inner.img", size)
        _run(*_MAKE[kind], str(inner))
        disk = stack.enter_context(mounted(str(inner), folder / "disk", "-o", "loop"))
        yield PowerCuts(folder, inner, disk, kind)


class PowerCuts:
    """A disk, *disk*, in an *image*, and what is on it had the power gone away just now."""

    def __init__(self, folder: Path, image: Path, disk: Path, kind: str) -> None:
        self._folder = folder
        self._image = image
        self._kind = kind
        self.disk = disk

    @contextmanager
    def after(self) -> Iterator[Path]:
        """The disk as the next boot finds it: what was not written out is gone, the journal replayed.

        The clone is of one moment, for XFS holds off writers meanwhile. What the file system handed to
        the device counts as written, in the order in which it came: a device that loses what it said was
        flushed is not played here.
        """
        copy = self._image.with_name("crash.img")
        _run("cp", "--reflink=always", str(self._image), str(copy))
        try:
            with mounted(str(copy), self._folder / "after", "-o", _TWIN[self._kind]) as disk:
                yield disk
        finally:
            copy.unlink(missing_ok=True)


@contextmanager
def rotting_disk(folder: Path, size: int) -> Iterator["Rotting"]:
    """An ext4 whose medium can be changed beneath it, while what is in memory stays."""
    _need("mkfs.ext4")
    folder.mkdir(parents=True, exist_ok=True)
    image = _image(folder / "medium.img", size)
    _run("mkfs.ext4", "-q", "-F", "-b", str(_BLOCK), str(image))
    with mounted(str(image), folder / "disk", "-o", "loop") as disk, image.open("r+b") as medium:
        yield Rotting(disk, medium.fileno())


_BLOCK = 4096
_FIBMAP = 1  # linux/fs.h: which block of the device holds a block of a file


class Rotting:
    """A *disk*, and the descriptor of its *medium*."""

    def __init__(self, disk: Path, medium: int) -> None:
        self.disk = disk
        self._medium = medium

    def flip(self, path: Path, offset: int, bit: int) -> None:
        """Flip a bit of a file on the medium alone: neither memory nor the file's status knows."""
        with path.open("rb") as file:
            os.fsync(file.fileno())
            found = fcntl.ioctl(file, _FIBMAP, struct.pack("i", offset // _BLOCK))
        (block,) = struct.unpack("i", found)
        assert block > 0, f"byte {offset} of {path} is not on the medium"
        where = block * _BLOCK + offset % _BLOCK
        byte = os.pread(self._medium, 1, where)[0]
        os.pwrite(self._medium, bytes([byte ^ 1 << bit]), where)


@contextmanager
def failing_disk(folder: Path, size: int, *filters: str) -> Iterator[tuple[Path, Path]]:
    """An ext4 over nbdkit with *filters*; the disk, and the file whose presence switches ``error`` on."""
    _need("nbdkit", "nbdfuse", "mkfs.ext4", "fusermount3")
    folder.mkdir(parents=True, exist_ok=True)
    switch, socket, handle = folder / "broken", folder / "nbd.sock", folder / "device"
    handle.mkdir()
    arguments = [item.replace("SWITCH", str(switch)) for item in filters]
    with ExitStack() as stack:
        server = stack.enter_context(
            _process("nbdkit", "-f", "-U", str(socket), *_filters(arguments), "memory", str(size),
                     *_parameters(arguments))
        )  # fmt: skip
        _wait_until(socket.exists, server)
        bridge = stack.enter_context(
            _process("nbdfuse", str(handle), f"nbd+unix:///?socket={socket}")
        )
        stack.callback(
            subprocess.run, ("umount", "--lazy", str(handle)), capture_output=True, check=False
        )
        image = handle / "nbd"
        _wait_until(image.exists, bridge)
        _run("mkfs.ext4", "-q", "-F", str(image))
        disk = stack.enter_context(mounted(str(image), folder / "disk", "-o", "loop"))
        stack.callback(switch.unlink, missing_ok=True)
        yield disk, switch


def rot(path: Path, offset: int, bit: int = 0) -> None:
    """Flip a bit of a file as a disk rots: no trace in its status, and the page not in memory.

    The kernel drops a page when asked to, but not always at once; while the flipped page is still in
    memory that would be a fault of the memory, which nothing here promises to find.
    """
    status = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), offset)
        os.fsync(file.fileno())
    drop(path, offset)
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def drop(path: Path, offset: int) -> None:
    """Have a file leave memory, at least the page that holds *offset*."""
    start = offset & ~4095
    with path.open("rb") as file:
        fd = file.fileno()
        resident = choose(path.parent).resident
        # A page that is still being sent, or that a busy core has in its own list, stays for a while.
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if not resident(fd, start, min(start + 4096, path.stat().st_size)):
                return
            time.sleep(0.005)
    raise NotPermittedError("this system does not drop pages from memory")


def _filters(items: list[str]) -> list[str]:
    return [item for item in items if item.startswith("--filter")]


def _parameters(items: list[str]) -> list[str]:
    return [item for item in items if not item.startswith("--filter")]


@contextmanager
def _process(*command: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 5
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotPermittedError(f"{process.args!r} does not work here")
        time.sleep(0.02)


def _image(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path
