"""What was found in clients' caches: values that every scanner gives and the adoption takes.

A scanner is a pure function of a `Tree`: it opens nothing but the small files that say what others are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from mirror.bundle.foundtree import Tree
from mirror.digest import Digest
from mirror.hubs.caches import CachedFile
from mirror.names import Repo


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to be taken: the file *source* of a tree with *size* bytes, last written at *mtime*.

    *digest* is what the cache says it is, `None` where it does not say. Of an archive that is to be made
    *source* is the folder and *size* that of its files.
    """

    source: str
    size: int
    mtime: float
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """Something at *path* that is not taken, and why: a sentence."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class FoundCommit:
    """A commit of a Hub repo: each *files* path with its content.

    *listed* is the whole file list where the cache had kept it. *refs* are revisions seen at the commit with
    their wall time, *absent* paths that upstream said do not exist, *seen_at* the wall time of all that.
    """

    kind: str
    name: str
    commit: str
    seen_at: float
    files: tuple[tuple[str, Content], ...] = ()
    listed: tuple[CachedFile, ...] | None = None
    refs: tuple[tuple[str, float], ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundAddress:
    """Content that lies upstream at ``https://<host><path>?<query>``.

    *about* is what the operator may grant it as (`mirror.patterns.spell`). Unless it is *public* by its
    address, it is taken only on the operator's word or upstream's own. With *ask* upstream is asked what is
    there. Unless it is *sure* to be of that cache, other bytes are left alone and not refused. An *archive*
    (``tar``, or ``zip`` below the folder *top*) is made of the folder that it was unpacked into.
    """

    host: str
    path: str
    content: Content
    about: Repo
    query: str = ""
    content_type: str = "application/octet-stream"
    public: bool = True
    ask: bool = False
    sure: bool = True
    archive: str = ""
    top: str = ""


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A small document that upstream answers with at an address; *post* is what it is asked with."""

    host: str
    path: str
    body: bytes
    about: Repo
    seen_at: float
    query: str = ""
    post: bytes = b""
    content_type: str = "application/json"
    public: bool = True


@dataclass(frozen=True, slots=True)
class FoundLoose:
    """A file of a Hub repo whose commit the cache does not tell; *commit* where it does and not the repo.

    *path* is what it is called in the repo, *repo* which one, ``models/acme/tiny-bert``, "" if not known.
    """

    path: str
    content: Content
    repo: str = ""
    commit: str = ""


Item: TypeAlias = FoundCommit | FoundAddress | FoundDocument | FoundLoose


@dataclass(slots=True)
class Found:
    """What one scanner found: *cache* names the kind of cache.

    *seen* are the paths that belong to such a cache, whatever is to become of them.
    """

    cache: str
    items: list[Item] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def skip(self, path: str, why: str) -> None:
        """Note that *path* is left alone."""
        self.skips.append(Skip(path, why))
        self.seen.add(path)


Scanner: TypeAlias = Callable[[Tree], Found]


def content(tree: Tree, path: str, digest: Digest | None = None) -> Content:
    """The file at *path*, which *tree* has, as content that is said to be *digest*."""
    seen = tree.files[path]
    return Content(path, seen.size, seen.mtime, digest)
