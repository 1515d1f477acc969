"""The words for what goes wrong on the way to upstream, and the one place where foreign errors end.

Sockets, TLS, name look-ups, ``http.client`` and aiohttp each have errors of their own, and several of
them print the URL, whose query may be signed. None leaves this package: they become `mirror.errors`
with sentences of our own, and are not chained.
"""

import socket
import ssl

from mirror.errors import MirrorError, UpstreamUnavailableError, UpstreamUnreachableError


class RestartNeededError(UpstreamUnavailableError):
    """The answer to a ranged request cannot continue the bytes at hand; begin again at byte 0."""


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


def unreachable(host: str, error: BaseException) -> UpstreamUnreachableError:
    """Word a foreign *error* met while asking *host*; raise the result ``from None``.

    The sentence is made from the error's kind and its errno text, never from its own ``str``.
    """
    # aiohttp wraps the errors of the socket and of TLS; what is inside says more.
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    hint, passing = "", False
    if isinstance(inner, ssl.SSLCertVerificationError):
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
    return UpstreamUnreachableError(
        f"{host} could not be asked: {why}.", passing=passing, hint=hint
    )
