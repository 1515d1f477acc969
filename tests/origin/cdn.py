"""The CDN: another host, which knows nothing but signed URLs and contents."""

import hashlib

from tests.origin.content import Content
from tests.origin.ranges import serve
from tests.origin.wire import Reply, Request
from tests.origin.world import World

_part = 16 << 20


class Cdn:
    """Serves contents of the shelf to whoever holds a URL that the hub has signed."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, request: Request) -> Reply:
        """Answer one request."""
        if request.method not in {"GET", "HEAD"}:
            return _error(405, "MethodNotAllowed", "The method is not allowed.")
        if not self._world.signer.valid(request.path, request.query):
            return _error(
                403, "AccessDenied", "Access denied: the signature is invalid or expired."
            )
        content = self._world.shelf.content(request.path.rpartition("/")[2])
        if content is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        headers = {
            "ETag": etag_of(content),
            "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT",
            "Content-Type": request.parameter("response-content-type", "application/octet-stream"),
            "Content-Disposition": request.parameter("response-content-disposition"),
            "Cache-Control": "public, max-age=604800, immutable",
            "Access-Control-Allow-Origin": "*",
        }
        return serve(request, content, headers)


def etag_of(content: Content) -> str:
    """Return the ETag of an object stored in parts: strong, and no hash of the content."""
    digest = hashlib.md5(content.sha256.encode(), usedforsecurity=False).hexdigest()
    return f'"{digest}-{-(-content.size // _part) or 1}"'


def _error(status: int, code: str, message: str) -> Reply:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>'
        f"<Message>{message}</Message></Error>"
    )
    return Reply(status, {"Content-Type": "application/xml"}, (body.encode(),))
