"""The heads of what is sent upstream, and what is read from the heads that come back.

Requests are built from scratch: a hub may add headers, but those that frame the message, choose its
host or carry a secret are written here and nowhere else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from mirror import __version__
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import MalformedQuestionError
from mirror.messages import UpstreamRequest

USER_AGENT: Final = f"modelmirror/{__version__} (caching mirror of model hubs)"
VIA: Final = "1.1 modelmirror"

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_OWN: Final = frozenset({
    "accept-encoding", "authorization", "connection", "content-length", "cookie", "expect", "host",
    "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
# RFC 9110 §5.5, without obs-text: nothing that goes upstream needs it, and it is read in many ways.
_FIELD_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]+"')
_RATE_LIMIT_RESET: Final = re.compile(r"(?:^|;)\s*t=([0-9]{1,9})\s*(?:;|,|$)")
# A day: whoever says more does not mean it, and a float of it must stay usable as a delay.
_LONGEST_WAIT: Final = 86_400.0


def outgoing(
    request: UpstreamRequest,
    credential: Credential | None,
    extra: Sequence[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """Write the headers of *request*, without ``Host`` and ``Content-Length``.

    *extra* are headers of the caller's own (``Range``, ``If-Range``) and beat the request's. Bodies are
    always asked for unencoded. A hub that must speak as another client (llama.cpp's manifests) names
    its own ``User-Agent``; whoever knows the way a request came writes ``Via``. Raises
    `MalformedQuestionError` for a value that may not stand in a header; the only ones from outside are
    the credential and what a hub copies from a client.
    """
    given = {name.lower() for name, _ in request.headers}
    headers = [("Accept-Encoding", "identity")]
    headers += [
        line for line in (("User-Agent", USER_AGENT), ("Via", VIA)) if line[0].lower() not in given
    ]
    taken = _OWN | {name.lower() for name, _ in extra}
    headers += [(name, value) for name, value in request.headers if name.lower() not in taken]
    if not any(name.lower() == "accept" for name, _ in headers):
        headers.append(("Accept", "*/*"))
    headers += extra
    if credential is not None:
        headers.append(("Authorization", credential.header))
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise MalformedQuestionError(
                f"The header {name!r} holds characters that may not be sent."
            )
    return headers


def lowered(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Fold header lines into a map with lower-case names, repeated ones joined by ``, ``."""
    folded: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        folded[key] = f"{folded[key]}, {value.strip()}" if key in folded else value.strip()
    return folded


def retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    """Say in how many seconds to come back, at most a day; `None` if the answer does not tell.

    Read from ``Retry-After`` in seconds or as a date (RFC 9110 §10.2.3), else from the Hub's
    ``RateLimit: "api";r=0;t=55``, after whose *t* seconds its window begins anew.
    """
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _LONGEST_WAIT)
    if value:
        try:
            return min(
                max(0.0, parsedate_to_datetime(value).timestamp() - clock.wall()), _LONGEST_WAIT
            )
        except (ValueError, OverflowError):
            pass
    match = _RATE_LIMIT_RESET.search(headers.get("ratelimit", ""))
    return min(float(match[1]) + 1.0, _LONGEST_WAIT) if match else None


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """The ETag with its quotes if it is a strong one, else `None` (RFC 9110 §8.8.3)."""
    etag = headers.get("etag", "")
    return etag if _STRONG_ETAG.fullmatch(etag) else None
