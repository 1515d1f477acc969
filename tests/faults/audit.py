"""What must hold after every fault: an audit of the data folder and of the process, from outside.

It shares no code with the store: a check that used the store's own reader would overlook what both get
wrong. What the store's own check says is asked besides.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from click.testing import CliRunner

from mirror.cli import verify
from tests.mirror.running import Running

_NAME = re.compile(r"[0-9a-f]{64}\Z")
_READ = 1 << 20

# Opened on first use, once, for the life of the process; "/" is what libuv holds in reserve to close when
# it can accept no more.
_LASTING = re.compile(r"/(index\.sqlite3|memo/|journal\.jsonl)|\A/\Z")

# Connections that the mirror keeps to upstream for the next request: 32 of its transfers and a few of
# its metadata client.
KEPT_CONNECTIONS = 48


Read: TypeAlias = dict[str, tuple[int, ...]]
"""Blobs that were read and found right, with what any change of them changes."""


def damage(data: Path, *, names: bool = True, read: Read | None = None) -> list[str]:
    """List what is wrong in a data folder that nobody writes, reading every byte; changes nothing.

    With *names* the index is held against the blobs, too. What stands in *read* unchanged is not read
    again, and what is read is added to it.
    """
    root = data / "v1"
    found: list[str] = []
    blobs: dict[str, int] = {}
    for path in sorted((root / "blobs").rglob("*")):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            continue
        where = path.relative_to(root)
        if not stat.S_ISREG(status.st_mode):
            found.append(f"{where} is no regular file")
        elif not _NAME.match(path.name) or path.parent.name != path.name[:2]:
            found.append(f"{where} is not where a blob may be")
        elif not _is_right(path, status, {} if read is None else read):
            found.append(f"{where} ({status.st_size} bytes) is not what its name says")
        else:
            blobs[path.name] = status.st_size
    if names:
        found += _dangling(root, blobs)
    return found


def blob_sizes(data: Path) -> dict[str, int]:
    """The blobs of a data folder and their sizes, without reading them."""
    files = (data / "v1" / "blobs").rglob("*")
    return {path.name: path.lstat().st_size for path in files if path.is_file()}


def _is_right(path: Path, status: os.stat_result, read: Read) -> bool:
    now = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if read.get(path.name) != now:
        if sha256_of_file(path) != path.name:
            return False
        read[path.name] = now
    return True


def verified(data: Path) -> list[str]:
    """What ``modelmirror verify --data`` finds wrong in a data folder that no mirror uses."""
    done = CliRunner().invoke(verify.command, ["--data", "--json", str(data)])
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = [
        f"verify: {event['level']}: {event['what']}: {event['detail']}"
        for event in events
        if event["event"] == "finding" and event["level"] != "note"
    ]
    return found or ([f"verify: {done.stdout}{done.stderr}"] if done.exit_code else [])


def repair(data: Path) -> None:
    """Mend a data folder that no mirror uses, as an operator would."""
    done = CliRunner().invoke(verify.command, ["--data", "--repair", str(data)])
    assert done.exit_code in {0, 1}, f"it could not be mended: {done.stdout}{done.stderr}"


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()


def _dangling(root: Path, blobs: dict[str, int]) -> list[str]:
    """Blobs that the index names and that are neither there, of that size, nor set aside."""
    aside = {path.name for path in (root / "quarantine").iterdir()}
    found = []
    for digest, size in indexed(root.parent).items():
        if digest not in blobs:
            if digest in aside:
                continue
            found.append(f"the index names {digest}, which is not there")
        elif blobs[digest] != size:
            found.append(f"the index says {size} bytes of {digest}, which has {blobs[digest]}")
    return found


def indexed(data: Path) -> dict[str, int]:
    """The blobs that the index names, and their sizes."""
    rows = _rows(data / "v1", "SELECT hex(sha256), size FROM blobs")
    return {str(name).lower(): int(str(size)) for name, size in rows}


def _rows(root: Path, statement: str) -> list[tuple[object, ...]]:
    """Ask a copy of the index, for reading alone may change its write-ahead log."""
    if not (root / "index.sqlite3").exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        for path in root.glob("index.sqlite3*"):
            shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder) / "index.sqlite3")) as index:
            return index.execute(statement).fetchall()


def traces(files: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """Which of *files* hold which of *secrets*."""
    needles = [secret.encode() for secret in secrets]
    found = []
    for path in files:
        if path.is_file() and not path.is_symlink():
            text = path.read_bytes()
            found += [f"{needle.decode()} stands in {path}" for needle in needles if needle in text]
    return found


@dataclass(frozen=True, slots=True)
class Held:
    """What a process has open, by kind, and its asyncio tasks, the one that tells of them included."""

    tasks: int
    partials: int
    deleted: int
    blobs: int
    clients: int
    upstream: int
    others: tuple[str, ...]


def held(mirror: Running) -> Held:
    """Count what the mirror's process holds."""
    tasks = _tasks(mirror)  # asked first, for the descriptor of this question goes with it
    kinds: Counter[str] = Counter()
    others: list[str] = []
    sockets = _sockets(mirror.process.pid)
    for path in Path(f"/proc/{mirror.process.pid}/fd").iterdir():
        try:
            target = str(path.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            port = sockets.get(int(target[8:-1]))
            if port is None:
                others.append("socket")
            else:
                kinds["clients" if port == mirror.address[1] else "upstream"] += 1
        elif "/partial/" in target:
            kinds["partials"] += 1
        elif "/blobs/" in target:
            kinds["deleted" if target.endswith(" (deleted)") else "blobs"] += 1
        elif not _LASTING.search(target):
            others.append(target)
    return Held(
        tasks=tasks,
        partials=kinds["partials"],
        deleted=kinds["deleted"],
        blobs=kinds["blobs"],
        clients=kinds["clients"],
        upstream=kinds["upstream"],
        others=tuple(sorted(others)),
    )


def _tasks(mirror: Running) -> int:
    text = mirror.ask("/-/metrics").body.decode()
    row = re.search(r"^modelmirror_tasks ([0-9.e+]+)$", text, re.MULTILINE)
    assert row is not None, "the metrics do not say how many tasks there are"
    return int(float(row.group(1)))


def _sockets(pid: int) -> dict[int, int]:
    """The local port of each TCP connection that is no listener, by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != "0A":  # LISTEN
                found[int(fields[9])] = int(fields[1].rpartition(":")[2], 16)
    return found


def at_rest(mirror: Running, before: Held, patience: float = 5.0) -> list[str]:
    """Wait until the process is as idle as *before*; what still differs then."""
    deadline = time.monotonic() + patience
    while True:
        now = held(mirror)
        status = mirror.ask("/-/status").json()
        # An upstream that is down is looked at again behind, for as long as it is.
        looking = status["state"] == "degraded"
        wrong = [
            f"{count} {what}"
            for what, count, most in (
                ("fills under way", len(status["fills"]), 0),
                ("tasks", now.tasks, before.tasks + looking),
                ("partials open", now.partials, 0),
                ("removed blobs open", now.deleted, 0),
                ("client connections open", now.clients, 0),
                ("connections to upstream kept", now.upstream, KEPT_CONNECTIONS),
            )
            if count > most
        ]
        wrong += (Counter(now.others) - Counter(before.others)).elements()
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(0.02)
