"""The mirror as a Xet content store: plain files shown as xorbs, by arithmetic alone.

A file is cut at every 128 KiB; 256 chunks make one xorb, each chunk stored uncompressed behind an 8-byte
header (xet-core ``xorb_chunk_format``: version, 24-bit stored length, scheme, 24-bit length). Clients check
lengths and no hash, so no byte of the file is looked at: a xorb is headers interleaved with spans of the
stored blob, and costs no room. Its name is made from the content's digest and its number, and can
therefore never be that of a real one, which is a keyed BLAKE3.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final

from mirror.digest import Digest
from mirror.messages import BlobRef, Segment, Span
from mirror.ranges import ByteRange

CHUNK: Final = 128 << 10
"""Bytes of content in a chunk; the format's own bound (Xet refuses more uncompressed bytes)."""
CHUNKS: Final = 256
"""Chunks in a xorb: 32 MiB and 2 KiB of headers, half the format's bound of 64 MiB."""
HEADER: Final = 8
STORED_CHUNK: Final = CHUNK + HEADER
CONTENT: Final = CHUNK * CHUNKS
"""Bytes of content in a xorb."""


@dataclass(frozen=True, slots=True)
class Term:
    """A run of chunks *first* up to but not including *last* of one xorb, and where they lie.

    *xorb* is the xorb's number in the file; *length* how many bytes of content the run has; *stored* the
    bytes of the xorb that hold it.
    """

    xorb: int
    first: int
    last: int
    length: int
    stored: ByteRange


def xorb_count(size: int) -> int:
    """Count the xorbs of a file of *size* bytes."""
    return -(-size // CONTENT)


def xorb_name(digest: Digest, index: int) -> str:
    """Name the *index*-th xorb of the content called *digest*, in 64 hex digits."""
    return sha256(f"modelmirror xorb {digest} {index}".encode()).hexdigest()


def xorb_length(size: int, index: int) -> int:
    """Return how many bytes the *index*-th xorb of a file of *size* bytes has, headers included."""
    content = min(CONTENT, size - index * CONTENT)
    return content + HEADER * -(-content // CHUNK)


def terms_of(size: int, wanted: ByteRange) -> tuple[int, list[Term]]:
    """Cut *wanted* bytes of a file of *size* bytes into terms.

    Returns how many bytes of the first term come before the range, and the terms in order. The last term
    may end after the range: clients drop what they did not ask for.
    """
    if not len(wanted):
        return 0, []
    first, last = wanted.start // CHUNK, -(-wanted.end // CHUNK)
    terms = []
    while first < last:
        xorb, offset = divmod(first, CHUNKS)
        count = min(CHUNKS - offset, last - first)
        content = min(size, (first + count) * CHUNK) - first * CHUNK
        start = offset * STORED_CHUNK
        stored = ByteRange(start, start + content + count * HEADER)
        terms.append(Term(xorb, offset, offset + count, content, stored))
        first += count
    return wanted.start % CHUNK, terms


def reconstruction(
    digest: Digest, size: int, wanted: ByteRange, url_of: str, version: int
) -> dict[str, Any]:
    """Write the answer to a reconstruction request in the shape of *version* 1 or 2.

    *url_of* is the URL of a xorb with ``{name}`` and ``{index}`` where those go. Both shapes give ranges
    of chunks without their end and ranges of bytes with it (xet-core ``cas_types``).
    """
    offset, terms = terms_of(size, wanted)
    listed: list[dict[str, Any]] = []
    fetched: dict[str, list[dict[str, Any]]] = {}
    for term in terms:
        name = xorb_name(digest, term.xorb)
        chunks = {"start": term.first, "end": term.last}
        stored = {"start": term.stored.start, "end": term.stored.end - 1}
        url = url_of.replace("{name}", name).replace("{index}", str(term.xorb))
        listed.append({"hash": name, "unpacked_length": term.length, "range": chunks})
        if version == 1:
            fetched[name] = [{"range": chunks, "url": url, "url_range": stored}]
        else:
            fetched[name] = [{"url": url, "ranges": [{"chunks": chunks, "bytes": stored}]}]
    kind = "fetch_info" if version == 1 else "xorbs"
    return {"offset_into_first_range": offset, "terms": listed, kind: fetched}


@cache
def chunk_header(length: int) -> bytes:
    """Write the header of a chunk of *length* bytes: version 0, scheme 0 (stored as it is)."""
    triple = length.to_bytes(3, "little")
    return b"\0" + triple + b"\0" + triple


def xorb_segments(blob: BlobRef, index: int) -> tuple[Segment, ...]:
    """Lay out the *index*-th xorb of *blob*: a header and a span for each of its chunks."""
    segments: list[Segment] = []
    start = index * CONTENT
    end = min(blob.size, start + CONTENT)
    for at in range(start, end, CHUNK):
        until = min(end, at + CHUNK)
        segments += (chunk_header(until - at), Span(blob, at, until))
    return tuple(segments)
