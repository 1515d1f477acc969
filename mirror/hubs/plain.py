"""Answers for clients that know nothing but HTTP: heads no browser will run, refusals with a reason."""

import json
import math
import re
from typing import Final
from urllib.parse import quote

from mirror import errors
from mirror.hubs.statuses import status_of
from mirror.messages import Answer

OCTETS: Final = "application/octet-stream"

_LONGEST: Final = 500
_TYPE: Final = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+(?:; *charset=[a-zA-Z0-9-]+)?\Z", re.ASCII)
# What a browser would run or show as a page of the mirror's own origin.
_ACTIVE: Final = ("html", "xml", "javascript", "svg", "pdf")
_SAFE: Final = (
    ("Content-Security-Policy", "default-src 'none'; sandbox"),
    ("X-Content-Type-Options", "nosniff"),
)


def content_head(name: str, content_type: str) -> tuple[tuple[str, str], ...]:
    """The headers of an answer with the content of a file called *name*, of upstream's *content_type*."""
    kind = content_type.lower()
    if not _TYPE.match(kind) or any(word in kind for word in _ACTIVE):
        kind = OCTETS
    plain = re.sub(r'[^\x20-\x7e]|["\\;]', "_", name)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return (("Content-Type", kind), ("Content-Disposition", disposition), *_SAFE)


def header_text(text: str) -> str:
    """*text* as it may stand in a header."""
    return re.sub(r"[^\x20-\x7e]+", "?", text)


def staleness(age: float) -> tuple[tuple[str, str], ...]:
    """Tell that an answer is shown as it was *age* seconds ago: ``Age`` (RFC 9111 §5.1), and a sentence."""
    seconds = max(0, int(age))
    said = (
        f"modelmirror; upstream cannot be asked now: this is as it was {seconds // 60} minutes ago"
    )
    return (("X-HF-Warning", said), ("Age", str(seconds)))


def refuse(error: errors.MirrorError) -> Answer:
    """Word *error*: its status, and its sentence as JSON and as ``X-Error-Message``."""
    headers: tuple[tuple[str, str], ...] = ()
    match error:
        case errors.UpstreamRefusedError():
            status = error.status if 400 <= error.status < 500 else 502
        case errors.UpstreamBusyError():
            status = 429
            seconds = 10 if error.retry_after is None else max(1, math.ceil(error.retry_after))
            headers = (("Retry-After", str(seconds)),)
        case errors.NotAdmittedError():
            status = 401 if error.anonymous else 403
            if error.anonymous:
                headers = (("WWW-Authenticate", 'Basic realm="modelmirror", charset="UTF-8"'),)
        case errors.MethodRefusedError():
            status, headers = 405, (("Allow", ", ".join(error.allowed)),)
        case _:
            status = status_of(error)
    sentence = str(error)
    return Answer(
        status,
        (
            ("Content-Type", "application/json"),
            ("Cache-Control", "no-store"),
            ("X-Error-Message", header_text(sentence)[:_LONGEST]),
            *headers,
            *_SAFE,
        ),
        (json.dumps({"error": sentence}).encode(),),
    )
