"""Caches whose files say what they are by their names: Whisper, CLIP, tiktoken, torch checkpoints, spaCy."""

import hashlib
import re
from typing import Final

from mirror.bundle.found import Found, FoundAddress, Scanner, content
from mirror.bundle.foundtree import Tree
from mirror.digest import SHA256, Digest
from mirror.hubs.torch import name_checks
from mirror.hubs.whisper import ENCODINGS, MODELS
from mirror.names import Repo

_CDN: Final = "openaipublic.azureedge.net"
_STORAGE: Final = "openaipublic.blob.core.windows.net"

# CLIP's own table (``clip/clip.py``), by the names of the files.
CLIP: Final = {
    "RN50.pt": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "RN101.pt": "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
    "RN50x4.pt": "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd",
    "RN50x16.pt": "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa",
    "RN50x64.pt": "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c",
    "ViT-B-32.pt": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "ViT-B-16.pt": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "ViT-L-14.pt": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    "ViT-L-14-336px.pt": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
}

# tiktoken calls a file by the sha1 of its address (``tiktoken/load.py``).
_ENCODINGS: Final = {
    hashlib.sha1(f"https://{_STORAGE}{path}".encode(), usedforsecurity=False).hexdigest(): path
    for path in ENCODINGS
}

_TORCH: Final = "download.pytorch.org"
_CHECKPOINT: Final = re.compile(r"(?:.+/)?hub/checkpoints/[^/]+\Z")
# torchvision 0.29 has its quantized models in a folder of their own, named for what computes them.
_QUANTIZED: Final = re.compile(r"_(?:fbgemm|qnnpack)[-_]")
_HALF: Final = (".partial", ".lock", ".tmp")

_SPACY: Final = "/explosion/spacy-models/releases/download"
_PACKAGE: Final = re.compile(
    r"(?P<tag>[a-z]{2,3}_(?:core|dep|ent|sent|vectors|coreference|udv25|udv27)_[a-z0-9_]+"
    r"-[0-9]+\.[0-9]+\.[0-9]+[0-9a-z.]*?)(?:-py3-none-any\.whl|\.tar\.gz)\Z"
)


def whisper(tree: Tree) -> Found:
    """Find models of Whisper and CLIP, by their tables of sha256."""
    found = Found("whisper")
    for path in tree.files:
        folder, _, name = path.rpartition("/")
        model, own = name.removesuffix(".pt"), folder.rpartition("/")[2]
        if name.endswith(".pt") and model in MODELS:
            place, hexadecimal = f"/main/whisper/models/{MODELS[model]}/{name}", MODELS[model]
        elif name in CLIP:
            place, hexadecimal = f"/clip/models/{CLIP[name]}/{name}", CLIP[name]
        else:
            continue
        found.seen.add(path)
        what = content(tree, path, Digest(SHA256, hexadecimal))
        # In another folder a `base.pt` may be anything.
        sure = own in {"whisper", "clip"}
        about = Repo("whisper", model)
        found.items.append(FoundAddress(_CDN, place, what, about, sure=sure))
    return found


def tiktoken(tree: Tree) -> Found:
    """Find tiktoken's encodings."""
    found = Found("tiktoken")
    for path in tree.files:
        place = _ENCODINGS.get(path.rpartition("/")[2])
        if place is not None:
            found.seen.add(path)
            about = Repo("tiktoken", place.rpartition("/")[2])
            found.items.append(FoundAddress(_STORAGE, place, content(tree, path), about))
    return found


def checkpoints(tree: Tree) -> Found:
    """Find torch's checkpoints (2.13, ``hub.py``) whose names have digits of their sha256.

    The cache does not tell where they came from. All of torchvision's lie in two folders of one host.
    """
    found = Found("torch")
    for path in tree.files:
        if not _CHECKPOINT.match(path):
            continue
        found.seen.add(path)
        name = path.rpartition("/")[2]
        if name.endswith(_HALF):
            found.skip(path, "It is half a download.")
        elif not name_checks(name):
            found.skip(path, "Its name has no digits of a digest: where it came from is not known.")
        else:
            folder = "/models/quantized" if _QUANTIZED.search(name) else "/models"
            about = Repo("torch", name)
            what = content(tree, path)
            found.items.append(FoundAddress(_TORCH, f"{folder}/{name}", what, about, ask=True))
    return found


def spacy(tree: Tree) -> Found:
    """Find packages of spaCy's models, wherever wheels lie."""
    found = Found("spacy")
    for path in tree.files:
        name = path.rpartition("/")[2]
        package = _PACKAGE.match(name)
        if package is not None:
            found.seen.add(path)
            place = f"{_SPACY}/{package['tag']}/{name}"
            about = Repo("spacy", package["tag"])
            what = content(tree, path)
            found.items.append(FoundAddress("github.com", place, what, about, ask=True))
    return found


SCANNERS: Final[tuple[Scanner, ...]] = (whisper, tiktoken, checkpoints, spacy)
