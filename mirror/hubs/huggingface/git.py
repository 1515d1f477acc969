"""git and git-lfs: clone and fetch go through to upstream, objects come from the store.

Packs are made for each caller and cannot be kept, so the negotiation is a tunnel in which upstream
decides on every call with the caller's own credential. What is large in a clone is LFS objects, and those
are files of the repo like any others.
"""

import json
import re
from typing import Any, Final

from mirror.errors import MalformedQuestionError, MethodRefusedError
from mirror.hubs.base import Facts
from mirror.hubs.huggingface.answers import PLAIN, document
from mirror.hubs.huggingface.asking import LFS_JSON
from mirror.hubs.huggingface.grammar import checked_revision, clean_target, web_name
from mirror.hubs.huggingface.questions import Fixed, LfsBatch, StoredObject
from mirror.hubs.huggingface.refusals import PUSH
from mirror.hubs.huggingface.tokens import Pass, Seal
from mirror.hubs.huggingface.walks import canonical
from mirror.hubs.huggingface.xet import OBJECT
from mirror.messages import Answer, RequestHead, UpstreamRequest
from mirror.names import Access, Question, Repo, Tunnel

# git-lfs asks for 100 objects at a time, and lets itself be set to more.
MAX_OBJECTS: Final = 1000
# Not the Content-Encoding: bodies were decoded at the door.
_FORWARDED: Final = ("git-protocol", "content-type", "accept", "user-agent")
_OID: Final = re.compile(r"[0-9a-f]{64}\Z")


def recognise_git(
    head: RequestHead, body: bytes, repo: Repo, rest: list[str], seal: Seal
) -> Question:
    """Say what a git or git-lfs request below *repo* means; *rest* is what follows the id.

    Raises `MethodRefusedError` for uploads and `MalformedQuestionError` for what is neither.
    """
    match rest:
        case ["info", "refs"] if "service=git-receive-pack" in head.query.split("&"):
            # git prints a plain text body, and no header.
            return Fixed(status=403, headers=(("Content-Type", PLAIN),), body=f"{PUSH}\n".encode())
        case ["info", "refs"] if head.query == "service=git-upload-pack":
            return _tunnel(head, b"", "GET", repo)
        case ["info", "refs"]:
            raise MalformedQuestionError("Only git's smart protocol is served here.")
        case ["git-upload-pack"] if head.method == "POST":
            return _tunnel(head, body, "POST", repo)
        case ["info", "lfs", "objects", "batch"] if head.method == "POST":
            return _batch(body, repo)
        case ["info", "lfs", "objects", oid] if head.method in ("GET", "HEAD") and _OID.match(oid):
            return _object(head, repo, oid, seal)
        case ["git-receive-pack", *_] | ["info", "lfs", *_]:
            raise MethodRefusedError(PUSH)
        case _:
            raise MalformedQuestionError("This is no request of git's that is served here.")


def _tunnel(head: RequestHead, body: bytes, method: str, repo: Repo) -> Tunnel:
    headers = tuple((name, head.headers[name]) for name in _FORWARDED if name in head.headers)
    target = clean_target(head.path, head.query)
    return Tunnel(about=repo, request=UpstreamRequest(method, target, headers, body))


def _object(head: RequestHead, repo: Repo, oid: str, seal: Seal) -> Question:
    """An LFS object; a pass in the query stands for the caller who was given the link."""
    name, _, token = head.query.partition("=")
    if name != "pass":
        return StoredObject(repo=repo, access=Access.READ, sha256=oid)
    granted = seal.read(OBJECT, token)
    if granted is None or granted.content != oid:
        raise MalformedQuestionError("This download link was not made here.")
    return StoredObject(
        repo=granted.repo,
        access=Access.READ,
        sha256=oid,
        caller=granted.caller,
        expires=granted.expires,
        revision=granted.commit or "main",
    )


def _batch(body: bytes, repo: Repo) -> LfsBatch:
    try:
        asked = json.loads(body)
        operation, objects = asked["operation"], asked["objects"]
        ref = (asked.get("ref") or {}).get("name") or ""
        revision = ref.removeprefix("refs/heads/").removeprefix("refs/tags/") or "main"
        pairs = tuple((str(item["oid"]), int(item["size"])) for item in objects)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise MalformedQuestionError("This is not a git-lfs batch request.") from None
    if operation != "download":
        raise MethodRefusedError(PUSH)
    if len(pairs) > MAX_OBJECTS or not all(_OID.match(oid) for oid, _ in pairs):
        raise MalformedQuestionError(f"A batch names up to {MAX_OBJECTS} objects by their sha256.")
    return LfsBatch(
        repo=repo, access=Access.READ, revision=checked_revision(revision), objects=pairs
    )


def answer_batch(
    question: LfsBatch, facts: Facts, base_url: str, seal: Seal, lifetime: float
) -> Answer:
    """Tell git-lfs where each object is: always here, with a pass for callers who need one."""
    repo = canonical(question, facts)
    visibility = facts.visibility(repo)
    open_to_all = visibility is not None and not visibility.private and not visibility.gated
    expires = int(facts.now + lifetime)
    listed: list[dict[str, Any]] = []
    for oid, size in question.objects:
        found = facts.by_digest(repo, oid)
        if found is None:
            sentence = f"No revision of {repo.name} that modelmirror has seen has this object."
            listed.append({"oid": oid, "size": size, "error": {"code": 404, "message": sentence}})
            continue
        commit, entry = found
        href = f"{base_url}/{web_name(repo)}.git/info/lfs/objects/{oid}"
        if facts.caller or not open_to_all:
            href += "?pass=" + seal.sign(OBJECT, Pass(repo, commit, facts.caller, expires, oid))
        # With `authenticated`, git-lfs sends no credential of its own along.
        action = {"href": href, "expires_in": int(lifetime)}
        download = {"authenticated": True, "actions": {"download": action}}
        listed.append({"oid": oid, "size": entry.size, **download})
    body = json.dumps({"transfer": "basic", "objects": listed, "hash_algo": "sha256"}).encode()
    return document(body, content_type=LFS_JSON)
