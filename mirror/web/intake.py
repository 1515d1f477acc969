"""Request bodies: read whole, within a bound, before anything is done with them.

Nothing a read sends is larger than `MAX_REQUEST_BODY`. git compresses its negotiation, so gzip is
undone here, within the same bound: a body that unpacks to more is refused after that many bytes.
"""

import asyncio
import zlib
from typing import Final

from mirror.errors import MalformedQuestionError, TooLargeError
from mirror.messages import MAX_REQUEST_BODY
from mirror.web.refusals import ExpectationError
from mirror.web.wire import BODY_ERRORS, Exchange

# As long as a client on a bad line may take for its 1 MiB.
PATIENCE: Final = 30.0

_GZIP_ONLY: Final = 16 + zlib.MAX_WBITS


async def read_body(exchange: Exchange, *, patience: float = PATIENCE) -> bytes:
    """Read the body of *exchange*, decompressed; at most *patience* seconds.

    Raises `TooLargeError`, `ExpectationError`, or `MalformedQuestionError` for a body that is broken, of
    an unknown encoding, or too slow.
    """
    if not exchange.announces_body:
        return b""
    encoding = exchange.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", ""}:
        raise MalformedQuestionError(
            "The request body has a Content-Encoding that is not understood.",
            hint="Send it plain or as gzip.",
        )
    # The parser let only digits through.
    if int(exchange.headers.get("Content-Length", "0")) > MAX_REQUEST_BODY:
        raise _too_large()
    expected = exchange.headers.get("Expect", "").strip().lower()
    if expected not in {"", "100-continue"}:
        raise ExpectationError("The request expects something else than 100-continue.")
    if expected and not exchange.http10 and not exchange.body_begun:
        exchange.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(patience):
            body = await _read(exchange)
    except TimeoutError:
        raise MalformedQuestionError("The request body came too slowly.") from None
    except BODY_ERRORS:
        raise MalformedQuestionError("The request body is broken.") from None
    return _unpack(body) if encoding.endswith("gzip") else body


async def _read(exchange: Exchange) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await exchange.read():
        size += len(chunk)
        if size > MAX_REQUEST_BODY:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _unpack(body: bytes) -> bytes:
    """Undo gzip, of several members too (RFC 1952 §2.2), without unpacking more than may be."""
    found = b""
    while body:
        unpacker = zlib.decompressobj(_GZIP_ONLY)
        try:
            found += unpacker.decompress(body, MAX_REQUEST_BODY + 1 - len(found))
        except zlib.error:
            raise MalformedQuestionError("The request body is no gzip.") from None
        if len(found) > MAX_REQUEST_BODY:
            raise _too_large()
        if not unpacker.eof:
            raise MalformedQuestionError("The request body ends in the middle of its gzip.")
        body = unpacker.unused_data
    return found


def _too_large() -> TooLargeError:
    return TooLargeError(
        f"The request body is larger than {MAX_REQUEST_BODY} bytes.",
        hint="Nothing that a read sends is; uploads go to the hub itself.",
    )
