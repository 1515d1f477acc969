"""Caches of `huggingface_hub`: folders like ``models--acme--tiny-bert`` (2.4, ``file_download.py``).

::

    models--<owner>--<name>/
    ├─ blobs/<etag>                   64 hex digits: its sha256; 40: its git blob sha1
    ├─ refs/<revision>                the commit that it was last seen at
    ├─ snapshots/<commit>/<path>      a link to a blob; where links cannot be made, the file itself
    ├─ .no_exist/<commit>/<path>      empty: the Hub said that there is no such path
    └─ trees/<commit>.json            the whole file list (since 2.3)

By newer releases (1.33 and 2.4 do it, 0.36 does not) what came by Xet lies once for all repos of a cache
(``utils/_shared_blobs.py``), and each repo's blob is a link to it. It is named by its Xet hash there, so what
it must be is what the link is called::

    blobs/
    ├─ .huggingface-shared-blobs
    └─ ab/ab….{,refs,lock}            64 hex digits, and what is written beside them

They are recognised wherever they lie, for every client names its cache folder as it likes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mirror.bundle.found import Content, Found, FoundCommit, content
from mirror.bundle.foundtree import Tree, join
from mirror.digest import GIT_SHA1, SHA256, Digest
from mirror.hubs.caches import CachedFile

CACHE: Final = "hub"

_REPO: Final = re.compile(r"(models|datasets|spaces|kernels)--(.+)\Z")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}\Z")
_HEX: Final = {64: SHA256, 40: GIT_SHA1}
# A list of 100 000 files takes 20 MB.
_MAX_LIST: Final = 64 << 20
_LIST_FORMAT: Final = 1
_SHARED: Final = ".huggingface-shared-blobs"
_SHARED_BLOB: Final = re.compile(r"blobs/([0-9a-f]{2})/\1[0-9a-f]{62}\Z")
_ENDS: Final = (".incomplete", ".lock", ".tmp", ".partial")
_NOT_USED: Final = "No snapshot has it."
_NO_DIGEST: Final = "its name says no digest, and no file list of its commit was kept"


def scan(tree: Tree) -> Found:
    """Find every repo and commit."""
    found = Found(CACHE)
    used: set[str] = set()
    stores = [folder for folder in tree.folders if _SHARED in tree.names(folder)]
    for folder in tree.folders:
        named = _REPO.match(folder.rpartition("/")[2])
        inside = tree.names(folder)
        if named is None or not {"blobs", "snapshots", "refs"} & set(inside):
            continue
        found.seen.update(tree.below(folder))
        # The name is the id with its slash written as two dashes; two dashes in a row are in no id.
        repo = _Repo(tree, found, folder, named[1], named[2].replace("--", "/"), used)
        found.items.extend(repo.commits())
        repo.leftovers()
    for store in stores:
        found.seen.update(tree.below(store))
        cache = store.rpartition("/")[0]
        for path in tree.below(store):
            if path in tree.files and _shared(cache, path) and path not in used:
                found.skip(path, _NOT_USED)
    return found


def _shared(cache: str, path: str) -> bool:
    """Whether *path* is where a blob that repos of *cache* share would be."""
    return path.startswith(join(cache, "")) and bool(
        _SHARED_BLOB.match(path[len(join(cache, "")) :])
    )


class _Repo:
    """One repo's *folder*."""

    def __init__(
        self, tree: Tree, found: Found, folder: str, kind: str, name: str, used: set[str]
    ) -> None:
        self._tree = tree
        self._found = found
        self._folder = folder
        self._kind = kind
        self._name = name
        self._used = used

    def commits(self) -> Iterator[FoundCommit]:
        refs = self._refs()
        known = dict.fromkeys(
            [
                *self._tree.names(join(self._folder, "snapshots")),
                *self._tree.names(join(self._folder, ".no_exist")),
                *(
                    name.removesuffix(".json")
                    for name in self._tree.names(join(self._folder, "trees"))
                    if name.endswith(".json")
                ),
            ]
        )
        for commit in known:
            if not _COMMIT.match(commit):
                self._found.skip(
                    join(self._folder, f"snapshots/{commit}"), "The folder is named for no commit."
                )
                continue
            listed = self._listed(commit)
            files = tuple(self._files(commit, listed))
            times = [content.mtime for _, content in files]
            times += [seen_at for _, seen_at in refs.get(commit, ())]
            yield FoundCommit(
                self._kind,
                self._name,
                commit,
                max(times, default=0.0),
                files,
                None if listed is None else tuple(listed.values()),
                tuple(refs.get(commit, ())),
                tuple(self._absent(commit)),
            )

    def leftovers(self) -> None:
        """Say of blobs what becomes of those that no commit has."""
        folder = join(self._folder, "blobs")
        for name in self._tree.names(folder):
            path = join(folder, name)
            if name.endswith(_ENDS):
                self._found.skip(path, "It is half a download.")
            elif path not in self._used and path in self._tree.files:
                self._found.skip(path, _NOT_USED)

    def _refs(self) -> dict[str, list[tuple[str, float]]]:
        """Each commit's revisions, with the time at which they were last seen there."""
        folder = join(self._folder, "refs")
        refs: dict[str, list[tuple[str, float]]] = {}
        for path in self._tree.below(folder):
            seen = self._tree.files.get(path)
            commit = self._tree.text(path)
            if seen is None or commit is None or not _COMMIT.match(commit):
                self._found.skip(path, "It names no commit.")
                continue
            refs.setdefault(commit, []).append((path[len(folder) + 1 :], seen.mtime))
        return refs

    def _absent(self, commit: str) -> Iterator[str]:
        folder = join(self._folder, f".no_exist/{commit}")
        for path in self._tree.below(folder):
            yield path[len(folder) + 1 :]

    def _files(
        self, commit: str, listed: Mapping[str, CachedFile] | None
    ) -> Iterator[tuple[str, Content]]:
        folder = join(self._folder, f"snapshots/{commit}")
        for path in self._tree.below(folder):
            name = path[len(folder) + 1 :]
            told = None if listed is None else listed.get(name)
            blob, source = self._source(path)
            if source is None:
                continue
            self._used.add(source)
            digest = _named(blob.rpartition("/")[2]) if source != path else None
            if told is not None and digest not in (None, told.digest):
                self._found.skip(path, "Its blob is not the one that the stored file list names.")
            elif listed is not None and told is None:
                self._found.skip(path, "The stored file list of its commit does not have it.")
            elif digest is None and told is None:
                self._found.skip(path, f"Unverified: {_NO_DIGEST}.")
            else:
                proof = digest if told is None else told.digest
                yield name, content(self._tree, source, proof)

    def _source(self, path: str) -> tuple[str, str | None]:
        """What names a snapshot's bytes, and where they are: mostly a blob of this repo is both."""
        if path in self._tree.files:
            return path, path
        # By its name alone: a cache that was moved has links to where it was, and what a blob is called
        # is what it must be.
        blob = join(self._folder, f"blobs/{self._tree.links[path].rpartition('/')[2]}")
        if blob in self._tree.files:
            return blob, blob
        source = self._tree.resolve(blob) if blob in self._tree.links else None
        if source is None:
            self._found.skip(path, "It is a link, and its blob is not in this cache.")
        elif not _shared(self._folder.rpartition("/")[0], source) and (
            _named(source.rpartition("/")[2]) != _named(blob.rpartition("/")[2])
        ):
            self._found.skip(path, "Its blob is a link to a file of another name.")
            source = None
        return blob, source

    def _listed(self, commit: str) -> Mapping[str, CachedFile] | None:
        """The whole file list of a commit, where it was kept and can be read."""
        path = join(self._folder, f"trees/{commit}.json")
        if path not in self._tree.files:
            return None
        data = self._tree.read(path, _MAX_LIST)
        try:
            document = json.loads(data or b"")
            if document["format_version"] == _LIST_FORMAT:
                return {name: _file(name, said) for name, said in document["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        self._found.skip(path, "It is no file list that can be read.")
        return None


def _file(name: str, said: Mapping[str, Any]) -> CachedFile:
    """One entry of a stored list (``_tree_cache.py``); raises `ValueError` for what cannot be."""
    name.encode()
    oid, lfs, size = said["blob_id"], said.get("lfs_sha256"), said["size"]
    digest = Digest(SHA256, lfs) if lfs else Digest(GIT_SHA1, oid)
    size = said.get("lfs_size", size) if lfs else size
    if not isinstance(size, int) or not 0 <= size < 1 << 63:
        raise ValueError("a size is impossible")
    Digest(GIT_SHA1, oid)
    return CachedFile(name, digest, size, oid)


def _named(name: str) -> Digest | None:
    """What a blob is by its name."""
    try:
        return Digest(_HEX[len(name)], name)
    except (KeyError, ValueError):
        return None
