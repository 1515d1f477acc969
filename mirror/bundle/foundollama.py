"""Ollama's store: ``models/manifests/<host>/<namespace>/<model>/<tag>``, ``models/blobs/sha256-<hex>``."""

import json
import re
from typing import Any, Final

from mirror.bundle.found import Found, FoundAddress, FoundDocument, content
from mirror.bundle.foundtree import Tree, join
from mirror.digest import SHA256, Digest
from mirror.names import Repo

_REGISTRY: Final = "registry.ollama.ai"
_OPEN: Final = "library"
_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
# A manifest has a dozen layers; 1 MiB of them is none.
_MAX_MANIFEST: Final = 1 << 20
_LAYER: Final = re.compile(r"sha256[:-]([0-9a-f]{64})\Z")


def scan(tree: Tree) -> Found:
    """Find every model, with its manifest and its layers."""
    found = Found("ollama")
    for folder, names in tree.folders.items():
        if {"manifests", "blobs"} <= set(names):
            _store(tree, found, folder)
    return found


def _store(tree: Tree, found: Found, folder: str) -> None:
    manifests, blobs = join(folder, "manifests"), join(folder, "blobs")
    named = set()
    for path in tree.below(manifests):
        steps = path[len(manifests) + 1 :].split("/")
        if len(steps) != 4:
            continue
        found.seen.add(path)
        host, space, model, tag = steps
        if host != _REGISTRY:
            found.skip(path, f"It is a model of {host}, which is not Ollama's registry.")
            continue
        body = tree.read(path, _MAX_MANIFEST)
        layers = _layers(body or b"")
        if body is None or layers is None:
            found.skip(path, "It is no manifest that can be read.")
            continue
        public, about = space == _OPEN, Repo("ollama", f"{space}/{model}")
        base = f"/v2/{space}/{model}"
        for digest in layers:
            blob = join(blobs, f"sha256-{digest.hex}")
            if blob not in tree.files:
                found.skip(blob, f"A layer of {space}/{model}:{tag} is not there.")
                continue
            named.add(blob)
            what = content(tree, blob, digest)
            place = f"{base}/blobs/{digest}"
            found.items.append(FoundAddress(host, place, what, about, public=public))
        found.items.append(
            FoundDocument(
                host,
                f"{base}/manifests/{tag}",
                body,
                about,
                tree.files[path].mtime,
                content_type=_TYPE,
                public=public,
            )
        )
    found.seen |= named
    for name in tree.names(blobs):
        path = join(blobs, name)
        if path in tree.files and path not in named:
            found.skip(path, "No manifest has it.")


def _layers(body: bytes) -> list[Digest] | None:
    """The digests of a manifest: of its configuration and its layers; `None` where it is no manifest."""
    try:
        document: Any = json.loads(body)
        listed = [document["config"], *document["layers"]]
        matches = [_LAYER.match(layer["digest"]) for layer in listed]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(matches):
        return None
    return [Digest(SHA256, match[1]) for match in matches if match]
