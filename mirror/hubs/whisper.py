"""OpenAI's file servers: Whisper and CLIP models, tiktoken's encodings.

Whisper (openai-whisper 20250625, ``whisper/__init__.py``) and CLIP put the sha256 of each file into its
address, so a second server is as good as the first. tiktoken (``tiktoken_ext/openai_public.py``) has them in
its source.
"""

import re
from typing import Final

from mirror.digest import SHA256, Digest
from mirror.errors import MalformedQuestionError
from mirror.hubs.places import Family, Kind, Place, Route

_CDN: Final = "openaipublic.azureedge.net"
# The same storage under its own name, for the day on which the CDN in front of it is switched off.
_STORAGE: Final = "openaipublic.blob.core.windows.net"

_HASHED: Final = re.compile(r"/.+/([0-9a-f]{64})/[^/]+\Z")
_HELP: Final = "Names are those of whisper.available_models(), like /-/whisper/base."

_MODELS: Final = "main/whisper/models"
# The 14 names of whisper's own table; two files have two names.
MODELS: Final = {
    "tiny.en": "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
    "tiny": "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
    "base.en": "25a8566e1d0c1e2231d1c762132cd20e0f96a85d16145c3a00adf5d1ac670ead",
    "base": "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
    "small.en": "f953ad0fd29cacd07d5a9eda5624af0f6bcf2258be67c92b79389873d91e0872",
    "small": "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
    "medium.en": "d7440d1dc186f76616474e0ff0b3b6b879abc9d1a4926b7adfa41db2d497ab4f",
    "medium": "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1",
    "large-v1": "e4b87e7e0bf463eb8e6956e646f1e277e901512310def2c24bf0e11bd3c28e9a",
    "large-v2": "81f7c96c852ee8fc832187b0132e569d6c3065a3252ed18e56effd0b6a73e524",
    "large-v3": "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb",
    "large-v3-turbo": "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
}
OTHER_NAMES: Final = {"large": "large-v3", "turbo": "large-v3-turbo"}

ENCODINGS: Final = {
    "/encodings/r50k_base.tiktoken": (
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
    ),
    "/encodings/p50k_base.tiktoken": (
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
    ),
    "/encodings/cl100k_base.tiktoken": (
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    ),
    "/encodings/o200k_base.tiktoken": (
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
    ),
    "/gpt-2/encodings/main/vocab.bpe": (
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
    ),
    "/gpt-2/encodings/main/encoder.json": (
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
    ),
}


def _whisper(place: Place) -> Route:
    """What lies on the CDN and its twin: files whose address says their sha256."""
    hashed = _HASHED.match(place.path)
    if hashed is None:
        raise MalformedQuestionError(
            "Of this host only files with their sha256 in the address are served.", hint=_HELP
        )
    return Route(target=place.path, kind=Kind.PROVEN, digest=Digest(SHA256, hashed[1]))


def _encoding(place: Place) -> Route:
    """An encoding of tiktoken, by its table."""
    known = ENCODINGS.get(place.path)
    if known is None:
        raise MalformedQuestionError("This is none of the encodings that tiktoken names.")
    return Route(target=place.path, kind=Kind.PROVEN, digest=Digest(SHA256, known))


def _storage(place: Place) -> bool:
    return place.path in ENCODINGS


def _short(rest: str, query: str) -> Place:
    """``/-/whisper/base``, ``/-/whisper/base.pt`` or ``/-/whisper/<sha256>/base.pt``."""
    del query
    name = rest.removesuffix(".pt")
    model = OTHER_NAMES.get(name, name)
    if model in MODELS:
        return Place(_CDN, f"/{_MODELS}/{MODELS[model]}/{model}.pt")
    return Place(_CDN, f"/{_MODELS}/{rest}")


FAMILIES: Final = (
    Family(
        name="tiktoken",
        hosts=(_STORAGE,),
        router=_encoding,
        takes=_storage,
    ),
    Family(
        name="whisper",
        hosts=(_CDN, _STORAGE),
        upstreams=2,
        router=_whisper,
        short={"/-/whisper/": _short},
    ),
)
