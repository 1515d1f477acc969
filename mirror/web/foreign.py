"""What a hub holds must never become a page of ours: the headers that see to it, on every answer of a hub.

Four walls, each of which would do alone: a type that no browser runs, ``nosniff`` (in `Heads`), a sandbox
without scripts or origin, and ``attachment`` for whatever a browser could still show as a document.
"""

import re
from typing import Final

# What browsers may read of an answer (transformers.js does): the Hub's own list.
_EXPOSED: Final = (
    "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,"
    "Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag"
)
SANDBOX: Final = ("Content-Security-Policy", "default-src 'none'; sandbox")
_LINES: Final = {
    "access-control-allow-origin": ("Access-Control-Allow-Origin", "*"),
    "access-control-expose-headers": ("Access-Control-Expose-Headers", _EXPOSED),
}
# Types that no browser makes a document with scripts of. SVG is an image that is one.
_HARMLESS: Final = re.compile(
    r"(?:text/plain|text/csv|application/(?:[\w.-]+\+)?json|application/(?:octet-stream|x-ndjson)"
    r"|image/(?!svg)[\w.+-]+|audio/[\w.+-]+|video/[\w.+-]+)\s*(?:;.*)?",
    re.ASCII | re.IGNORECASE,
)


def walled(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return *headers* of a hub's answer with those added and changed that keep it from being a page."""
    values = {name.lower(): value for name, value in headers}
    added = [line for name, line in _LINES.items() if name not in values]
    policy = values.get("content-security-policy")
    if policy != SANDBOX[1]:
        headers = headers if policy is None else _without(headers, "content-security-policy")
        added.append(SANDBOX)
    kind = values.get("content-type")
    if kind is not None and _HARMLESS.fullmatch(kind) is None:
        shown, _, parameters = values.get("content-disposition", "").partition(";")
        if shown.strip().lower() != "attachment":
            headers = _without(headers, "content-disposition")
            mark = f"attachment;{parameters}" if parameters else "attachment"
            added.append(("Content-Disposition", mark))
    return (*headers, *added) if added else headers


def _without(headers: tuple[tuple[str, str], ...], name: str) -> tuple[tuple[str, str], ...]:
    return tuple(line for line in headers if line[0].lower() != name)
