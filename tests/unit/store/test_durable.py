"""What a crash may leave behind: order of syncs and renames, and the one lock."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mirror.errors import StoreError, StoreFullError, StoreUnusableError
from mirror.store import durable
from mirror.store.durable import FolderSyncs, StoreLock
from tests.unit.store.trace import Trace

HOLD = """
import sys
from pathlib import Path
from mirror.store.durable import StoreLock
lock = StoreLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_durable_publish_syncs_file_then_renames_then_syncs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that makes a name mean its bytes after a crash."""
    (tmp_path / "new").write_bytes(b"bytes")
    trace = Trace(monkeypatch)
    durable.publish(tmp_path / "new", tmp_path / "name")
    assert trace.steps == ["sync new", "rename new name", f"sync {tmp_path.name}"]
    assert (tmp_path / "name").read_bytes() == b"bytes"


def test_durable_publish_makes_the_folder_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder made on the way is synced into its own folder, or a crash would lose both."""
    (tmp_path / "new").write_bytes(b"bytes")
    trace = Trace(monkeypatch)
    durable.publish(tmp_path / "new", tmp_path / "ab" / "name")
    assert trace.steps[-2:] == ["sync ab", f"sync {tmp_path.name}"]
    assert (tmp_path / "ab" / "name").read_bytes() == b"bytes"
    with pytest.raises(StoreError):
        durable.publish(tmp_path / "missing", tmp_path / "cd" / "name")


def test_durable_batch_syncs_each_folder_once_and_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten publications into one folder cost one sync of it, after all renames."""
    trace = Trace(monkeypatch)
    folders = FolderSyncs()
    for number in range(10):
        durable.write(tmp_path / "new", tmp_path / str(number), b"x", folders=folders)
    assert f"sync {tmp_path.name}" not in trace.steps
    folders.sync()
    folders.sync()
    assert trace.steps.count(f"sync {tmp_path.name}") == 1
    assert trace.steps[-1] == f"sync {tmp_path.name}"


def test_durable_failed_sync_is_not_tried_again_and_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After EIO the pages may be gone, so the file is thrown away and the name stays free."""
    (tmp_path / "new").write_bytes(b"bytes")
    (tmp_path / "name").write_bytes(b"before")
    calls = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        durable.publish(tmp_path / "new", tmp_path / "name")
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    assert (tmp_path / "name").read_bytes() == b"before"


def test_durable_full_disk_is_told_apart_from_a_broken_one() -> None:
    """No space and no quota are both want of room; anything else is the disk's fault."""
    for number in (errno.ENOSPC, errno.EDQUOT):
        error = durable.disk_error(OSError(number, os.strerror(number)), "X failed", needed=7)
        assert isinstance(error, StoreFullError)
        assert error.needed == 7
    assert not isinstance(
        durable.disk_error(OSError(errno.EIO, "I/O error"), "X failed"), StoreFullError
    )


def test_durable_create_never_replaces(tmp_path: Path) -> None:
    """Of two who make the same file the first one's content stays, and no temporary."""
    assert durable.create(tmp_path / "new", tmp_path / "name", b"first")
    assert not durable.create(tmp_path / "new", tmp_path / "name", b"second")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    assert (tmp_path / "name").read_bytes() == b"first"


def test_durable_write_does_not_follow_a_planted_link(tmp_path: Path) -> None:
    """A link where the temporary should be is an error, not a way out of the folder."""
    (tmp_path / "new").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError):
        durable.write(tmp_path / "new", tmp_path / "name", b"x")
    assert not (tmp_path / "outside").exists()


def test_durable_write_all_goes_on_after_a_short_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write may take less than it is given; the rest follows at the right place."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
    with (tmp_path / "file").open("wb") as file:
        durable.write_all(file.fileno(), b"0123456789", 2)
    assert (tmp_path / "file").read_bytes() == b"\0\0" + b"0123456789"


def test_durable_lock_refuses_a_second_process_and_names_the_first(tmp_path: Path) -> None:
    """Who comes second learns which process to stop, and gets the lock once that one is dead."""
    path = tmp_path / "v1" / "lock"
    path.parent.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lock = StoreLock(path)
        with pytest.raises(StoreUnusableError, match=f"process {holder.pid}") as refusal:
            lock.acquire()
        assert str(tmp_path) in refusal.value.message
        assert "--data" in refusal.value.hint
        holder.kill()
        holder.wait()
        with lock:
            assert path.read_text() == f"{os.getpid()}\n"


def test_durable_lock_given_back_can_be_taken_again(tmp_path: Path) -> None:
    """A stop and a start in one process need no help."""
    lock = StoreLock(tmp_path / "lock")
    for _ in range(2):
        lock.acquire()
        with pytest.raises(StoreUnusableError, match=str(os.getpid())):
            StoreLock(tmp_path / "lock").acquire()
        lock.release()
        lock.release()
