"""What clients keep unpacked: TensorFlow Hub's models, and repositories that torch.hub loaded code from.

The archives that they came in are gone. Others of the same content are made, of which nothing can be proved.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from mirror.bundle.found import Content, Found, FoundAddress, Scanner
from mirror.bundle.foundtree import Tree, join
from mirror.names import Repo

_DESCRIPTOR: Final = re.compile(r"(?:.+/)?(?P<name>[0-9a-f]{40})\.descriptor\.txt\Z")
_MODULE: Final = re.compile(r"Module: (?P<handle>\S+)(?:\n|\Z)")
_TFHUB: Final = "tfhub.dev"
_SHORT: Final = "/-/tfhub/"
_GENERIC: Final = re.compile(r"/-/host/(?P<host>[a-z0-9.-]+)(?P<path>/.+)\Z")
_HANDLES: Final = (_TFHUB, "www.kaggle.com")
_COMPRESSED: Final = "tf-hub-format=compressed"

_HUBCONF: Final = "hubconf.py"
_TRUSTED: Final = "trusted_list"
_OWNER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})\Z")


def tfhub(tree: Tree) -> Found:
    """Find every model of TensorFlow Hub (0.16.1, ``resolver.py``): a folder named sha1(handle)."""
    found = Found("tfhub")
    for path in tree.files:
        named = _DESCRIPTOR.match(path)
        if named is None:
            continue
        found.seen.add(path)
        folder = path.removesuffix(".descriptor.txt")
        found.seen.update(tree.below(folder))
        told = _MODULE.match(tree.text(path) or "")
        handle = "" if told is None else told["handle"]
        if hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest() != named["name"]:
            found.skip(path, "The folder is not the one of the handle in it.")
            continue
        place = _address(handle)
        what = _folder(tree, folder)
        if place is None:
            found.skip(folder, f"{handle} is no handle of TensorFlow Hub or Kaggle.")
        elif what is None:
            found.skip(folder, "It is empty, or has something else in it than files.")
        else:
            host, at = place
            about = Repo("tfhub", at.strip("/"))
            found.items.append(
                FoundAddress(host, at, what, about, query=_COMPRESSED, archive="tar")
            )
    return found


def _address(handle: str) -> tuple[str, str] | None:
    """Where a handle is upstream; one of a mirror's is that which it stands for."""
    parts = urlsplit(handle)
    host, path = parts.hostname or "", parts.path.rstrip("/")
    generic = _GENERIC.match(path)
    if path.startswith(_SHORT):
        host, path = _TFHUB, f"/{path.removeprefix(_SHORT)}"
    elif generic is not None:
        host, path = generic["host"], generic["path"]
    known = host in _HANDLES and parts.scheme in {"http", "https"} and path.strip("/")
    return (host, path) if known else None


def torch(tree: Tree) -> Found:
    """Find every repository that torch.hub unpacked (2.13, ``hub.py``): ``hub/<owner>_<repo>_<ref>``."""
    found = Found("torch")
    for folder in tree.folders:
        parent, _, name = folder.rpartition("/")
        if _HUBCONF not in tree.names(folder) or parent.rpartition("/")[2] != "hub":
            continue
        found.seen.update(tree.below(folder))
        trusted = (tree.text(join(parent, _TRUSTED), 1 << 20) or "").splitlines()
        found.seen.add(join(parent, _TRUSTED))
        readings = list(_readings(name, trusted))
        what = _folder(tree, folder, but="__pycache__")
        if len(readings) != 1:
            found.skip(
                folder, "Which of its name is the repository and which the branch is not told."
            )
        elif what is None:
            found.skip(folder, "It is empty, or has something else in it than files.")
        else:
            owner, repo, ref = readings[0]
            found.items.append(
                FoundAddress(
                    "github.com",
                    f"/{owner}/{repo}/zipball/{ref}",
                    what,
                    Repo("github", f"{owner}/{repo}"),
                    content_type="application/zip",
                    public=False,
                    archive="zip",
                    top=f"{owner}-{repo}-{ref}",
                )
            )
    return found


def _readings(name: str, trusted: list[str]) -> Iterator[tuple[str, str, str]]:
    """The ways to read a folder's name as owner, repository and ref, those that were trusted first.

    No owner has an underscore in it; repositories and refs may.
    """
    owner, _, rest = name.partition("_")
    steps = rest.split("_")
    ways = [
        (owner, "_".join(steps[:at]), "_".join(steps[at:]))
        for at in range(1, len(steps))
        if _OWNER.match(owner)
    ]
    sure = [way for way in ways if f"{way[0]}_{way[1]}" in trusted]
    yield from sure or ways


def _folder(tree: Tree, folder: str, *, but: str = "") -> Content | None:
    """A folder's content; `None` where it has none, or something that no archive may have."""
    size, mtime, number = 0, 0.0, 0
    for path in tree.below(folder):
        if but and but in path.split("/"):
            continue
        seen = tree.files.get(path)
        if seen is None:
            return None
        number, size, mtime = number + 1, size + seen.size, max(mtime, seen.mtime)
    return Content(folder, size, mtime) if number else None


SCANNERS: Final[tuple[Scanner, ...]] = (tfhub, torch)
