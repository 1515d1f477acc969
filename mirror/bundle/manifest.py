"""The manifest of an exported folder: what each target needs, and what every file was when it was written.

``DIR/.modelmirror.json``, UTF-8 with its keys sorted. A file is believed when its size and modification time
(whole seconds) are those of the manifest; where only the time differs it is hashed. The start-up hook's
``check`` reads the same file where modelmirror is not installed.
"""

import hashlib
import json
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from mirror.errors import MirrorError, StoreError
from mirror.store import durable

NAME: Final = ".modelmirror.json"
FORMAT: Final = "modelmirror-cache"
VERSION: Final = 1

_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """A real file: its *size* in bytes, *sha256* in hex, and modification time in whole seconds.

    *etag* is the tag that the mirror had for it.
    """

    size: int
    sha256: str
    mtime: int
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What one target needs: paths of *files* and *links*.

    *shape* is the digest of everything that its layout depends on; *state* is what the mirror told of
    it last (a commit, entity tags). *rest* are keys of other versions, which are kept.
    """

    target: str
    files: tuple[str, ...]
    links: tuple[str, ...]
    shape: str = ""
    state: str = ""
    rest: Mapping[str, Any] = field(default_factory=dict)


class Manifest:
    """The manifest of *folder*; changed in memory, written by `save`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.targets: dict[str, Needed] = {}
        self.files: dict[str, Kept] = {}
        self.links: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.advance: Callable[[int], None] = _unheard
        """Hears how many bytes were read again."""
        self._rest: dict[str, Any] = {}
        self._written = ""
        self._read_again: set[str] = set()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the manifest of *folder*, an empty one where there is none.

        Raises `MirrorError` for one of a higher version, or that is damaged.
        """
        manifest, path = cls(folder), folder / NAME
        try:
            manifest._written = path.read_text(encoding="utf-8")
            form = json.loads(manifest._written)
        except FileNotFoundError:
            return manifest
        except OSError as error:
            raise durable.disk_error(error, f"{path} cannot be read") from error
        except ValueError as error:  # UnicodeDecodeError is one
            raise _damaged(path) from error
        if not isinstance(form, dict) or form.get("format") != FORMAT:
            raise _damaged(path)
        if form.get("version") != VERSION:
            raise MirrorError(
                f"{path} is of version {form.get('version')}, which this modelmirror does not know.",
                hint="Use the version of modelmirror that wrote it, or another folder.",
            )
        try:
            manifest._read(form)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path) from error
        return manifest

    def save(self) -> None:
        """Put the manifest in place whole, on the disk, if it changed. Raises `StoreError`."""
        form = {
            **self._rest,
            "format": FORMAT,
            "version": VERSION,
            "targets": [_written(self.targets[name]) for name in sorted(self.targets)],
            "files": {
                path: {"size": kept.size, "sha256": kept.sha256, "mtime": kept.mtime}
                | ({"etag": kept.etag} if kept.etag else {})
                for path, kept in self.files.items()
            },
            "links": self.links,
            "environment": self.environment,
        }
        text = _laid_out(form)
        if text == self._written:
            return
        temporary = self.folder / f"{NAME}.new"
        durable.remove(temporary)
        durable.write(temporary, self.folder / NAME, text.encode())
        (self.folder / NAME).chmod(0o644)  # whatever the umask is
        self._written = text

    def promise(self, needed: Needed, sizes: Mapping[str, int], links: Mapping[str, str]) -> None:
        """Say what a target will need, before it is there: whoever checks the folder then misses it.

        *sizes* are bytes by path, 0 where they are not known yet; *links* are where its links will point.
        """
        self.targets[needed.target] = needed
        self.links.update(links)
        for path, size in sizes.items():
            self.files.setdefault(path, Kept(size, "", 0))

    def withdraw(self, target: str) -> None:
        """Forget a target that turned out not to exist, and what was promised for it alone."""
        gone = self.targets.pop(target, None)
        needed = {path for other in self.targets.values() for path in (*other.files, *other.links)}
        for path in () if gone is None else {*gone.files, *gone.links} - needed:
            self.links.pop(path, None)
            if not self.files.get(path, Kept(0, "?", 0)).sha256:
                del self.files[path]

    def prune(self) -> None:
        """Forget files and links that no target needs any more; they stay where they are."""
        files = {path for needed in self.targets.values() for path in needed.files}
        links = {path for needed in self.targets.values() for path in needed.links}
        self.files = {path: kept for path, kept in self.files.items() if path in files}
        self.links = {path: to for path, to in self.links.items() if path in links}

    def note(self, path: str, sha256: str, etag: str = "") -> None:
        """Remember the file at *path* as it is now."""
        status = os.lstat(self.folder / path)
        self.files[path] = Kept(status.st_size, sha256, int(status.st_mtime), etag)

    # ── is it here? ────────────────────────────────────────────────────────────────────────────

    def lacks(self, needed: Needed, *, read: bool) -> list[str]:
        """The paths of *needed* that are missing or not what they were; with *read* all are hashed."""
        bad = [path for path in needed.files if not self.holds(path, read=read)]
        return bad + [path for path in needed.links if not self.leads(path)]

    def holds(self, path: str, *, read: bool) -> bool:
        """Whether the file at *path* is what it was when it was written."""
        kept = self.files.get(path)
        if kept is None:
            return False
        try:
            status = os.lstat(self.folder / path)
            if not stat.S_ISREG(status.st_mode) or status.st_size != kept.size:
                return False
            proven = not read or path in self._read_again
            if int(status.st_mtime) == kept.mtime and proven:
                return True
            if sha256_of_file(self.folder / path, self.advance) != kept.sha256:
                return False
        except OSError:
            return False
        self._read_again.add(path)
        self.files[path] = replace(kept, mtime=int(status.st_mtime))
        return True

    def leads(self, path: str) -> bool:
        """Whether the link at *path* points where it did."""
        try:
            return os.readlink(self.folder / path) == self.links.get(path)  # noqa: PTH115
        except OSError:
            return False

    def _read(self, form: Mapping[str, Any]) -> None:
        known = {"targets", "files", "links", "environment"}
        self._rest = {name: value for name, value in form.items() if name not in known}
        for path, said in form["files"].items():
            self.files[_inside(path)] = Kept(
                int(said["size"]),
                str(said["sha256"]),
                int(said["mtime"]),
                str(said.get("etag", "")),
            )
        for path, to in form["links"].items():
            self.links[_inside(path)] = str(to)
        self.environment = {str(name): str(value) for name, value in form["environment"].items()}
        for said in form["targets"]:
            rest = {name: value for name, value in said.items() if name not in _FIELDS}
            self.targets[str(said["target"])] = Needed(
                target=str(said["target"]),
                files=tuple(map(_inside, said["files"])),
                links=tuple(map(_inside, said["links"])),
                shape=str(said.get("shape", "")),
                state=str(said.get("state", "")),
                rest=rest,
            )


_FIELDS: Final = frozenset({"target", "files", "links", "shape", "state"})


def _unheard(_size: int) -> None:
    """Tell nobody."""


def sha256_of_file(path: Path, advance: Callable[[int], None] = _unheard) -> str:
    """The sha256 of a file's content in hex; *advance* hears of its bytes. Raises `OSError`."""
    hasher, room = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(room):
            hasher.update(room[:size])
            advance(size)
    return hasher.hexdigest()


def shape_of(*words: str | Iterable[str]) -> str:
    """One name for all that a layout depends on."""
    text = json.dumps([word if isinstance(word, str) else sorted(word) for word in words])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _laid_out(form: Mapping[str, Any]) -> str:
    """A document as JSON, its keys sorted, a line for each member of a member.

    Asked to indent, `json` encodes in Python: 80 ms for 1000 files, and this 6.
    """
    write = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
    members = []
    for name, value in sorted(form.items()):
        if isinstance(value, dict):
            inner = ",\n".join(f"  {write(key)}: {write(value[key])}" for key in sorted(value))
            members.append(f" {write(name)}: {{\n{inner}\n }}")
        elif isinstance(value, list):
            inner = ",\n".join(f"  {write(item)}" for item in value)
            members.append(f" {write(name)}: [\n{inner}\n ]")
        else:
            members.append(f" {write(name)}: {write(value)}")
    return "{\n" + ",\n".join(members) + "\n}\n"


def _written(needed: Needed) -> dict[str, Any]:
    return {
        **needed.rest,
        "target": needed.target,
        "files": sorted(needed.files),
        "links": sorted(needed.links),
        "shape": needed.shape,
        "state": needed.state,
    }


def _inside(path: str) -> str:
    """A path of the manifest, if it stays inside the folder; raises `ValueError`."""
    if (
        path.startswith("/")
        or posixpath.normpath(path) != path
        or path.split("/", maxsplit=1)[0] == ".."
    ):
        raise ValueError(path)
    return path


def _damaged(path: Path) -> StoreError:
    return StoreError(
        f"{path} is not the manifest of an exported cache, or it is damaged.",
        hint=f"Remove it and export again: rm {path}. What is whole is not fetched again.",
    )
