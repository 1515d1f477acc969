"""Judging an answer by its head, before a byte of it is believed.

A CDN may ignore ``Range`` or ``If-Range``, replace the file between two attempts, or send a login page
with 200. Each of these has cost some cache its integrity, so what does not fit exactly is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mirror.clock import Clock
from mirror.errors import (
    UpstreamBusyError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.upstream.failures import (
    OtherSizeError,
    ProxyRefusedError,
    RestartNeededError,
    StorageRefusedError,
    unreachable,
)
from mirror.upstream.heads import retry_after, strong_etag

# What of a refusal is worth passing on: the Hub's clients choose their exception by these.
_PASSED_ON: Final = (
    "content-type", "ratelimit", "retry-after", "www-authenticate",
    "x-error-code", "x-error-message", "x-repo-commit",
)  # fmt: skip
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.ASCII)
_LENGTH: Final = re.compile(r"[0-9]{1,19}(?:, *[0-9]{1,19})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The bytes that were asked for: *start* up to *end* of a blob of *size*; *validator* to resume."""

    start: int
    end: int
    size: int
    validator: str | None

    @property
    def ranged(self) -> bool:
        """Whether it takes a ``Range`` to ask for them."""
        return self.start > 0 or self.end < self.size

    def headers(self) -> list[tuple[str, str]]:
        """The ``Range`` and ``If-Range`` that ask for them (RFC 9110 §14.2, §13.1.5)."""
        if not self.ranged:
            return []
        last = "" if self.end == self.size else str(self.end - 1)
        headers = [("Range", f"bytes={self.start}-{last}")]
        if self.strong is not None:
            headers.append(("If-Range", self.strong))
        return headers

    @property
    def strong(self) -> str | None:
        """The validator if it is strong; a weak one promises meaning, not bytes (RFC 9110 §13.1.5)."""
        return None if self.validator is None or self.validator.startswith("W/") else self.validator


def check_available(status: int, headers: Mapping[str, str], host: str, clock: Clock) -> None:
    """Raise `UpstreamBusyError` for 429 and `UpstreamUnreachableError` for any 5xx and a proxy's 407."""
    if status == 407:  # No hub says so: a proxy on the way to a plain http:// upstream does.
        raise unreachable(host, ProxyRefusedError(status))
    if status == 429:
        wait = retry_after(headers, clock)
        when = f" Come back in {wait:.0f} s." if wait is not None else ""
        raise UpstreamBusyError(
            f"{host} answered 429: it was asked too often.{when}", retry_after=wait
        )
    if status >= 500:
        raise UpstreamUnreachableError(
            f"{host} answered {status}.", passing=True, retry_after=retry_after(headers, clock)
        )


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, host: str, *, own: bool
) -> UpstreamRefusedError | StorageRefusedError:
    """Word a 4xx: the hub's *own*, with what is worth passing on, or that of where it redirected to."""
    if not own:
        return StorageRefusedError(
            f"{host}, where the hub keeps the file, answered {status}.", status=status
        )
    said = headers.get("x-error-message", "").rstrip(".")
    return UpstreamRefusedError(
        f"{host} answered {status}{': ' + said[:500] if said else ''}.",
        status=status,
        headers={name: headers[name] for name in _PASSED_ON if name in headers},
        body=body,
    )


def content_length(headers: Mapping[str, str], host: str) -> int | None:
    """Read ``Content-Length``; raises `UpstreamUnreachableError` if it is no number or several."""
    text = headers.get("content-length")
    if text is None:
        return None
    if not _LENGTH.fullmatch(text) or len({int(item) for item in text.split(",")}) != 1:
        raise UpstreamUnreachableError(f"{host} answered with a broken Content-Length.")
    return int(text.partition(",")[0])


def check_fits(status: int, headers: Mapping[str, str], wanted: Wanted, host: str) -> None:
    """Check that a 2xx or 3xx answer holds exactly the *wanted* bytes.

    Raises `RestartNeededError` where a ranged answer is another version, another range or no range at
    all, and `UpstreamUnavailableError` for any other misfit.
    """
    if wanted.ranged and status in (200, 416):
        raise RestartNeededError(
            f"{host} did not continue at byte {wanted.start} (status {status})."
        )
    if status != (206 if wanted.ranged else 200):
        raise UpstreamUnavailableError(f"{host} answered {status} where it should send a file.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UpstreamUnavailableError(
            f"{host} sent the file in an encoding that was not asked for."
        )
    if wanted.ranged:
        _check_range(headers, wanted, host)
    length = content_length(headers, host)
    expected = wanted.end - wanted.start
    if "transfer-encoding" not in headers and length is not None and length != expected:
        said = f"{host} announced {length} bytes where {expected} should be."
        if headers.get("content-type", "").lower().startswith("text/html"):
            raise UpstreamUnavailableError(
                f"{said} It is an HTML page, as a login or a captive portal sends."
            )
        raise OtherSizeError(said)


def _check_range(headers: Mapping[str, str], wanted: Wanted, host: str) -> None:
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if match is None:
        raise RestartNeededError(f"{host} sent a range without saying which.")
    first, last, total = (int(item) for item in match.groups())
    if (first, last + 1, total) != (wanted.start, wanted.end, wanted.size):
        raise RestartNeededError(
            f"{host} sent bytes {first}-{last} of {total} where {wanted.start}-{wanted.end - 1} of "
            f"{wanted.size} were asked for."
        )
    etag = strong_etag(headers)
    if wanted.strong is not None and etag is not None and etag != wanted.strong:
        raise RestartNeededError(f"{host} has another version of the file now.")
