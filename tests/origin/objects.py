"""Git objects: computed here, written by git, and required to agree.

The listing of a commit needs the ids of all its trees, so they are computed in Python; ``git
fast-import`` then writes the same commit into a real bare repository within seconds for 100 000
files, and a commit id that differs from ours is an error. A clone therefore always shows what the
API says.
"""

import hashlib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

author = "acme <acme@example.org>"


@dataclass(frozen=True, slots=True)
class Tree:
    """One folder of a commit: its git id, and the sorted names of its folders and files."""

    oid: str
    folders: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does: the blobs it brings, and each path's new oid (None takes it away)."""

    blobs: Sequence[bytes]
    paths: Mapping[str, str | None]


def _object_id(kind: bytes, data: bytes) -> bytes:
    digest = hashlib.sha1(b"%b %d\0" % (kind, len(data)), usedforsecurity=False)
    digest.update(data)
    return digest.digest()


def trees_of(oids: Mapping[str, str]) -> dict[str, Tree]:
    """Return every folder of the file set ``oids`` (path to blob id), the root under ``""``."""
    files: dict[str, list[tuple[str, str]]] = {"": []}
    folders: dict[str, list[str]] = {"": []}
    for path, oid in oids.items():
        parent, _, name = path.rpartition("/")
        if parent not in files:
            _add_folder(parent, files, folders)
        files[parent].append((name, oid))
    trees: dict[str, Tree] = {}
    for folder in sorted(files, key=lambda path: (path != "", path.count("/")), reverse=True):
        rows = [(name.encode(), b"100644", bytes.fromhex(oid)) for name, oid in files[folder]]
        for name in folders[folder]:
            child = trees[f"{folder}/{name}" if folder else name]
            rows.append((name.encode() + b"/", b"40000", bytes.fromhex(child.oid)))
        rows.sort(key=lambda row: row[0])
        data = b"".join(b"%b %b\0%b" % (mode, name.rstrip(b"/"), oid) for name, mode, oid in rows)
        trees[folder] = Tree(
            _object_id(b"tree", data).hex(),
            tuple(sorted(folders[folder])),
            tuple(sorted(name for name, _ in files[folder])),
        )
    return trees


def _add_folder(
    path: str, files: dict[str, list[tuple[str, str]]], folders: dict[str, list[str]]
) -> None:
    parent, _, name = path.rpartition("/")
    if parent not in files:
        _add_folder(parent, files, folders)
    files[path] = []
    folders[path] = []
    folders[parent].append(name)


def commit_oid(tree: str, parent: str | None, when: int, message: str) -> str:
    """Return the id of a commit by the fixed author at ``when`` (seconds since the epoch, UTC)."""
    lines = [f"tree {tree}"]
    if parent is not None:
        lines.append(f"parent {parent}")
    lines += [f"author {author} {when} +0000", f"committer {author} {when} +0000", "", message]
    return _object_id(b"commit", "\n".join(lines).encode()).hex()


class GitFolder:
    """A bare repository on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the repository; it allows fetching any commit by its id, as the Hub does."""
        _git("init", "--quiet", "--bare", "--initial-branch=main", str(self.path))
        with (self.path / "config").open("a") as file:
            file.write(
                "[fastimport]\n\tunpackLimit = 0\n[core]\n\tcompression = 0\n"
                "[uploadpack]\n\tallowAnySHA1InWant = true\n\tallowFilter = true\n"
                "[http]\n\treceivepack = false\n"
            )

    def commit(self, ref: str, parent: str | None, when: int, message: str, change: Change) -> str:
        """Write one commit, point ``ref`` at it, and return the id that git gave it."""
        text = message.encode()
        parts: list[bytes] = []
        for blob in change.blobs:
            parts += (b"blob\ndata %d\n" % len(blob), blob, b"\n")
        # A fresh ref of the same name must not become the parent by accident.
        parts.append(b"reset %b\n\n" % ref.encode() if parent is None else b"")
        parts.append(
            b"commit %b\nmark :1\ncommitter %b %d +0000\ndata %d\n%b\n"
            % (ref.encode(), author.encode(), when, len(text), text)
        )
        if parent is not None:
            parts.append(b"from %b\n" % parent.encode())
        for path, oid in change.paths.items():
            name = _quoted(path)
            parts.append(
                b"D %b\n" % name if oid is None else b"M 100644 %b %b\n" % (oid.encode(), name)
            )
        parts.append(b"\nget-mark :1\n")
        return self._import(parts).decode().strip()

    def point(self, refs: Mapping[str, str | None]) -> None:
        """Set refs to commits; None removes one."""
        zero = "0" * 40
        self._import(
            f"reset {ref}\nfrom {commit or zero}\n\n".encode() for ref, commit in refs.items()
        )

    def _import(self, parts: Iterable[bytes]) -> bytes:
        return _git(
            f"--git-dir={self.path}", "fast-import", "--quiet", "--force", feed=b"".join(parts)
        )


def _quoted(path: str) -> bytes:
    raw = path.encode()
    if raw.startswith(b'"') or b"\n" in raw:
        return b'"%b"' % raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return raw


def _git(*arguments: str, feed: bytes = b"") -> bytes:
    done = subprocess.run(
        ["git", *arguments], input=feed, capture_output=True, check=False, env=git_environment()
    )
    if done.returncode:
        message = f"git {arguments[0]} failed: {done.stderr.decode(errors='replace')}"
        raise RuntimeError(message)
    return done.stdout


def git_environment() -> dict[str, str]:
    """Return an environment in which git reads no configuration but the repository's own."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
    }
