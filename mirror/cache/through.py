"""Serving through: a file that cannot be stored goes to its client all the same.

When the disk is full, failing or read-only, or a file is larger than the quota, each client gets its own
connection to upstream, and nothing is kept. What is promised stays: a whole file's digest is computed as
it passes, and its end is held back until it matches, so a wrong byte is a broken connection here too.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from mirror.cache.asking import Voice
from mirror.cache.feed import WITHHELD
from mirror.digest import Hasher
from mirror.errors import DigestMismatchError, TruncatedBodyError, UpstreamRefusedError
from mirror.messages import Answer, BlobRef, Relay, RequestHead, Span
from mirror.ranges import ByteRange, Unsatisfiable, parse_ranges
from mirror.upstream.contract import Asker, Stream

# What a refusal must keep for the cache to learn from it, and for clients to understand it.
_TOLD: Final = ("x-error-code", "x-error-message")


def can_pass(answer: Answer) -> BlobRef | None:
    """The blob of an answer that is one whole file; others need the store to be put together."""
    match answer.body:
        case (Span(blob=blob, start=0, end=end),) if end == blob.size:
            return blob
        case _:
            return None


async def pass_through(
    upstream: Asker,
    hub: str,
    answer: Answer,
    blob: BlobRef,
    head: RequestHead,
    voice: Voice,
) -> Relay:
    """Open *blob* at upstream and hand it on as it comes, checked on the way.

    One range is passed on; of several, or none that fits, the whole file is sent, which RFC 9110 §14.2
    allows. Raises what upstream says instead of bytes.
    """
    span = _span(head, answer, blob.size)
    source = voice.on_its_way(blob.source)
    if span is not None:
        wanted = ("Range", f"bytes={span.start}-{span.end - 1}")
        source = replace(source, headers=(*source.headers, wanted))
    stack = AsyncExitStack()
    stream = await stack.enter_async_context(upstream.stream(hub, source, voice.credential))
    expected = len(span) if span is not None else blob.size
    if stream.status != (206 if span is not None else 200) or stream.size != expected:
        await stack.aclose()
        raise UpstreamRefusedError(
            f"Upstream answered {stream.status} where {expected} bytes of a file were wanted.",
            status=stream.status if stream.status >= 400 else 502,
            headers={name: stream.headers[name] for name in _TOLD if name in stream.headers},
        )
    headers = [*answer.headers, ("ETag", f'"{answer.etag}"'), ("Accept-Ranges", "bytes")]
    if span is None:
        return Relay(200, tuple(headers), blob.size, _checked(stack, stream, blob))
    headers.append(("Content-Range", span.content_range(blob.size)))
    return Relay(206, tuple(headers), expected, _counted(stack, stream, expected))


def _span(head: RequestHead, answer: Answer, size: int) -> ByteRange | None:
    condition = head.headers.get("if-range")
    if condition is not None and condition != f'"{answer.etag}"':
        return None
    try:
        ranges = parse_ranges(head.headers.get("range"), size)
    except Unsatisfiable:
        return None
    return ranges[0] if ranges is not None and len(ranges) == 1 else None


async def _checked(stack: AsyncExitStack, stream: Stream, blob: BlobRef) -> AsyncIterator[bytes]:
    """The whole body; its last bytes only once the digest matched."""
    hasher, received, held = Hasher(blob.size, blob.digest, blob.checks), 0, b""
    async with stack:
        async for chunk in stream.chunks():
            hasher.update(chunk)
            received += len(chunk)
            held += chunk
            if len(held) > WITHHELD:
                yield held[:-WITHHELD]
                held = held[-WITHHELD:]
    got = hasher.differs()
    if received != blob.size:
        raise TruncatedBodyError("Upstream broke off.", expected=blob.size, got=received)
    if got is not None:
        raise DigestMismatchError(
            f"The bytes that came for {blob.digest} are others.", expected=blob.digest, got=got
        )
    yield held


async def _counted(stack: AsyncExitStack, stream: Stream, expected: int) -> AsyncIterator[bytes]:
    """A range of a body, which is as long as it said or ends with an error."""
    received = 0
    async with stack:
        async for chunk in stream.chunks():
            received += len(chunk)
            yield chunk
    if received != expected:
        raise TruncatedBodyError("Upstream broke off.", expected=expected, got=received)
