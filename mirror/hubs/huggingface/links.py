"""URLs in and out: upstream's own base is taken off what comes in, the mirror's is put on what goes out.

Only path and query of a link are ever used, and only after they were checked, so an upstream cannot
lead the mirror to another host. Clients follow what they get verbatim, with their token.
"""

import base64
import binascii
import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

_NEXT: Final = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s;,=]+\s*=\s*(?:\"[^\"]*\"|[^\s;,\"]*))*)")
_REL_NEXT: Final = re.compile(r";\s*rel\s*=\s*(?:\"next\"|next)\s*(?:;|\Z)", re.IGNORECASE)
_CURSOR: Final = "mm-"

# Beyond this huggingface_hub refuses to fetch a file by plain HTTP (its MAX_HTTP_DOWNLOAD_SIZE), so its
# Xet hash is told: it leads to the mirror's own CAS.
MAX_PLAIN_HTTP: Final = 50_000_000_000


def local_target(url: str, base: str) -> str | None:
    """Take *base* off *url*, leaving path and query; `None` when no usable path is left.

    A link that names another host keeps only its path and query: an upstream that is itself a mirror
    may pass on links of the hub behind it.
    """
    if url.startswith(base + "/"):
        target = url[len(base) :]
    else:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        target = parts.path + (f"?{parts.query}" if parts.query else "")
    if not target.startswith("/") or target.startswith("//"):
        return None
    path = target.partition("?")[0]
    if any(part in (".", "..") for part in path.lower().replace("%2e", ".").split("/")):
        return None
    return target if all("!" <= character <= "~" for character in target) else None


def next_target(link: str, base: str) -> str | None:
    """Find the target of ``rel="next"`` in a ``Link`` header (RFC 8288), without its host."""
    for match in _NEXT.finditer(link):
        if _REL_NEXT.search(match[2]):
            return local_target(match[1], base)
    return None


def next_link(target: str, base_url: str) -> str:
    """Write a ``Link`` header that leads to *target* on the mirror."""
    return f'<{base_url}{target}>; rel="next"'


def rebased(body: bytes, base: str, base_url: str) -> bytes:
    """Replace upstream's *base* by *base_url* in every URL of *body*."""
    old, new = base.encode(), base_url.encode()
    for end in (b"/", b'"', b"?"):
        body = body.replace(old + end, new + end)
    return body


def without_xet(body: bytes) -> bytes:
    """Take the ``xetHash`` of every file that goes by plain HTTP out of a JSON *body*.

    A body that has none stays byte for byte as it is.
    """
    if b"xetHash" not in body:
        return body
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return body
    return json.dumps(_stripped(document), separators=(",", ":")).encode()


def needs_xet(size: object) -> bool:
    """Whether clients refuse to fetch a file of *size* bytes by plain HTTP."""
    return isinstance(size, int) and size > MAX_PLAIN_HTTP


def _stripped(node: Any) -> Any:
    if isinstance(node, dict):
        kept = needs_xet(node.get("size"))
        return {key: _stripped(item) for key, item in node.items() if kept or key != "xetHash"}
    if isinstance(node, list):
        return [_stripped(item) for item in node]
    return node


def cursor_after(path: str) -> str:
    """Make a cursor of ours that goes on after *path*."""
    return _CURSOR + base64.urlsafe_b64encode(path.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str | None:
    """Read a cursor of ours back; `None` for one that upstream gave out."""
    if not cursor.startswith(_CURSOR):
        return None
    text = cursor.removeprefix(_CURSOR)
    try:
        return base64.b64decode(
            text + "=" * (-len(text) % 4), altchars=b"-_", validate=True
        ).decode()
    except (binascii.Error, UnicodeError):
        return None
