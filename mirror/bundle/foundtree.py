"""A folder of somebody else's, looked through once: names, sizes and times, and files opened from within.

Whatever lies there was put there by others. No link is followed while looking, and a file is opened step by
step from the folder itself, so that no name in it, and none that is exchanged meanwhile, leads out.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mirror.errors import QuestionError

# What a listing holds in memory: 1 million names take 250 MiB. The largest caches seen have 200 000.
MAX_NAMES: Final = 1_000_000
# Folders in one another; no cache goes deeper than its repo's own paths.
MAX_DEPTH: Final = 64
# Links to links (path_resolution(7) gives up after 40).
_MAX_LINKS: Final = 16

_NO_TEXT: Final = "has a name that is not UTF-8"

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Seen:
    """A regular file as it was when looked at: *size* in bytes, *mtime* in wall time."""

    size: int
    mtime: float


@dataclass(frozen=True, slots=True)
class Passed:
    """What was not looked into, and why: a clause that goes after its path."""

    path: str
    why: str


@dataclass(slots=True)
class Tree:
    """The names below *root*, relative to it, with slashes; made by `look`.

    *files* are regular files, *links* symbolic links with their text, *folders* each folder with the names
    in it in order ("" is the root), *passed* what is neither or could not be read.
    """

    root: Path
    files: dict[str, Seen] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: dict[str, list[str]] = field(default_factory=dict)
    passed: list[Passed] = field(default_factory=list)

    def names(self, folder: str) -> list[str]:
        """The names in *folder*, none where it is no folder."""
        return self.folders.get(folder, [])

    def below(self, folder: str) -> Iterator[str]:
        """The paths of all files and links below *folder*, in order."""
        for name in self.names(folder):
            path = join(folder, name)
            if path in self.folders:
                yield from self.below(path)
            elif path in self.files or path in self.links:
                yield path

    def resolve(self, path: str) -> str | None:
        """The regular file that *path* is or leads to within the folder; `None` where it leads nowhere."""
        steps, at = path.split("/"), ""
        for _ in range(_MAX_LINKS):
            while steps:
                step, *steps = steps
                if step == "..":
                    if not at:
                        return None
                    at = at.rpartition("/")[0]
                    continue
                if step in ("", "."):
                    continue
                here = join(at, step)
                if here in self.links:
                    text = self.links[here]
                    if text.startswith("/"):
                        inside = os.path.relpath(text, self.root)
                        text, at = inside, ""
                    steps = [*text.split("/"), *steps]
                    break
                at = here
            else:
                return at if at in self.files else None
        return None

    def open(self, path: str) -> int:
        """Open the regular file at *path*, which must have been seen; returns a descriptor.

        Raises `OSError`, also where a link or something else has taken the place of a folder or the file.
        """
        *steps, name = path.split("/")
        folder = os.open(self.root, _FOLDER)
        try:
            for step in steps:
                below = os.open(step, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            fd = os.open(name, _FILE, dir_fd=folder)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "it is no regular file any more")
        return fd

    def read(self, path: str, limit: int) -> bytes | None:
        """The content of a small file; `None` where it is none, larger than *limit*, or cannot be read."""
        seen = self.files.get(path)
        if seen is None or seen.size > limit:
            return None
        try:
            fd = self.open(path)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            try:
                data = file.read(limit + 1)
            except OSError:
                return None
        return data if len(data) <= limit else None

    def text(self, path: str, limit: int = 4096) -> str | None:
        """The content of a small file as text, without space at either end; `None` where it is none."""
        data = self.read(path, limit)
        try:
            return None if data is None else data.decode().strip()
        except UnicodeDecodeError:
            return None


def join(folder: str, name: str) -> str:
    """The path of *name* in *folder*."""
    return f"{folder}/{name}" if folder else name


def look(root: Path, advance: Callable[[int], None], *, without: Path | None = None) -> Tree:
    """Look through the folder *root*, or at the one file that it is.

    *advance* is told of each folder's number of names; *without* is a folder not to look into: the mirror's
    own. Raises `QuestionError` where there is nothing to look at, or more than `MAX_NAMES` names.
    """
    try:
        # Links on the way to it are the operator's own.
        real = root.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise QuestionError(f"{root} cannot be looked at: {_reason(error)}.") from error
    if real.is_file():
        return _alone(real)
    if not real.is_dir():
        raise QuestionError(f"{root} is neither a folder nor a file.")
    tree = Tree(real)
    own = None if without is None else _identity(without)
    seen, waiting = 0, [("", 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(real / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise QuestionError(
                    f"{root} cannot be read: {_reason(error)}.",
                    hint=f"The mirror runs as user {os.geteuid()}, who must be able to read it.",
                ) from error
            tree.passed.append(Passed(folder, f"cannot be read: {_reason(error)}"))
            continue
        seen += len(found)
        if seen > MAX_NAMES:
            raise QuestionError(
                f"{root} has more than {MAX_NAMES} names below it.",
                hint="Give its parts one by one.",
            )
        tree.folders[folder] = [entry.name for entry in found if not _unreadable(entry.name)]
        for entry in found:
            path = join(folder, entry.name)
            if not _note(tree, path, entry):
                continue
            if depth >= MAX_DEPTH:
                tree.passed.append(Passed(path, "lies too deep"))
            elif own is not None and _identity(Path(entry.path)) == own:
                tree.passed.append(Passed(path, "is this mirror's own data folder"))
            else:
                waiting.append((path, depth + 1))
        advance(len(found))
    return tree


def _alone(file: Path) -> Tree:
    """The one file that was named, as the only name of its folder."""
    tree = Tree(file.parent)
    if _unreadable(file.name):
        tree.passed.append(Passed(_shown(file.name), _NO_TEXT))
        return tree
    status = file.stat()
    tree.folders[""] = [file.name]
    tree.files[file.name] = Seen(status.st_size, status.st_mtime)
    return tree


def _note(tree: Tree, path: str, entry: os.DirEntry[str]) -> bool:
    """Note one name; tells whether it is a folder to be looked into."""
    if _unreadable(entry.name):
        tree.passed.append(Passed(_shown(path), _NO_TEXT))
        return False
    try:
        if entry.is_symlink():
            tree.links[path] = str(Path(entry.path).readlink())
        elif entry.is_dir(follow_symlinks=False):
            return True
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            tree.files[path] = Seen(status.st_size, status.st_mtime)
        else:
            tree.passed.append(Passed(path, "is no regular file"))
    except OSError as error:
        tree.passed.append(Passed(path, f"cannot be looked at: {_reason(error)}"))
    return False


def _unreadable(name: str) -> bool:
    """Whether *name* is no text: no hub has such a path, and nothing could be noted of it."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
