"""How the door says no, where no hub has words of its own for it.

Two tables turn every error into a status. What a caller did, and what upstream said, goes out in the
error's own sentence. What is this machine's fault has a sentence of its kind here and a name: the error's
own words, which may tell of folders, are in the log under that name. Each sentence goes out as JSON for
programs and as ``X-Error-Message``, because that is what Hugging Face's clients print. A status that clients
retry (502, 503) is used only where trying again can succeed.
"""

import json
from collections.abc import Iterable
from math import ceil
from typing import Final

from mirror.errors import (
    FOR_CALLERS,
    DigestMismatchError,
    ForbiddenTargetError,
    LoopError,
    MalformedQuestionError,
    MethodRefusedError,
    MirrorError,
    NotAdmittedError,
    OfflineError,
    QuestionError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    TooLargeError,
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.messages import Answer

# Long enough for any sentence of ours, short enough for the 8 KiB a client accepts as one line.
_HEADER_LIMIT: Final = 500


class HeadTooLargeError(QuestionError):
    """The header fields of a request are too many bytes together."""


# The status of each error, and after how many seconds a retry can succeed. The first class that fits
# counts, so subclasses stand before their bases.
_TABLE: Final[tuple[tuple[type[MirrorError], int, int | None], ...]] = (
    (HeadTooLargeError, 431, None),
    (TooLargeError, 413, None),
    (MalformedQuestionError, 400, None),
    (LoopError, 508, None),  # RFC 5842 §7.2
    (QuestionError, 400, None),
    (OfflineError, 501, None),
    (UpstreamUnreachableError, 502, 10),
    (TruncatedBodyError, 502, 1),
    (ForbiddenTargetError, 502, None),
    (UpstreamUnavailableError, 502, 10),
)
_FAULTS: Final[tuple[tuple[type[Exception], int, int | None, str], ...]] = (
    (
        DigestMismatchError,
        502,
        10,
        "What upstream sent is not what its name says; it was thrown away.",
    ),
    (StoreFullError, 507, None, "The mirror's disk has no room for this file."),
    (StoreCorruptError, 503, 5, "A stored file was found damaged; it is fetched anew."),
    (StoreError, 500, None, "The mirror's disk failed on this request."),
    (Exception, 500, None, "The mirror failed on this request."),
)


def foreseen(error: Exception) -> bool:
    """Tell whether *error* is a refusal with a sentence for its caller, rather than a fault of ours."""
    return isinstance(error, FOR_CALLERS)


def refuse(error: MirrorError) -> Answer:
    """Turn a foreseen *error* into an answer; the most derived class in the table decides."""
    message = str(error)
    if isinstance(error, MethodRefusedError):
        return refusal(405, message, [("Allow", ", ".join(error.allowed))])
    if isinstance(error, NotAdmittedError):
        code = "GatedRepo" if error.gated else "RepoNotFound"
        return refusal(401 if error.anonymous else 403, message, [("X-Error-Code", code)])
    if isinstance(error, UpstreamRefusedError):
        return refusal(error.status if 400 <= error.status < 500 else 502, message)
    if isinstance(error, UpstreamBusyError):
        wait = 30 if error.retry_after is None else max(1, ceil(error.retry_after))
        return refusal(503, message, [("Retry-After", str(wait))])
    for kind, status, retry in _TABLE:
        if isinstance(error, kind):
            again = [] if retry is None else [("Retry-After", str(retry))]
            return refusal(status, message, again)
    return refusal(500, message)  # `UpstreamError` itself


def fault(error: Exception, name: str) -> Answer:
    """Turn a fault of ours into an answer that tells its kind, and *name*, under which the log tells all."""
    status, retry, sentence = next(row[1:] for row in _FAULTS if isinstance(error, row[0]))
    again = [] if retry is None else [("Retry-After", str(retry))]
    return refusal(status, f"{sentence} Its log tells why under {name}.", again)


def refusal(status: int, message: str, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """Word a refusal: *message* as JSON and as ``X-Error-Message``, beside *headers*."""
    return Answer(
        status,
        (
            ("Content-Type", "application/json"),
            ("Cache-Control", "no-store"),
            ("X-Error-Message", header_text(message)),
            *headers,
        ),
        (json.dumps({"error": message}).encode(),),
        found="refused",
    )


def header_text(message: str) -> str:
    """Make *message* fit to be a header: printable ASCII, one line, at most 500 characters."""
    text = message.encode("ascii", "replace").decode("ascii")
    return "".join(c if c.isprintable() else " " for c in text)[:_HEADER_LIMIT]
