"""Files of Hub repos in folders that do not say of which commit, or of which repo, they are.

- ``sentence_transformers/<owner>_<name>/…``: sentence-transformers up to 2.2.2, without any digest;
- ``.cache/huggingface/download/<path>.metadata`` beside a folder that was downloaded with ``local_dir``:
  commit, etag and time, one a line;
- ``<sha256 of the URL>.<sha256 of the etag>`` with ``.json`` beside it: huggingface_hub up to 0.7 and
  transformers up to 4.21.
"""

import json
import re
from typing import Final

from mirror.bundle.found import Found, FoundLoose, content
from mirror.bundle.foundtree import Tree
from mirror.digest import GIT_SHA1, SHA256, Digest

_FLAT: Final = re.compile(r"(?:.+/)?sentence_transformers/(?P<owner>[^/_]+)_(?P<name>[^/]+)\Z")
_OF_FLAT: Final = {"modules.json", "config_sentence_transformers.json"}
_METADATA: Final = re.compile(
    r"(?P<base>(?:.+/)?)\.cache/huggingface/download/(?P<path>.+)\.metadata\Z"
)
_OLD: Final = re.compile(r"(?:.+/)?[0-9a-f]{64}\.[0-9a-f]{64}(?:\.h5)?\Z")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}\Z")
_MAX_JSON: Final = 64 << 10


def scan(tree: Tree) -> Found:
    """Find every such file."""
    found = Found("hub")
    for folder in tree.folders:
        flat = _FLAT.match(folder)
        if flat is not None and _OF_FLAT & set(tree.names(folder)):
            _flat(tree, found, folder, f"models/{flat['owner']}/{flat['name']}")
    for path in tree.files:
        metadata = _METADATA.match(path)
        if metadata is not None:
            _metadata(tree, found, path, metadata["base"] + metadata["path"])
        elif _OLD.match(path) and f"{path}.json" in tree.files:
            _old(tree, found, path)
    return found


def _flat(tree: Tree, found: Found, folder: str, repo: str) -> None:
    for path in tree.below(folder):
        name = path[len(folder) + 1 :]
        if path in tree.links:
            found.skip(path, "It is a link.")
            continue
        found.seen.add(path)
        found.items.append(FoundLoose(name, content(tree, path), repo))


def _metadata(tree: Tree, found: Found, path: str, file: str) -> None:
    found.seen.add(path)
    lines = (tree.text(path) or "").splitlines()
    if file not in tree.files or len(lines) < 2:
        return
    found.seen.add(file)
    commit, digest = lines[0], _digest(lines[1])
    if digest is None or not _COMMIT.match(commit):
        found.skip(file, "What is noted of it names no digest.")
        return
    found.items.append(FoundLoose(file, content(tree, file, digest), "", commit))


def _old(tree: Tree, found: Found, path: str) -> None:
    found.seen.update((path, f"{path}.json", f"{path}.lock"))
    try:
        said = json.loads(tree.read(f"{path}.json", _MAX_JSON) or b"")
        url, etag = str(said["url"]), str(said["etag"])
    except (ValueError, KeyError, TypeError, RecursionError):
        found.skip(path, "What is noted of it cannot be read.")
        return
    digest = _digest(etag)
    if digest is None:
        found.skip(path, "What is noted of it names no digest.")
        return
    found.items.append(FoundLoose(url.rpartition("/")[2], content(tree, path, digest)))


def _digest(etag: str) -> Digest | None:
    """What an etag of the Hub's says: a sha256 or a git sha1."""
    text = etag.removeprefix("W/").strip('"')
    try:
        return Digest({64: SHA256, 40: GIT_SHA1}[len(text)], text)
    except (KeyError, ValueError):
        return None
