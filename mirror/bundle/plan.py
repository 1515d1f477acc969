"""What is to be laid out: values that say which answer of the mirror goes where, and what is made beside it.

Every path is relative to the exported folder, with forward slashes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mirror.digest import Digest
from mirror.errors import MirrorError

_FOREIGN: Final = re.compile(r"[\x00-\x1f\x7f\\]")
# The longest file name that Linux and macOS take, in bytes.
_LONGEST: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file that the mirror serves, and the *paths* where it is to be.

    *source* is its target on the mirror (path and query). *size* is in bytes, *digest* a sha256 or git blob
    sha1 of the whole, *prefix* the first digits of its sha256; ``None`` and ``""`` where nothing is told yet.
    *etag* is its tag at the mirror, ``""`` where a head has to be asked for; with *proven* the tag that a
    head tells is its sha256. *restricted* tells whether the mirror may want to know who asks.
    """

    source: str
    paths: tuple[str, ...] = ()
    size: int | None = None
    digest: Digest | None = None
    prefix: str = ""
    etag: str = ""
    proven: bool = False
    restricted: bool = False


class Packing(StrEnum):
    """How an archive is packed."""

    TAR = "tar"
    ZIP = "zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive that the mirror serves, unpacked into each of *folders*.

    With *topless* what is in its one top folder is meant. *kept* is where the archive itself goes, ``""``
    for nowhere. *digest* and *etag* are as for a `File`.
    """

    source: str
    packing: Packing
    folders: tuple[str, ...]
    topless: bool = False
    kept: str = ""
    digest: Digest | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that one target needs.

    *made* are small files by their content; those whose names are in *seeds* are left as they are where
    they are there already. *links* are symbolic links by what they point to, relative to themselves.
    *environment* are variables by the folder that each is to name, below the exported folder.
    """

    files: tuple[File, ...] = ()
    archives: tuple[Archive, ...] = ()
    made: Mapping[str, bytes] = field(default_factory=dict)
    seeds: frozenset[str] = frozenset()
    links: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the files whose size is known."""
        return sum(file.size or 0 for file in self.files)

    def claims(self) -> dict[str, frozenset[object]]:
        """What goes where, by the names that its content goes by: with one in common it is the same."""
        found: dict[str, frozenset[object]] = {}
        for file in self.files:
            names = frozenset[object]({file.source, file.digest} - {None})
            found.update(dict.fromkeys(file.paths, names))
        for archive in self.archives:
            found.update(dict.fromkeys(archive.folders, frozenset({archive.source})))
        for path, content in {**self.made, **self.links}.items():
            found[path] = frozenset({content})
        return found


def safe(path: str, what: str) -> str:
    """Return *path*, a relative path that somebody else has written, if it stays where it is put.

    Raises `MirrorError` that names *what* it is of, for any that leads elsewhere or that no disk can hold.
    """
    words = path.split("/")
    bad = any(word in ("", ".", "..") or len(word.encode()) > _LONGEST for word in words)
    if bad or _FOREIGN.search(path) or (len(words[0]) == 2 and words[0][1] == ":"):
        raise MirrorError(
            f"{what} has a file {path!r}, which cannot be laid out.",
            hint="Leave it out with --exclude, or ask its publisher.",
        )
    return path
