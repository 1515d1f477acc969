"""Git over smart HTTP, and the Git LFS batch API.

The bare repositories are real, so the pack protocol is left to ``git http-backend``, run as the CGI
program it is (RFC 3875). Large contents are in LFS, so packs are small and may pass through memory.
"""

import asyncio
import json

from tests.origin.access import Call, Caller, admit, bad_login, refused
from tests.origin.objects import git_environment
from tests.origin.resolve import cdn_url
from tests.origin.wire import Refusal, Reply, json_reply

lfs_type = "application/vnd.git-lfs+json"
_challenge = {"WWW-Authenticate": 'Basic realm="Authentication required", charset="UTF-8"'}
_services = ("info/refs", "git-upload-pack")


async def smart_http(call: Call, service: str) -> Reply:
    """Answer a clone or fetch; pushes are refused."""
    request = call.request
    if service == "git-receive-pack" or request.parameter("service") == "git-receive-pack":
        raise no_write(call.caller)
    if service not in _services:
        raise refused(404, "Not found")
    _admit(call)
    folder = call.repo.git.path
    environment = {
        **git_environment(),
        "GIT_PROJECT_ROOT": str(folder.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "PATH_INFO": f"/{folder.name}/{service}",
        "QUERY_STRING": request.query,
        "REQUEST_METHOD": "GET" if request.method == "HEAD" else request.method,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        output, _ = await process.communicate(request.body)
    finally:
        if process.returncode is None:
            process.kill()
    return _cgi_reply(output)


def _cgi_reply(output: bytes) -> Reply:
    head, _, body = output.partition(b"\r\n\r\n")
    status = 200
    headers: dict[str, str] = {}
    for row in head.decode("latin-1").split("\r\n"):
        name, _, value = row.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    return Reply(status, headers, (body,), chunked=True)


def no_write(caller: Caller) -> Refusal:
    """Return the refusal of a write: repos change through the Python interface only."""
    if caller.token is None:
        return refused(401, bad_login, headers=_challenge)
    return refused(403, "You are not authorized to push to this repo.")


def challenged(refusal: Refusal) -> Refusal:
    """Return ``refusal`` with the challenge that makes git ask for a password, if it is a 401."""
    if refusal.reply.status == 401:
        refusal.reply.headers |= _challenge
    return refusal


def _admit(call: Call) -> None:
    try:
        admit(call)
    except Refusal as refusal:
        raise challenged(refusal) from None


def lfs_batch(call: Call) -> Reply:
    """Answer ``objects/batch`` (git-lfs docs/api/batch.md) with signed URLs of the CDN."""
    try:
        wish = json.loads(call.request.body)
        operation = wish["operation"]
        objects = [(str(row["oid"]), int(row["size"])) for row in wish["objects"]]
    except (ValueError, TypeError, KeyError):
        raise refused(422, "Invalid body") from None
    if operation != "download":
        raise no_write(call.caller)
    _admit(call)
    rows: list[dict[str, object]] = []
    for oid, size in objects:
        content = call.repo.lfs_contents.get(oid)
        row: dict[str, object] = {"oid": oid, "size": size}
        if content is None or content.size != size:
            row["error"] = {"code": 404, "message": "Object does not exist"}
        else:
            href = cdn_url(call.world, call.repo, oid, oid)
            row["authenticated"] = True
            row["actions"] = {
                "download": {"href": href, "expires_in": int(call.world.signed_url_lifetime)}
            }
        rows.append(row)
    return json_reply(
        {"transfer": "basic", "objects": rows, "hash_algo": "sha256"}, {"Content-Type": lfs_type}
    )
