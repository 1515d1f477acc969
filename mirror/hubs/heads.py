"""What the head of an answer tells of a file: its length, its version, a digest of it."""

import base64
import binascii

from mirror.digest import MD5, Check
from mirror.messages import Response
from mirror.names import Reply


def size_of(response: Response) -> int | None:
    """The length of the whole file in bytes; `None` where the host does not say."""
    if response.status == 206:
        total = response.headers.get("content-range", "").rpartition("/")[2]
    else:
        total = response.headers.get("content-length", "")
    return int(total) if total.isascii() and total.isdigit() else None


def version_of(reply: Reply) -> str:
    """What tells this version of a moving file from others.

    GitHub names the commit of an archive in the name that the file is to be saved under.
    """
    told = (
        reply.response.headers.get(name)
        for name in ("etag", "last-modified", "content-disposition")
    )
    return next(filter(None, told), f"seen {reply.seen_at}")


def published(response: Response) -> tuple[Check, ...]:
    """The MD5 that storage services tell of what they store (RFC 1864; Google's ``x-goog-hash``)."""
    headers = response.headers
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return ()  # It is of the bytes before they were unpacked.
    # Of what is sent (RFC 1864), where a part was asked for.
    told = [headers.get("content-md5", "") if response.status == 200 else ""]
    told += [
        part.strip().removeprefix("md5=")
        for part in headers.get("x-goog-hash", "").split(",")
        if part.strip().startswith("md5=")
    ]
    for text in filter(None, told):
        try:
            return (Check(MD5, base64.b64decode(text, validate=True).hex()),)
        except (binascii.Error, ValueError):
            continue
    return ()
