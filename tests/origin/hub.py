"""The hub itself: which handler answers which path.

Repo ids have one or two segments, so a path is read with the set of words that may follow an id.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from tests.origin import cas, git, history, oci
from tests.origin.access import Call, admit, bad_login, find, identify, refused
from tests.origin.info import info, search
from tests.origin.listing import paths_info, tree
from tests.origin.parquet import parquet
from tests.origin.repos import kinds
from tests.origin.resolve import raw, resolve, resolve_cache
from tests.origin.wire import Refusal, Reply, Request, json_reply, text_reply
from tests.origin.world import World

# What may follow a repo id in a path.
_words = {
    *("resolve", "tree", "blob", "raw", "refs", "commit", "commits", "discussions", "settings"),
    *("revision", "paths-info", "xet-read-token", "xet-write-token", "parquet", "auth-check"),
    *("likers", "lfs-files", "preupload", "safetensors-metadata"),
    *("info", "git-upload-pack", "git-receive-pack", "manifests", "blobs"),
}
_commit = re.compile(r"[0-9a-f]{40}")
_not_found = "Sorry, we can't find the page you are looking for."


class Hub:
    """Stands for https://huggingface.co."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, request: Request) -> Reply:
        """Answer one request."""
        try:
            reply = await self._route(request)
        except Refusal as refusal:
            reply = refusal.reply
        digest = hashlib.sha256(f"{request.client} {request.target}".encode()).hexdigest()
        reply.headers.setdefault("X-Request-Id", f"Root=1-{digest[:8]}-{digest[8:32]}")
        reply.headers.setdefault("X-Powered-By", "huggingface-moon")
        return reply

    async def _route(self, request: Request) -> Reply:
        parts = [unquote(part) for part in request.path.split("/")[1:]]
        match parts:
            case ["api", *rest]:
                return self._below_api(request, rest)
            case ["v2", *rest]:
                return self._oci(request, rest)
            case ["datasets" | "spaces" | "kernels" as kind, *rest] if rest:
                return await self._web(request, kind, rest)
            case [""]:
                return text_reply("The hub.")
            case _:
                return await self._web(request, "models", parts)

    def _below_api(self, request: Request, parts: list[str]) -> Reply:
        match parts:
            case ["resolve-cache", kind, *rest] if kind in kinds:
                return self._resolve_cache(request, kind, rest)
            case [kind] if kind in kinds and _reads(request):
                return search(self._world, request, identify(self._world, request), kind)
            case [kind, *rest] if kind in kinds and rest:
                return self._api(request, kind, rest)
            case _:
                return self._service(request, parts)

    def _split(self, kind: str, parts: list[str]) -> tuple[str, list[str]]:
        """Return the repo id at the start of ``parts``, and what follows it."""
        if len(parts) < 2 or parts[1] in _words:
            long = "/".join(parts[:2])
            ambiguous = len(parts) > 2 and parts[2] in _words
            if not (ambiguous and self._world.shelf.find(kind, long)):
                return parts[0], parts[1:]
        return "/".join(parts[:2]), parts[2:]

    def _call(self, request: Request, kind: str, name: str) -> Call:
        caller = identify(self._world, request)
        return Call(self._world, request, caller, find(self._world, caller, kind, name, request))

    def _resolve_cache(self, request: Request, kind: str, rest: list[str]) -> Reply:
        for length in (1, 2):
            if len(rest) > length + 1 and _commit.fullmatch(rest[length]):
                call = self._call(request, kind, "/".join(rest[:length]))
                return resolve_cache(call, rest[length], "/".join(rest[length + 1 :]))
        raise refused(404, _not_found)

    def _api(self, request: Request, kind: str, parts: list[str]) -> Reply:
        name, rest = self._split(kind, parts)
        call = self._call(request, kind, name)
        word, tail = (rest[0], rest[1:]) if rest else ("", [])
        if request.method == "POST" and word == "paths-info":
            return paths_info(call, _revision(tail)[0])
        if not _reads(request) or word == "xet-write-token":
            raise git.no_write(call.caller)
        if word not in _answers:
            raise refused(404, _not_found)
        return _answers[word](call, tail)

    def _service(self, request: Request, rest: list[str]) -> Reply:
        if rest[:1] == ["telemetry"]:
            return Reply(200)
        if rest == ["agent-harnesses"]:
            return json_reply({"standardEnvVars": [], "harnesses": {}})
        caller = identify(self._world, request)
        if not _reads(request):
            raise git.no_write(caller)
        if rest == ["whoami-v2"]:
            if caller.user is None:
                raise refused(401, bad_login)
            return json_reply(
                {
                    "type": "user",
                    "id": hashlib.sha256(caller.user.encode()).hexdigest()[:24],
                    "name": caller.user,
                    "fullname": caller.user.title(),
                    "isPro": False,
                    "orgs": [],
                    "auth": {
                        "type": "access_token",
                        "accessToken": {"displayName": "test", "role": "read"},
                    },
                }
            )
        raise refused(404, _not_found)

    def _oci(self, request: Request, parts: list[str]) -> Reply:
        if parts in ([], [""]):
            return json_reply({}, {"Docker-Distribution-Api-Version": "registry/2.0"})
        if not _reads(request):
            raise git.no_write(identify(self._world, request))
        name, rest = self._split("models", parts)
        call = self._call(request, "models", name)
        match rest:
            case ["manifests", tag]:
                return oci.manifest(call, tag)
            case ["blobs", digest]:
                return oci.blob(call, digest)
            case _:
                raise refused(404, _not_found)

    async def _web(self, request: Request, kind: str, parts: list[str]) -> Reply:
        name, rest = self._split(kind, parts)
        if rest[:1] in (["info"], ["git-upload-pack"], ["git-receive-pack"]):
            return await self._git(request, kind, name, rest)
        call = self._call(request, kind, name)
        if not _reads(request):
            raise git.no_write(call.caller)
        match rest:
            case ["resolve" | "raw" as word, *path] if len(path) > 1:
                revision, file = _revision(path)
                return (resolve if word == "resolve" else raw)(call, revision, "/".join(file))
            case [] | ["tree" | "blob" | "commits" | "discussions", *_]:
                page = f"<!doctype html><title>{call.repo.name}</title>".encode()
                return Reply(200, {"Content-Type": "text/html; charset=utf-8"}, (page,))
            case _:
                raise refused(404, _not_found)

    async def _git(self, request: Request, kind: str, name: str, rest: list[str]) -> Reply:
        try:
            call = self._call(request, kind, name.removesuffix(".git"))
        except Refusal as refusal:
            raise git.challenged(refusal) from None
        match rest:
            case ["info", "lfs", "objects", "batch"] if request.method == "POST":
                return git.lfs_batch(call)
            case ["info", "lfs", *_]:
                raise refused(404, "Not found")
            case _:
                return await git.smart_http(call, "/".join(rest))


def _reads(request: Request) -> bool:
    return request.method in {"GET", "HEAD"}


def _revision(parts: list[str]) -> tuple[str, list[str]]:
    """Split a revision off the front; ``refs/pr/1`` may also come with its slashes unencoded."""
    if not parts:
        raise refused(404, _not_found)
    if len(parts) >= 3 and parts[0] == "refs" and parts[1] in {"pr", "convert"}:
        return "/".join(parts[:3]), parts[3:]
    return parts[0], parts[1:]


def _tree(call: Call, parts: list[str]) -> Reply:
    revision, folder = _revision(parts)
    return tree(call, revision, "/".join(folder).strip("/"))


def _auth_check(call: Call, _: list[str]) -> Reply:
    admit(call)
    return text_reply("OK")


# What a GET of ``/api/{kind}/{repo}/{word}/…`` is answered by.
_answers: Mapping[str, Callable[[Call, list[str]], Reply]] = {
    "": lambda call, _: info(call, "main"),
    "revision": lambda call, parts: info(call, _revision(parts)[0]),
    "tree": _tree,
    "refs": lambda call, _: history.refs(call),
    "commits": lambda call, parts: history.commits(call, _revision(parts)[0]),
    "xet-read-token": lambda call, parts: cas.read_token(call, _revision(parts)[0]),
    "auth-check": _auth_check,
    "parquet": parquet,
    "discussions": lambda _, __: json_reply({"discussions": [], "count": 0, "start": 0}),
    "likers": lambda _, __: json_reply([]),
}
