"""Hosts of models that are folders of files and nothing more, each with what of it is served.

Nothing is published of most of these files but an MD5 in a header, or some digits in a name: the first
download is believed, and every later one must be the same. Shared hosts are listed with their folders.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from mirror.digest import MD5, SHA256, Check, Digest
from mirror.errors import MalformedQuestionError
from mirror.hubs.places import Aside, Family, Kind, Place, Route, Told
from mirror.hubs.torch import name_checks

_RAW: Final = "raw.githubusercontent.com"
_STORAGE: Final = "storage.googleapis.com"

# What a checkpoint, or what belongs to one, is called on hosts that hold other things too.
_MODEL: Final = re.compile(
    r"/.+\.(?:pth|pt|th|pkl|npz|npy|bin|onnx|safetensors|ckpt|h5|tflite|model|vocab|bpe|dict|json|yaml"
    r"|txt|gz|zip|tar|xz)\Z"
)

# ── NLTK ────────────────────────────────────────────────────────────────────────────────────────────

_NLTK: Final = "/nltk/nltk_data/gh-pages"
_INDEX: Final = f"https://{_RAW}{_NLTK}/index.xml"
_ATTRIBUTE: Final = re.compile(r'([a-z0-9_]+)="([^"]*)"')


def _of_nltk(place: Place) -> bool:
    return place.path.startswith(f"{_NLTK}/")


def _nltk(place: Place) -> Route:
    """NLTK's data: its index (``nltk/downloader.py``, 3.10) tells the digest of each package."""
    target = f"https://{_RAW}{place.path}"
    if target == _INDEX:
        return Route(target=target, kind=Kind.MOVING, document=True)
    aside = Aside(target=_INDEX, file=target, read=_package)
    return Route(target=target, kind=Kind.MOVING, aside=aside)


def _package(url: str, index: bytes) -> Told | None:
    """What the index says of the package at *url*."""
    at = index.find(f'url="{url}"'.encode())
    start, end = index.rfind(b"<package", 0, max(at, 0)), index.find(b"/>", at)
    if at < 0 or start < 0 or end < 0:
        return None
    said = dict(_ATTRIBUTE.findall(index[start:end].decode("utf-8", "replace")))
    try:
        sha256, md5 = said.get("sha256_checksum"), said.get("checksum")
        return Told(
            digest=Digest(SHA256, sha256) if sha256 else None,
            checks=(Check(MD5, md5),) if md5 else (),
            size=int(said["size"]) if "size" in said else None,
        )
    except ValueError:
        return None


def _nltk_short(rest: str, query: str) -> Place:
    """``/-/nltk/index.xml``, ``/-/nltk/packages/tokenizers/punkt_tab.zip``."""
    del query
    return Place(_RAW, f"{_NLTK}/{rest}")


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────


def _inside(folders: tuple[str, ...], place: Place) -> bool:
    return place.path.startswith(folders)


def _file(place: Place) -> Route:
    if not _MODEL.match(place.path):
        raise MalformedQuestionError(
            f"Of {place.host} only model files are served, by what their names end in.",
            hint="Ask that host directly for anything else.",
        )
    return Route(target=place.path, kind=Kind.PINNED, checks=name_checks(place.path))


def _folders(name: str, host: str, *folders: str) -> Family:
    """The files of *host* below *folders*."""
    takes: Callable[[Place], bool] = partial(_inside, folders)
    return Family(name=name, hosts=(host,), router=_file, takes=takes)


FAMILIES: Final = (
    Family(
        name="nltk",
        hosts=(_RAW,),
        router=_nltk,
        takes=_of_nltk,
        short={"/-/nltk/": _nltk_short},
    ),
    # keras 3.15, ``keras/src/applications``.
    _folders("keras", _STORAGE, "/tensorflow/keras-applications/"),
    # timm 1.0, the addresses of its models that are not on the Hub: Vision Transformers, BiT, BEiT.
    _folders("vision_transformers", _STORAGE, "/vit_models/", "/big_vision/", "/bit_models/"),
    _folders("beit", "conversationhub.blob.core.windows.net", "/beit-share-public/"),
    # Facebook's, a host of its own: DeiT, DINO, ConvNeXt, MAE, Segment Anything, fastText, fairseq.
    _folders("fbaipublicfiles", "dl.fbaipublicfiles.com", "/"),
)
