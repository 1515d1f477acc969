"""Heads that every answer has: what browsers may do with it, nothing that a header cannot hold."""

import json
import re
from typing import Any, Final
from urllib.parse import quote

from mirror.hubs.huggingface.links import next_link, next_target, rebased, without_xet
from mirror.messages import Answer, Response

JSON: Final = "application/json; charset=utf-8"
PLAIN: Final = "text/plain; charset=utf-8"
OCTETS: Final = "application/octet-stream"

_EXPOSED: Final = (
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Link, X-Error-Code, "
    "X-Error-Message, X-HF-Warning, X-Linked-ETag, X-Linked-Size, X-Repo-Commit, X-Total-Count"
)
# Web pages may read everything a plain client gets, errors included (the Hub's JavaScript library).
CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", _EXPOSED),
)
PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, If-Range, Range"),
    ("Access-Control-Max-Age", "86400"),
)
# Nothing served may run as a page of the mirror's own origin.
_NO_PAGE: Final = (("Content-Security-Policy", "default-src 'none'; sandbox"),)
_KEPT: Final = (
    "x-total-count",
    "x-repo-commit",
    "docker-content-digest",
    "ratelimit",
    "ratelimit-policy",
)
_LINE: Final = re.compile(r"[\x00-\x1f\x7f]+")
_TYPES: Final = {
    "application/json": "json ipynb",
    PLAIN: "txt md py csv tsv yaml yml toml cfg ini sh html htm xml svg js css jsonl log gitattributes",
    "image/png": "png",
    "image/jpeg": "jpg jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "video/mp4": "mp4",
}
# What a browser could show as a document of its own, scripts included. Others stay inline, as on the Hub.
_DOCUMENTS: Final = frozenset(
    "htm html mht mhtml pdf shtml svg svgz swf xht xhtml xml xsl xslt".split()  # noqa: SIM905
)
_BY_SUFFIX: Final = {suffix: kind for kind, names in _TYPES.items() for suffix in names.split()}


def header_text(text: str, limit: int = 1000) -> str:
    """Fit *text* into a header value: one line of ASCII, at most *limit* characters.

    ASCII is what every reader of a header agrees on (RFC 9110 §5.5); other characters become ``?``.
    """
    line = _LINE.sub(" ", text).strip()[:limit]
    return line.encode("ascii", "replace").decode("ascii")


def document(
    body: bytes, *headers: tuple[str, str], status: int = 200, content_type: str = JSON
) -> Answer:
    """Answer with a small *body* and *headers* besides those that every answer has."""
    head = (("Content-Type", content_type), *headers, *_NO_PAGE, *CORS)
    return Answer(status, head, (body,) if body else (), ranges=False)


def json_document(value: Any, *headers: tuple[str, str], status: int = 200) -> Answer:
    """Answer with *value* as JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return document(body, *headers, status=status)


def passed(response: Response, base_url: str) -> Answer:
    """Pass upstream's whole answer on, every URL of it made the mirror's and no Xet hash left."""
    headers = [
        (name, header_text(response.headers[name])) for name in _KEPT if name in response.headers
    ]
    further = next_target(response.headers.get("link", ""), response.base)
    if further is not None:
        headers.append(("Link", next_link(further, base_url)))
    content_type = header_text(response.headers.get("content-type", JSON))
    body = response.body
    if "json" in content_type or content_type.startswith("text/"):
        body = without_xet(rebased(body, response.base, base_url))
    return document(body, *headers, status=response.status, content_type=content_type)


def content_type_of(path: str) -> str:
    """Choose a media type by the suffix of *path* that no browser will run: pages are plain text."""
    name = path.rpartition("/")[2]
    return _BY_SUFFIX.get(name.rpartition(".")[2].lower(), OCTETS) if "." in name else OCTETS


def disposition(path: str) -> str:
    """Write ``Content-Disposition`` for *path*; clients look for ``filename="…";`` with its semicolon."""
    name = path.rpartition("/")[2]
    shown = "attachment" if name.rpartition(".")[2].lower() in _DOCUMENTS else "inline"
    plain = re.sub(r'[\x00-\x1f\x7f"\\;]', "_", name).encode("ascii", "replace").decode()
    return f"{shown}; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";"


def file_head(path: str) -> tuple[tuple[str, str], ...]:
    """The headers of an answer that carries the content of a file called *path*."""
    return (
        ("Content-Type", content_type_of(path)),
        ("Content-Disposition", disposition(path)),
        *_NO_PAGE,
        *CORS,
    )
