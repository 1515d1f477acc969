"""What the cache may ask of the code that talks to the internet.

Two protocols, because the two callers live in different worlds: metadata and tunnels are asked from the
event loop, blobs are fetched by threads that block. One suite, ``tests/conformance/test_upstream.py``,
holds for the real ones and for the double.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mirror.credential import Credential
from mirror.messages import Response, UpstreamRequest
from mirror.upstream.stopping import StopToken


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long upstream may take, in seconds; a whole transfer has no limit.

    *connect* bounds name look-up, TCP and TLS each; *stall* the time without a byte, before the first
    one as well.
    """

    connect: float = 10.0
    stall: float = 30.0


class Stream(Protocol):
    """An answer of upstream as it comes in; *headers* have lower-case names."""

    @property
    def status(self) -> int:
        """Upstream's status, below 500 and not 429."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Upstream's headers, repeated ones joined by ``, ``."""
        ...

    @property
    def size(self) -> int | None:
        """The length of the body in bytes, `None` if upstream did not say."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, once; raises `TruncatedBodyError` if it breaks off."""
        ...


class Asker(Protocol):
    """Asks upstream from the event loop."""

    async def ask(
        self,
        hub: str,
        request: UpstreamRequest,
        credential: Credential | None,
        *,
        limit: int,
        follow_redirects: bool = True,
    ) -> Response:
        """Return upstream's whole answer, its body at most *limit* bytes; with 0 its head alone.

        The hub's upstreams are tried in order while they fail. Raises `UpstreamUnreachableError`
        when the last one fails (no connection, a time-out, a broken answer, a 5xx),
        `UpstreamBusyError` for a 429, `TruncatedBodyError`, `ForbiddenTargetError` for a redirect or
        an address that may not be followed, and `UpstreamUnavailableError` for an answer that cannot
        be used (too long, an encoding that was not asked for). Other statuses are answers. Without
        *follow_redirects* the 3xx itself is returned.
        """
        ...

    def stream(
        self, hub: str, request: UpstreamRequest, credential: Credential | None
    ) -> AbstractAsyncContextManager[Stream]:
        """Open upstream's answer for passing through; raises on entry as `ask` does."""
        ...


@dataclass(frozen=True, slots=True)
class TransferHead:
    """The checked head of a blob's transfer.

    *start* is the offset of the first byte that follows and *size* the whole blob's, in bytes;
    *validator* is a strong ETag with its quotes, `None` if there is none, to resume with;
    *headers* are those of the answer itself, *hub_headers* those of the first answer (a redirect's
    carry ``x-repo-commit`` and ``x-linked-etag``); *host* is who sent the bytes and *base* the upstream
    that led there, which alone knows the validator.
    """

    status: int
    start: int
    size: int
    validator: str | None
    headers: Mapping[str, str]
    hub_headers: Mapping[str, str]
    host: str
    base: str


Sink: TypeAlias = Callable[[memoryview], object]
"""Takes the next bytes; the view is good only during the call."""


class Fetcher(Protocol):
    """Fetches blobs, blocking the calling thread."""

    def fetch(  # noqa: PLR0913 -- one call tells the whole transfer
        self,
        hub: str,
        request: UpstreamRequest,
        credential: Credential | None,
        *,
        offset: int,
        size: int,
        validator: str | None,
        sink: Sink,
        head: Callable[[TransferHead], object] | None,
        stop: StopToken,
        end: int | None = None,
        source: str | None = None,
    ) -> TransferHead:
        """Fetch bytes *offset* up to *end* (the blob's end if `None`) of a blob of *size* bytes.

        *source* is the upstream that *validator* is from, `None` if that is not known; any other one is
        asked for the range without it.

        *head* is called once the answer is known to fit, before the first byte goes to *sink*; the
        bytes then come in order, exactly as many as were asked for. What *sink* and *head* raise goes
        through unchanged.

        Raises `UpstreamRefusedError` (the hub's own 4xx), `StorageRefusedError` (a 4xx from where it
        redirected to), `UpstreamBusyError`, `UpstreamUnreachableError`, `RestartNeededError` (the
        answer cannot continue at *offset*), `TruncatedBodyError` (broke off; what came before is
        good), `ForbiddenTargetError`, `StoppedError`, and `UpstreamUnavailableError` for any other
        answer that is not these bytes.
        """
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...
