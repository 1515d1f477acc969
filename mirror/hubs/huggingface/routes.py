"""The Hub's URL map: a request's head and body become a question.

The Hub lives at the root, so that ``HF_ENDPOINT`` is all that a client sets. What is not of the Hub's
grammar is not claimed; what is, and cannot be answered, is refused with a sentence.
"""

import json
import re
from dataclasses import replace
from typing import Final

from mirror.digest import Digest
from mirror.errors import MalformedQuestionError, MethodRefusedError, QuestionError
from mirror.hubs.huggingface.answers import PREFLIGHT, header_text
from mirror.hubs.huggingface.api import is_chained, recognise_api
from mirror.hubs.huggingface.git import recognise_git
from mirror.hubs.huggingface.grammar import (
    KINDS,
    WEB_WORDS,
    checked_path,
    parameters,
    repo_of,
    segments,
    take_revision,
    value,
)
from mirror.hubs.huggingface.questions import (
    Fixed,
    OciManifest,
    Reconstruction,
    RepoFile,
    StoredObject,
    Xorb,
)
from mirror.hubs.huggingface.refusals import PUSH
from mirror.hubs.huggingface.tokens import Pass, Seal
from mirror.hubs.huggingface.xet import READ, XORB
from mirror.hubs.huggingface.xorbs import xorb_count, xorb_name
from mirror.messages import RequestHead
from mirror.names import Access, Question, Repo

_READS: Final = ("GET", "HEAD")
_HASH: Final = re.compile(r"[0-9a-f]{64}\Z")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_INDEX: Final = re.compile(r"[0-9]{1,7}\Z", re.ASCII)
_REGISTRY: Final = (("Docker-Distribution-Api-Version", "registry/2.0"),)
# The one client whose manifest differs: the Hub adds the names of its files for it.
_LLAMA: Final = "llama-cpp"


def recognise(
    head: RequestHead, body: bytes, seal: Seal, search_lifetime: float
) -> Question | None:
    """Say what a request means, `None` if it is not the Hub's; see `mirror.hubs.base.Hub`."""
    if head.method == "OPTIONS":
        return _preflight(head, seal, search_lifetime)
    first = head.path.removeprefix("/").partition("/")[0]
    if not first or (first == "-" and not head.path.startswith("/-/cas/")):
        return None
    parts = segments(head.path)
    match first:
        case "-":
            return _cas(head, parts[2:], seal)
        case "api" if parts[1:2] == ["v1"]:
            return None  # Kaggle's; the Hub's has no number.
        case "api":
            return recognise_api(head, body, parts[1:], search_lifetime)
        case "v2":
            return _registry(head, parts[1:])
        case "buckets":
            raise MalformedQuestionError(
                "Buckets change without a trace and are not mirrored.",
                hint="Ask huggingface.co directly.",
            )
        case _:
            return _web(head, body, parts, seal)


def _preflight(head: RequestHead, seal: Seal, search_lifetime: float) -> Question | None:
    """Let web pages ask whatever a plain client may (Fetch standard, CORS preflight)."""
    method = head.headers.get("access-control-request-method", "GET").upper()
    try:
        known = recognise(replace(head, method="GET"), b"", seal, search_lifetime) is not None
    except QuestionError:
        known = True  # the request itself will be told what is wrong with it
    if not known:
        return None
    if method not in (*_READS, "POST"):
        raise MethodRefusedError(PUSH)
    return Fixed(status=204, headers=PREFLIGHT, body=b"")


def _web(head: RequestHead, body: bytes, parts: list[str], seal: Seal) -> Question | None:
    """A request below a repo at the root: a file, or git."""
    kind = parts[0] if parts[0] in KINDS[1:] else "models"
    rest = parts if kind == "models" else parts[1:]
    length = _web_id_length(rest)
    if length is None:
        return None
    names, word, tail = rest[:length], rest[length], rest[length:]
    if word in ("info", "git-upload-pack", "git-receive-pack"):
        names = [*names[:-1], names[-1].removesuffix(".git")]
        repo = repo_of(kind, names)
        git_post = tail in (["git-upload-pack"], ["info", "lfs", "objects", "batch"])
        if head.method not in (("POST",) if git_post else _READS):
            raise MethodRefusedError(PUSH, allowed=("POST",) if git_post else _READS)
        return recognise_git(head, body, repo, tail, seal)
    repo = repo_of(kind, names)
    if head.method not in _READS:
        raise MethodRefusedError(PUSH)
    revision, path = take_revision(tail[1:])
    return file_question(head, repo, revision, "/".join(path), raw=word == "raw")


def _web_id_length(parts: list[str]) -> int | None:
    """Count the segments of the id before a word that is served here; `None` where there is none."""
    for length in (1, 2):
        if len(parts) <= length or parts[length] not in WEB_WORDS:
            continue
        if parts[length] == "info" and parts[length + 1 : length + 2] not in (["refs"], ["lfs"]):
            continue
        return length
    return None


def file_question(
    head: RequestHead, repo: Repo, revision: str, path: str, *, raw: bool = False
) -> RepoFile:
    """Ask for one file of *repo*; raises `MalformedQuestionError` for a path that cannot be."""
    return RepoFile(
        repo=repo,
        access=Access.READ,
        revision=revision,
        path=checked_path(path),
        raw=raw,
        chained=is_chained(head),
    )


def _registry(head: RequestHead, parts: list[str]) -> Question | None:
    """The Hub as a container registry (OCI distribution specification 1.1, pull only)."""
    if parts[:1] == ["library"]:
        return None
    if head.method not in _READS:
        raise MethodRefusedError(PUSH)
    match parts:
        case [] | [""]:
            return Fixed(headers=_REGISTRY)
        case [*names, "manifests", tag] if len(names) in (1, 2) and _TAG.match(tag):
            agent = _LLAMA if head.headers.get("user-agent", "").startswith(_LLAMA) else ""
            repo = repo_of("models", names)
            return OciManifest(repo=repo, access=Access.READ, tag=tag, agent=agent)
        case [*names, "blobs", name] if len(names) in (1, 2):
            algorithm, _, oid = name.partition(":")
            if algorithm != "sha256" or not _HASH.match(oid):
                raise MalformedQuestionError("A layer is named by its sha256.")
            return StoredObject(
                repo=repo_of("models", names), access=Access.READ, sha256=oid, oci=True
            )
        case _:
            raise MalformedQuestionError("This is no manifest and no layer of a registry.")


def _cas(head: RequestHead, parts: list[str], seal: Seal) -> Question:
    """The mirror's own Xet content store."""
    match parts:
        case [("v1" | "v2"), "telemetry"]:
            return Fixed()
        case _ if head.method not in _READS:
            raise MethodRefusedError(PUSH)
        case [("v1" | "v2") as version, "reconstructions", xet_hash] if _HASH.match(xet_hash):
            scheme, _, token = (
                "" if head.credential is None else head.credential.header
            ).partition(" ")
            granted = seal.read(READ, token.strip()) if scheme.lower() == "bearer" else None
            if granted is None:
                return refused(401, "This is not a token that was made here; ask for a new one.")
            return Reconstruction(
                repo=granted.repo,
                access=Access.READ,
                caller=granted.caller,
                expires=granted.expires,
                commit=granted.commit,
                xet_hash=xet_hash,
                version=int(version[1]),
                span=head.headers.get("range"),
            )
        case ["xorbs", name]:
            pairs = parameters(head.query)
            granted = seal.read(XORB, value(pairs, "pass"))
            index = value(pairs, "index")
            if granted is None or not _INDEX.match(index):
                return refused(
                    403, "This link was not made here; ask for the reconstruction again."
                )
            return _xorb(granted, name, int(index))
        case _:
            return refused(404, "The mirror's content store has nothing of this name.")


def _xorb(granted: Pass, name: str, index: int) -> Question:
    digest, _, size = granted.content.partition(" ")
    if index >= xorb_count(int(size)) or name != xorb_name(Digest.parse(digest), index):
        return refused(403, "This link was not made here; ask for the reconstruction again.")
    return Xorb(
        repo=granted.repo,
        access=Access.READ,
        caller=granted.caller,
        expires=granted.expires,
        commit=granted.commit,
        digest=digest,
        size=int(size),
        index=index,
    )


def refused(status: int, sentence: str) -> Fixed:
    """Answer *status* with *sentence* whoever asks."""
    body = json.dumps({"error": sentence}).encode()
    return Fixed(status=status, headers=(("X-Error-Message", header_text(sentence)),), body=body)
