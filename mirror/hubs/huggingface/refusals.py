"""Every no, in the words that Hub clients understand.

``X-Error-Code`` decides which exception a client raises and whether it falls back to its own cache, so
it is set only where it is known to be true. "Not here, and upstream cannot be asked" is 501: clients
retry 408, 429 and the other 5xx for 23 seconds a file, and take a 404 for the truth (§1.5, §3 of the
protocol notes).
"""

import json
import math
from typing import Final

from mirror import errors
from mirror.hubs.huggingface.answers import PLAIN, document, header_text
from mirror.hubs.statuses import status_of
from mirror.messages import Answer

PUSH: Final = "modelmirror serves downloads only; push to huggingface.co directly."
_WARNED: Final = "modelmirror; "
# What a client is told to wait when upstream did not say: one page of the Hub's rate-limit window.
_RETRY_AFTER: Final = 10


def refuse(error: errors.MirrorError) -> Answer:
    """Word *error*: status, the headers clients look at, and the same sentence as JSON."""
    match error:
        case errors.UpstreamRefusedError():
            return _upstream(error)
        case errors.NotAllowedError():
            return _not_allowed(error)
        case errors.NotAdmittedError():
            return _not_admitted(error)
        case errors.UpstreamBusyError():
            seconds = (
                _RETRY_AFTER if error.retry_after is None else max(1, math.ceil(error.retry_after))
            )
            wait = (("Retry-After", str(seconds)), ("RateLimit", f'"api";r=0;t={seconds}'))
            return said(429, str(error), *wait)
        case errors.MethodRefusedError():
            return said(405, str(error), ("Allow", ", ".join(error.allowed)))
        case errors.OfflineError():
            return _offline(str(error))
        case _:
            return said(status_of(error), str(error))


def said(status: int, sentence: str, *headers: tuple[str, str]) -> Answer:
    """Answer *status* with *sentence*, where clients look for it."""
    body = json.dumps({"error": sentence}).encode()
    return document(body, ("X-Error-Message", header_text(sentence)), *headers, status=status)


def entry_not_found(path: str, revision: str, commit: str) -> Answer:
    """Say that *path* does not exist at *commit*: only with proof, since clients write it down for ever."""
    sentence = f"Entry {path!r} does not exist at revision {revision!r}."
    return said(404, sentence, ("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", commit))


def _offline(sentence: str) -> Answer:
    return said(501, sentence, ("X-HF-Warning", header_text(_WARNED + sentence)))


def _not_admitted(error: errors.NotAdmittedError) -> Answer:
    if not error.gated:
        # In the same words as for a repo never seen, so that nobody learns that it exists.
        return _offline(
            f"The Hub cannot be asked now, and modelmirror has no {error.repo} for you."
        )
    sentence = (
        f"Access to {error.repo} is restricted. "
        + (
            "Log in with a token of an account"
            if error.anonymous
            else "Ask for access with the account"
        )
        + " that may read it."
    )
    return said(401 if error.anonymous else 403, sentence, ("X-Error-Code", "GatedRepo"))


def _not_allowed(error: errors.NotAllowedError) -> Answer:
    """Say what the operator does not allow: git prints plain text alone, and asks for a password if told."""
    sentence = str(error)
    headers = [("X-Error-Message", header_text(sentence))]
    if error.anonymous:
        headers.append(("WWW-Authenticate", 'Basic realm="modelmirror", charset="UTF-8"'))
    status = 401 if error.anonymous else 403
    return document(f"{sentence}\n".encode(), *headers, status=status, content_type=PLAIN)


def _upstream(error: errors.UpstreamRefusedError) -> Answer:
    names = {
        "x-error-code": "X-Error-Code",
        "x-request-id": "X-Request-Id",
        "ratelimit": "RateLimit",
    }
    headers = tuple(
        (shown, header_text(error.headers[name]))
        for name, shown in names.items()
        if name in error.headers
    )
    sentence = error.headers.get("x-error-message") or error.message
    return said(error.status, sentence, *headers)
