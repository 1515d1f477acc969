"""Facts to fill an index with: small, made from names alone, so that a test can say what it expects."""

import hashlib
import json
from typing import Final

from mirror.digest import GIT_SHA1, SHA256, Digest
from mirror.messages import Response
from mirror.names import Entry, Reply, Repo, Snapshot, SnapshotState

REPO: Final = Repo("huggingface", "models/acme/tiny-bert")
OTHER: Final = Repo("huggingface", "datasets/acme/tiny-bert")
COMMIT: Final = "c0ffee" + "0" * 34
LATER: Final = "deadbeef" + "0" * 32
NOON: Final = 1_750_000_000.0


def sha256(text: str) -> Digest:
    """A sha256 that stands for the content called *text*."""
    return Digest(SHA256, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def git_sha1(text: str) -> Digest:
    """A git sha1 that stands for the content called *text*."""
    return Digest(GIT_SHA1, sha256(f"git {text}").hex[:40])


def xet(text: str) -> str:
    """A Xet hash that stands for the content called *text*."""
    return sha256(f"xet {text}").hex


def small(path: str, content: str = "", size: int = 10) -> Entry:
    """A small file, named by its git sha1, with its element as the Hub writes it."""
    digest = git_sha1(content or path)
    element = {"type": "file", "oid": digest.hex, "size": size, "path": path}
    return Entry(path, "file", size, digest, digest.hex, None, _element(element))


def large(path: str, content: str = "", size: int = 10**9, *, hidden: bool = False) -> Entry:
    """A large file, named by its sha256; with *hidden* its Xet hash is redacted."""
    digest, oid = sha256(content or path), git_sha1(f"pointer {content or path}").hex
    known = "****" if hidden else xet(content or path)
    lfs = {"oid": digest.hex, "size": size, "pointerSize": 125 + len(str(size))}
    element = {"type": "file", "oid": oid, "size": size, "lfs": lfs, "xetHash": known, "path": path}
    return Entry(path, "file", size, digest, oid, known, _element(element))


def folder(path: str) -> Entry:
    """A folder as trees list it."""
    oid = git_sha1(f"folder {path}").hex
    element = {"type": "directory", "oid": oid, "size": 0, "path": path}
    return Entry(path, "directory", 0, None, oid, None, _element(element))


def head(
    state: SnapshotState = SnapshotState.COMPLETE,
    *,
    repo: Repo = REPO,
    commit: str = COMMIT,
    view: str = "full",
    info: bytes = b'{"id":"acme/tiny-bert"}',
    seen_at: float = NOON,
) -> Snapshot:
    """The head of a file list."""
    return Snapshot(repo, commit, state, view, info, seen_at)


def reply(key: str, body: bytes = b"{}", *, lasting: bool = True) -> Reply:
    """Upstream's answer to a document request."""
    response = Response(
        200,
        {"content-type": "application/json", "x-odd": "caf\xe9"},
        body,
        "https://hub.example",
        f"https://hub.example/{key}",
    )
    return Reply(key, response, NOON, lifetime=60.0, lasting=lasting)


def _element(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
