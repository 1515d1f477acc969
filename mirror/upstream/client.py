"""The asynchronous client: metadata as whole answers, tunnels as streams.

aiohttp does the connections, and everything it would decide by itself is turned off: redirects, cookies,
decompression, name look-ups, proxies and passwords from the environment. Blobs do not come this way: its
streams cost three times the CPU of a blocking thread (``transfer.py``).
"""

import contextlib
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from yarl import URL

from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import (
    ForbiddenTargetError,
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamUnavailableError,
)
from mirror.events import Asked, Observer
from mirror.messages import Response, UpstreamRequest
from mirror.upstream.addresses import Addresses, CheckedResolver
from mirror.upstream.contract import Timeouts
from mirror.upstream.failures import unreachable
from mirror.upstream.heads import REDIRECTS, lowered, outgoing
from mirror.upstream.policy import Policy, Step
from mirror.upstream.proxies import Proxies, Proxy
from mirror.upstream.standing import Standing

# `Link` and `Location` of the Hub's CDN run to 4 KiB; aiohttp's own bound is 8 KiB.
_MAX_HEADER: Final = 32 << 10

# Reading a short body that nobody wants keeps the connection; more than this is cheaper to cut off.
_WORTH_READING: Final = 64 << 10
_METADATA_CONNECTIONS: Final = 64
_KEEPALIVE: Final = 30.0

# How a kept connection shows that upstream had closed it.
_STALE: Final = (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError)
# What aiohttp may raise while it sends, waits and reads, with what its parts let through.
_FOREIGN: Final = (aiohttp.ClientError, OSError, TimeoutError, EOFError, ValueError)


class _Stream:
    """An open answer; its body is read once."""

    def __init__(self, response: aiohttp.ClientResponse, host: str) -> None:
        self._response = response
        self._host = host
        self.status = response.status
        self.headers: Mapping[str, str] = lowered(response.headers.items())
        self.size = response.content_length if response.method != "HEAD" else 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, still in upstream's Content-Encoding."""
        got = 0
        try:
            async for chunk in self._response.content.iter_any():
                got += len(chunk)
                yield chunk
        except _FOREIGN as error:
            raise _truncated(self._host, self.size, got, error) from None
        if self.size is not None and got != self.size:
            raise TruncatedBodyError(
                f"{self._host} sent {got} of {self.size} bytes.", expected=self.size, got=got
            )


class Client:
    """Asks upstream from one event loop; `open` it there and `close` it there.

    *policy* says what may be asked, *addresses* what may be dialled and *proxies* through whom; *observe*
    gets one `Asked` for every request made, redirects included; *trust* is the TLS context; *standing* is
    shared with the transfers.
    """

    def __init__(  # noqa: PLR0913 -- the composition root names each part once
        self,
        policy: Policy,
        addresses: Addresses,
        *,
        trust: ssl.SSLContext,
        clock: Clock,
        observe: Observer,
        standing: Standing,
        timeouts: Timeouts | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._policy = policy
        self._standing = standing
        self._addresses = addresses
        self._trust = trust
        self._clock = clock
        self._observe = observe
        self._timeouts = timeouts or Timeouts()
        self._proxies = proxies or Proxies()
        self._opened: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connection pool; connects nowhere yet."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeouts.connect, sock_read=self._timeouts.stall
        )
        # Nothing else bounds the wait for a proxy's answer to CONNECT: as long as to dial it, to be led
        # through and to shake hands may take, each.
        self._through_proxy = aiohttp.ClientTimeout(
            total=None,
            connect=3 * self._timeouts.connect,
            sock_connect=self._timeouts.connect,
            sock_read=self._timeouts.stall,
        )
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        self._opened = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=CheckedResolver(self._addresses),
                use_dns_cache=False,
                ssl=self._trust,
                limit=_METADATA_CONNECTIONS,
                keepalive_timeout=_KEEPALIVE,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            trace_configs=[trace],
        )

    async def close(self) -> None:
        """Close every connection; may be called twice."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def ask(
        self,
        hub: str,
        request: UpstreamRequest,
        credential: Credential | None,
        *,
        limit: int,
        follow_redirects: bool = True,
    ) -> Response:
        """Return upstream's whole answer; see `mirror.upstream.contract.Asker`."""
        trouble: UpstreamUnavailableError | None = None
        steps = self._policy.steps(hub, request.target, *request.others)
        for step in self._standing.order(steps):
            try:
                response, last = await self._walk(
                    hub, step, request, credential, follow=follow_redirects
                )
                try:
                    whole = await _whole(response, last, limit)
                finally:
                    response.close()
            except UpstreamBusyError:
                raise
            except UpstreamUnavailableError as error:
                self._standing.failed(step, error)
                trouble = error
            else:
                self._standing.did_well(step)
                return whole
        raise trouble or ForbiddenTargetError(f"The hub {hub} has no upstream.")

    @asynccontextmanager
    async def stream(
        self, hub: str, request: UpstreamRequest, credential: Credential | None
    ) -> AsyncIterator[_Stream]:
        """Open upstream's answer for passing through; see `mirror.upstream.contract.Asker`."""
        response, last = await self._open_any(hub, request, credential)
        try:
            yield _Stream(response, last.origin.authority)
        finally:
            # Not `release`, which would read on for the sake of the connection.
            response.close()

    async def _open_any(
        self, hub: str, request: UpstreamRequest, credential: Credential | None
    ) -> tuple[aiohttp.ClientResponse, Step]:
        trouble: UpstreamUnavailableError | None = None
        steps = self._policy.steps(hub, request.target, *request.others)
        for step in self._standing.order(steps):
            try:
                return await self._walk(hub, step, request, credential, follow=True)
            except UpstreamBusyError:
                raise
            except UpstreamUnavailableError as error:
                self._standing.failed(step, error)
                trouble = error
        raise trouble or ForbiddenTargetError(f"The hub {hub} has no upstream.")

    async def _walk(
        self,
        hub: str,
        step: Step,
        request: UpstreamRequest,
        credential: Credential | None,
        *,
        follow: bool,
    ) -> tuple[aiohttp.ClientResponse, Step]:
        """Ask, and follow redirects; the response returned is open and neither 429 nor 5xx."""
        while True:
            sent = credential if step.trusted else None
            response = await self._send(hub, step, request, sent)
            headers = lowered(response.headers.items())
            try:
                self._standing.judge(step, sent, response.status, headers)
                if not follow or response.status not in REDIRECTS or "location" not in headers:
                    return response, step
                step = self._policy.follow(step, headers["location"])
            except BaseException:
                response.close()
                raise
            # RFC 9110 §15.4: 307 and 308 keep method and body, the others turn a POST into a GET.
            if response.status in (301, 302, 303) and request.method not in ("GET", "HEAD"):
                request = UpstreamRequest("GET", request.target, request.headers)
            await _drain(response)

    async def _send(
        self, hub: str, step: Step, request: UpstreamRequest, credential: Credential | None
    ) -> aiohttp.ClientResponse:
        """Make one request, a second time if a kept connection turns out to be dead."""
        self._addresses.literal(step.origin.host)
        self._standing.check(step, credential)
        headers = outgoing(request, credential)
        proxy = self._proxies.of(step.origin)
        began = self._clock.monotonic()
        status = 0
        try:
            connection = SimpleNamespace(reused=False)
            try:
                response = await self._request(step, request, headers, connection, proxy)
            except _STALE:
                # Every request here is a read, a POST too, so asking twice does no harm.
                if not connection.reused:
                    raise
                response = await self._request(step, request, headers, connection, proxy)
            status = response.status
        except aiohttp.ServerDisconnectedError:
            raise unreachable(step.origin.authority, EOFError(), proxy) from None
        except _FOREIGN as error:
            raise unreachable(step.origin.authority, error, proxy) from None
        else:
            return response
        finally:
            spent = self._clock.monotonic() - began
            self._observe(Asked(hub, step.origin.authority, status, spent))

    async def _request(
        self,
        step: Step,
        request: UpstreamRequest,
        headers: list[tuple[str, str]],
        connection: SimpleNamespace,
        proxy: Proxy | None,
    ) -> aiohttp.ClientResponse:
        if self._opened is None:
            raise ConnectionAbortedError
        through: dict[str, Any] = {}
        if proxy is not None:
            through = {
                "proxy": URL(str(proxy.origin)),
                "proxy_headers": dict(proxy.headers),
                "timeout": self._through_proxy,
            }
            if step.origin.scheme == "http":  # There is no CONNECT to carry what is the proxy's.
                headers = [*headers, *proxy.headers]
        return await self._opened.request(
            request.method,
            URL(step.url, encoded=True),
            headers=headers,
            data=request.body or None,
            allow_redirects=False,
            trace_request_ctx=connection,
            **through,
        )


async def _note_reuse(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.reused = True


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a redirect's own text if it is short, so that its connection can be used again."""
    length = response.content_length
    try:
        if length is not None and length <= _WORTH_READING:
            await response.read()
    except _FOREIGN:
        pass  # The redirect is known; only the connection is lost.
    finally:
        response.close()


async def _whole(response: aiohttp.ClientResponse, step: Step, limit: int) -> Response:
    """Read the body, at most *limit* bytes of it on the wire and decoded; with 0 it is not wanted."""
    host = step.origin.authority
    expected = response.content_length if response.method != "HEAD" else None
    if not limit:
        if expected is not None and expected <= _WORTH_READING:
            with contextlib.suppress(*_FOREIGN):
                await response.read()
        return Response(
            response.status, lowered(response.headers.items()), b"", step.base, step.url
        )
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise _too_long(host, limit)
    except _FOREIGN as error:
        raise _truncated(host, expected, len(body), error) from None
    headers = lowered(response.headers.items())
    content = bytes(body)
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity" and content:
        content = _decoded(content, encoding, host, limit)
        del headers["content-encoding"]
        headers.pop("content-length", None)
    return Response(response.status, headers, content, step.base, step.url)


def _decoded(body: bytes, encoding: str, host: str, limit: int) -> bytes:
    """Undo a gzip or zlib encoding that was not asked for, never producing more than *limit* bytes."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UpstreamUnavailableError(
            f"{host} answered in the encoding {encoding[:20]!r}, unasked."
        )
    # 32: the header tells gzip from zlib.
    decoder = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
    try:
        content = decoder.decompress(body, limit + 1)
    except zlib.error:
        raise UpstreamUnavailableError(f"{host} answered with a broken {encoding} body.") from None
    if len(content) > limit:
        raise _too_long(host, limit)
    if not decoder.eof:
        raise TruncatedBodyError(f"{host} broke off its answer.", expected=None, got=len(content))
    if decoder.unused_data:
        raise UpstreamUnavailableError(f"{host} answered with a broken {encoding} body.")
    return content


def _too_long(host: str, limit: int) -> UpstreamUnavailableError:
    return UpstreamUnavailableError(f"{host} answered with more than {limit} bytes.")


def _truncated(
    host: str, expected: int | None, got: int, error: BaseException
) -> TruncatedBodyError:
    why = "stalled" if isinstance(error, TimeoutError) else "broke off"
    return TruncatedBodyError(f"{host} {why} after {got} bytes.", expected=expected, got=got)
