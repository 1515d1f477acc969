"""A small Hub repo in the Hub's own words, and requests of its clients."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from mirror.credential import Credential
from mirror.hubs.huggingface import HuggingFace
from mirror.messages import Answer, RequestHead
from tests.doubles.scripted_facts import Engine, ScriptedFacts, ScriptedUpstream

BASE: Final = "http://mirror.test:8090"
COMMIT: Final = "c" * 40
XET: Final = "e" * 64
CONFIG: Final = b'{"model_type": "bert"}'
WEIGHTS_SHA: Final = "a" * 64
WEIGHTS_SIZE: Final = 300_000
SECRET: Final = b"s" * 32
TREE: Final = "?recursive=true&expand=false"


def new_hub() -> HuggingFace:
    """A hub with the default lifetimes."""
    return HuggingFace(SECRET, tree_limit=100_000, ref_lifetime=60.0)


def git_oid(data: bytes) -> str:
    """The git object id of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def small(path: str, data: bytes) -> dict[str, Any]:
    """A listing element of a file that git holds itself."""
    return {"type": "file", "oid": git_oid(data), "size": len(data), "path": path}


def folder(path: str) -> dict[str, Any]:
    """A listing element of a directory."""
    return {"type": "directory", "oid": "d" * 40, "size": 0, "path": path}


def weights(path: str, *, xet: str | None = XET) -> dict[str, Any]:
    """A listing element of an LFS file."""
    lfs = {"oid": WEIGHTS_SHA, "size": WEIGHTS_SIZE, "pointerSize": 134}
    element = {"type": "file", "oid": "f" * 40, "size": WEIGHTS_SIZE, "lfs": lfs, "path": path}
    return element | ({"xetHash": xet} if xet else {})


ELEMENTS: Final = (
    small("config.json", CONFIG),
    small("empty.txt", b""),
    weights("model.safetensors"),
    folder("onnx"),
    small("onnx/naïve file+1.txt", b"x"),
)


def info(**more: Any) -> bytes:
    """The description of the repo."""
    described = {
        "_id": "621ffdc036468d709f17434d",
        "id": "acme/tiny-bert",
        "private": False,
        "gated": False,
        "sha": COMMIT,
        "lastModified": "2026-01-02T03:04:05.000Z",
        "siblings": [{"rfilename": e["path"]} for e in ELEMENTS if e["type"] == "file"],
    }
    return json.dumps(described | more).encode()


def tree(*elements: Mapping[str, Any]) -> bytes:
    """A page of a listing."""
    return json.dumps(list(elements), ensure_ascii=False).encode()


def upstream(
    api: str = "/api/models/acme/tiny-bert", *, xet: str | None = XET, **more: Any
) -> ScriptedUpstream:
    """An upstream that has the repo at *api*; *xet* is the Xet hash it shows to anybody."""
    scripted = ScriptedUpstream()
    elements = [weights("model.safetensors", xet=xet) if "lfs" in e else e for e in ELEMENTS]
    for revision in ("main", COMMIT):
        scripted.put(f"{api}/revision/{revision}", info(**more))
    scripted.put(f"{api}/tree/{COMMIT}{TREE}", tree(*elements))
    return scripted


def engine(
    scripted: ScriptedUpstream | None = None, *, caller: str = "", pages: int = 1000
) -> Engine:
    """The cache's loop around a new hub that knows nothing."""
    known = ScriptedFacts(caller=caller)
    return Engine(new_hub(), scripted or upstream(), known, pages)


def request(
    path: str,
    query: str = "",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
) -> RequestHead:
    """A client's request."""
    credential = None if token is None else Credential(f"Bearer {token}")
    return RequestHead(method, path, query, headers or {}, credential, BASE)


def header(answer: Answer, name: str) -> str | None:
    """The value of a header of *answer*."""
    return {key.lower(): value for key, value in answer.headers}.get(name.lower())


def text(answer: Answer) -> bytes:
    """The literal body of *answer*; fails on a span."""
    parts = [part for part in answer.body if isinstance(part, bytes)]
    assert len(parts) == len(answer.body)
    return b"".join(parts)


def parsed(answer: Answer) -> Any:
    """The JSON body of *answer*."""
    return json.loads(text(answer))
