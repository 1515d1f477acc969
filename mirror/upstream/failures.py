"""The words for what goes wrong on the way to upstream, and the one place where foreign errors end.

Sockets, TLS, name look-ups, ``http.client`` and aiohttp each have errors of their own, and several of
them print the URL, whose query may be signed. None leaves this package: they become `mirror.errors`
with sentences of our own, and are not chained.
"""

import socket
import ssl
from typing import Final

import aiohttp

from mirror.errors import MirrorError, UpstreamUnavailableError, UpstreamUnreachableError

_PASSWORD_WANTED: Final = 407


class RestartNeededError(UpstreamUnavailableError):
    """The answer to a ranged request cannot continue the bytes at hand; begin again at byte 0."""


class OtherSizeError(UpstreamUnavailableError):
    """The whole file has another length there than it should: it is another file now."""


class StorageRefusedError(UpstreamUnavailableError):
    """A host that the hub redirected to refused the bytes: *status* is its answer.

    It is no word of the hub about the repo, so it must not count as a refusal of the caller's
    credential: a signed URL may have expired, or the file may be beyond what the CDN serves.
    """

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class StoppedError(MirrorError):
    """The transfer was stopped from outside; nothing is wrong with upstream."""


class ProxyRefusedError(OSError):
    """A proxy would not lead through; *status* is its answer. Stays within this package."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


def unreachable(
    host: str, error: BaseException, proxy: object | None = None
) -> UpstreamUnreachableError:
    """Word a foreign *error* met while asking *host*, through *proxy*; raise the result ``from None``.

    The sentence is made from the error's kind and its errno text, never from its own ``str``.
    """
    # aiohttp wraps the errors of the socket and of TLS; what is inside says more.
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    hint, passing = "", False
    refused = _proxy_status(error)
    if refused is not None:
        why, passing = f"the proxy answered {refused}", refused >= 500
        if refused == _PASSWORD_WANTED:
            why = "the proxy wants another user and password (407)"
            hint = "They are part of its URL: http://user:password@host:port."
    elif isinstance(inner, ssl.SSLCertVerificationError):
        why = f"its certificate was not accepted ({getattr(inner, 'verify_message', 'no reason given')})"
        hint = (
            "--upstream-ca names a file with certificate authorities to trust beside the system's."
        )
    elif isinstance(inner, ssl.SSLError):
        reason = getattr(inner, "reason", None) or "no reason given"
        why = f"TLS failed ({reason.lower().replace('_', ' ')})"
    elif isinstance(inner, TimeoutError):
        why = "it did not answer in time"
    elif isinstance(inner, socket.gaierror):
        why = f"its name could not be looked up ({inner.strerror or 'no address'})"
    elif isinstance(inner, ConnectionRefusedError):
        why = "it refused the connection"
    elif isinstance(inner, ConnectionAbortedError):
        why = "the mirror is ending"
    elif isinstance(inner, ConnectionError | EOFError):
        why, passing = "it broke the connection", True
    elif isinstance(inner, OSError) and inner.strerror:
        why = f"the network said: {inner.strerror}"
    else:
        why = f"its answer was not HTTP ({type(inner).__name__})"
    way = "" if proxy is None else f" through the proxy {proxy}"
    return UpstreamUnreachableError(
        f"{host} could not be asked{way}: {why}.", passing=passing, hint=hint
    )


def _proxy_status(error: BaseException) -> int | None:
    if isinstance(error, ProxyRefusedError | aiohttp.ClientHttpProxyError):
        return error.status
    return None
