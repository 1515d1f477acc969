"""The elements of the Hub's listings: read into entries, written back out as upstream sent them."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mirror.digest import GIT_SHA1, SHA256, Digest
from mirror.errors import UpstreamUnreachableError
from mirror.hubs.huggingface.links import needs_xet
from mirror.names import Entry

REDACTED: Final = "****"
# No file system holds more, and no database takes a larger number.
MAX_SIZE: Final = 1 << 63
_XET: Final = re.compile(r"[0-9a-f]{64}\Z")
_GAP: Final = re.compile(r"[\s,]*")


def read_entries(body: bytes) -> tuple[list[Entry], bool]:
    """Read a JSON array of listing elements, each kept verbatim in `Entry.raw`.

    Returns the entries and whether upstream hid a Xet hash in one of them. Elements that are neither
    file nor directory (git submodules) are left out. Raises `UpstreamUnreachableError` for anything that
    is not such an array.
    """
    try:
        text = body.decode()
        at = _array_start(text)
        decoder = json.JSONDecoder()
        entries: list[Entry] = []
        redacted = False
        while True:
            gap = _GAP.match(text, at)
            at = at if gap is None else gap.end()
            if text[at : at + 1] == "]":
                return entries, redacted
            element, end = decoder.raw_decode(text, at)
            entry = _entry(element, text[at:end].encode())
            if entry is not None:
                entries.append(entry)
                redacted = redacted or element.get("xetHash") == REDACTED
            at = end
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise UpstreamUnreachableError("The Hub sent a file listing that cannot be read.") from None


def _array_start(text: str) -> int:
    at = text.index("[")
    if text[:at].strip():
        raise ValueError("not an array")
    return at + 1


def _entry(element: Mapping[str, Any], raw: bytes) -> Entry | None:
    kind, path, oid = element["type"], element["path"], str(element.get("oid") or "")
    if not isinstance(path, str) or not path.encode():  # raises for half a surrogate pair
        raise ValueError("a path is missing")
    if kind == "directory":
        return Entry(path, kind, 0, None, oid, None, raw)
    if kind != "file":
        return None
    lfs = element.get("lfs")
    if lfs:
        digest, size = Digest(SHA256, lfs["oid"].removeprefix("sha256:")), int(lfs["size"])
    else:
        digest, size = Digest(GIT_SHA1, oid), int(element["size"])
    if not 0 <= size < MAX_SIZE:
        raise ValueError("a size is impossible")
    xet = element.get("xetHash")
    known = xet if isinstance(xet, str) and _XET.match(xet) else None
    return Entry(path, kind, size, digest, oid, known, raw)


def written(
    entry: Entry,
    *,
    reader: bool = True,
    chained: bool = False,
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """Write the element of *entry* back, with *more* keys.

    Its Xet hash is left out unless *chained*, or unless clients cannot fetch the file without it; and
    always for who is no *reader*, for upstream hides it from them.
    """
    told = reader and (chained or needs_xet(entry.size))
    hide = not told and b"xetHash" in entry.raw
    if not hide and not more:
        return entry.raw
    element = json.loads(entry.raw)
    if hide:
        element.pop("xetHash", None)
    element.update(more or {})
    return json.dumps(element, separators=(",", ":")).encode()


def array(elements: Iterable[bytes]) -> bytes:
    """Write JSON *elements* as an array."""
    return b"[" + b",".join(elements) + b"]"


def is_lfs(entry: Entry) -> bool:
    """Tell whether git holds a pointer for this file and its content is named by sha256."""
    return entry.digest is not None and entry.digest.algorithm == SHA256


def pointer_text(entry: Entry) -> bytes:
    """Write the git-lfs pointer of *entry* (git-lfs specification, "The Pointer")."""
    hexadecimal = "" if entry.digest is None else entry.digest.hex
    text = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{hexadecimal}\nsize {entry.size}\n"
    )
    return text.encode()


def sibling(entry: Entry, *, blobs: bool) -> dict[str, Any]:
    """Describe a file as an element of a repo's ``siblings``; with *blobs*, its sizes and digests too."""
    described: dict[str, Any] = {"rfilename": entry.path}
    if not blobs:
        return described
    described |= {"blobId": entry.oid, "size": entry.size}
    if is_lfs(entry) and entry.digest is not None:
        lfs = {
            "sha256": entry.digest.hex,
            "size": entry.size,
            "pointerSize": len(pointer_text(entry)),
        }
        described["lfs"] = lfs
    return described
