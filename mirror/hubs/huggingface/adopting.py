"""What a cache of `huggingface_hub` had of a commit, as facts.

They are kept apart from what upstream says (`mirror.names.adopted`), and shown only while it cannot be asked.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from mirror.digest import GIT_SHA1, Digest, git_sha1_of
from mirror.errors import MalformedQuestionError
from mirror.hubs.caches import CachedCommit, CachedFile
from mirror.hubs.huggingface.entries import is_lfs, pointer_text
from mirror.hubs.huggingface.grammar import (
    HUB,
    KINDS,
    checked_path,
    checked_revision,
    is_commit,
    repo_of,
    shown,
)
from mirror.names import (
    ADOPTED,
    ADOPTED_WHOLE,
    LISTED,
    Entries,
    Entry,
    Fact,
    Ref,
    Repo,
    Snapshot,
    SnapshotState,
    adopted,
)


def facts_of(found: CachedCommit) -> list[Fact]:
    """Turn *found* into facts; see `mirror.hubs.caches.Adopts`."""
    repo, commit = repo_named(found.kind, found.name), found.commit
    if not is_commit(commit):
        raise MalformedQuestionError(f"{shown(commit)} is no commit.")
    files = [_file(file) for file in found.files]
    folders = [_folder(path) for path in _folders(file.path for file in files)]
    absent = tuple(checked_path(path) for path in found.absent)
    view = ADOPTED_WHOLE if found.whole else ADOPTED
    refs = [
        Ref(repo, checked_revision(revision), commit, seen_at) for revision, seen_at in found.refs
    ]
    apart = adopted(commit)
    return [
        Entries(repo, apart, (*folders, *files), absent),
        Snapshot(repo, apart, SnapshotState.PENDING, view, b"", found.seen_at),
        *refs,
    ]


def repo_named(kind: str, name: str) -> Repo:
    """The repo of *kind* called *name*; raises `MalformedQuestionError` for what the Hub gives nobody."""
    parts = name.split("/")
    if kind not in KINDS or len(parts) > 2:
        raise MalformedQuestionError(f"{shown(name)} is no repo of the {HUB} Hub.")
    return repo_of(kind, parts)


def _file(file: CachedFile) -> Entry:
    path = checked_path(file.path)
    entry = Entry(path, "file", file.size, file.digest, file.oid, None, b"")
    oid = file.oid or _oid(entry, file.digest)
    element: dict[str, Any] = {"type": "file", "oid": oid, "size": file.size}
    if is_lfs(entry):
        pointer = len(pointer_text(entry))
        element["lfs"] = {"oid": file.digest.hex, "size": file.size, "pointerSize": pointer}
    raw = _written(element | {"path": path})
    if file.here:
        return Entry(path, "file", file.size, file.digest, oid, None, raw)
    # Without its digest: content that is here is not to be had by whoever puts its digest into a list.
    return Entry(path, LISTED, file.size, None, oid, None, raw)


def _oid(entry: Entry, digest: Digest) -> str:
    """Git's id of a file: its own, or that of its pointer, whose text is fixed (git-lfs specification)."""
    if digest.algorithm == GIT_SHA1:
        return digest.hex
    return git_sha1_of(pointer_text(entry)).hex


def _folders(paths: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in seen:
            seen.add(folder)
            yield folder
            folder = folder.rpartition("/")[0]


def _folder(path: str) -> Entry:
    raw = _written({"type": "directory", "oid": "", "size": 0, "path": path})
    return Entry(path, "directory", 0, None, "", None, raw)


def _written(element: dict[str, Any]) -> bytes:
    return json.dumps(element, separators=(",", ":"), ensure_ascii=False).encode()
