"""``/resolve``, ``/api/resolve-cache`` and ``/raw``: how the Hub hands out file bytes."""

import gzip
import json
from urllib.parse import quote

from tests.origin.access import Call, Caller, admit, commit_of, no_entry, unauthenticated_warning
from tests.origin.content import Content, Entry
from tests.origin.ranges import serve
from tests.origin.repos import Commit, Repo
from tests.origin.wire import Reply, Request, text_reply, type_text
from tests.origin.world import World

_xet_info_type = "application/vnd.xet-fileinfo+json"
_exposed = (
    "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,"
    "Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash"
)
# Shorter texts are not worth compressing.
_gzip_from = 64
_text_sniff = 4096


def content_headers(request: Request, entry: Entry) -> dict[str, str]:
    """Return the type and disposition of a file outside LFS."""
    name = entry.path.rpartition("/")[2]
    return {
        "Content-Type": _media_type(entry.content),
        "Content-Disposition": disposition(name, attachment="download" in request.parameters),
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


def disposition(name: str, *, attachment: bool = False) -> str:
    """Return a Content-Disposition as the Hub writes it, final semicolon included."""
    plain = "".join(c if 32 <= ord(c) < 127 and c not in '"\\' else "?" for c in name)
    kind = "attachment" if attachment else "inline"
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";"


def _media_type(content: Content) -> str:
    start = content.head(_text_sniff)
    if b"\0" in start:
        return "application/octet-stream"
    try:
        start.decode()
    except UnicodeDecodeError as error:
        # A character cut in half by the sniffed length is still text.
        if error.start < len(start) - 3:
            return "application/octet-stream"
    return type_text


def _cors(caller: Caller) -> dict[str, str]:
    rows = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": _exposed,
        "RateLimit": '"resolvers";r=2999;t=300',
        "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300',
        "Vary": "Origin",
    }
    if caller.token is None:
        rows["X-HF-Warning"] = unauthenticated_warning
    return rows


def _locate(repo: Repo, revision: str, path: str) -> tuple[Commit, Entry]:
    commit = commit_of(repo, revision)
    entry = commit.files.get(path)
    if entry is None:
        raise no_entry(commit, "Entry not found", as_text=True)
    return commit, entry


def resolve(call: Call, revision: str, path: str) -> Reply:
    """Answer ``/{repo}/resolve/{revision}/{path}`` with a redirect to where the bytes are."""
    admit(call)
    commit, entry = _locate(call.repo, revision, path)
    rows = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes", **_cors(call.caller)}
    if entry.lfs:
        return _to_cdn(call, commit, entry, rows)
    repo, request = call.repo, call.request
    target = (
        f"/api/resolve-cache/{repo.kind}/{repo.name}/{commit.oid}/{quote(path)}"
        f"?{quote(request.path, safe='')}=&etag={quote(entry.etag, safe='')}"
    )
    rows["Location"] = target
    rows["Content-Disposition"] = content_headers(request, entry)["Content-Disposition"]
    return text_reply(f"Temporary Redirect. Redirecting to {target}", rows, status=307)


def _to_cdn(call: Call, commit: Commit, entry: Entry, rows: dict[str, str]) -> Reply:
    rows |= {"X-Linked-Size": str(entry.size), "X-Linked-ETag": entry.etag}
    if entry.xet_hash is not None:
        auth = f"{call.api}/xet-read-token/{commit.oid}"
        info = f"{call.world.cas_url}/v1/reconstructions/{entry.xet_hash}"
        rows["X-Xet-Hash"] = entry.xet_hash
        rows["Link"] = f'<{auth}>; rel="xet-auth", <{info}>; rel="xet-reconstruction-info"'
        if _xet_info_type in call.request.headers.get("accept", ""):
            body = json.dumps(
                {"hash": entry.xet_hash, "refreshUrl": auth, "reconstructionUrl": info}
            )
            return Reply(200, {**rows, "Content-Type": _xet_info_type}, (body.encode(),))
    name = entry.path.rpartition("/")[2]
    rows["Location"] = cdn_url(call.world, call.repo, entry.sha256, name)
    return text_reply(f"Found. Redirecting to {rows['Location']}", rows, status=302)


def cdn_url(world: World, repo: Repo, sha256: str, name: str) -> str:
    """Return a signed, expiring URL of an LFS content."""
    path = f"/repos/{repo.ident[:2]}/{repo.ident}/{sha256}"
    query = {
        "response-content-disposition": disposition(name),
        "response-content-type": "application/octet-stream",
    }
    return world.cdn_url + world.signer.url(path, query, world.signed_url_lifetime)


def resolve_cache(call: Call, revision: str, path: str) -> Reply:
    """Answer where ``resolve`` sends for a file outside LFS; the query is ignored."""
    admit(call)
    commit, entry = _locate(call.repo, revision, path)
    if entry.lfs:
        raise no_entry(commit, "Entry not found", as_text=True)
    rows = {
        "X-Repo-Commit": commit.oid,
        "ETag": entry.etag,
        **_cors(call.caller),
        **content_headers(call.request, entry),
    }
    accepts = call.request.headers.get("accept-encoding", "")
    compress = (
        "gzip" in accepts
        and rows["Content-Type"] == type_text
        and entry.size >= _gzip_from
        and "range" not in call.request.headers
    )
    reply = serve(call.request, entry.content, rows)
    if compress and reply.status == 200:
        reply.headers |= {
            "Content-Encoding": "gzip",
            "Vary": "Origin, Accept-Encoding",
            # Another representation must not carry the strong validator of the plain one.
            "ETag": f"W/{entry.etag}",
        }
        reply.headers.pop("Accept-Ranges")
        reply.body = (gzip.compress(entry.data, 6, mtime=0),)
        reply.chunked = True
    return reply


def raw(call: Call, revision: str, path: str) -> Reply:
    """Answer ``/{repo}/raw/{revision}/{path}`` with the git blob: the pointer of an LFS file."""
    admit(call)
    commit, entry = _locate(call.repo, revision, path)
    content = entry.content
    if entry.lfs:
        content = Content(len(entry.pointer), "", entry.pointer)
    rows = {
        "X-Repo-Commit": commit.oid,
        "ETag": f'"{entry.oid}"',
        **_cors(call.caller),
        **content_headers(call.request, entry),
        "Content-Type": type_text if entry.lfs else _media_type(content),
    }
    return serve(call.request, content, rows)
