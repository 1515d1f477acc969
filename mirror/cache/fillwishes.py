"""What of its blobs an answer will be read for: pure, and only a hint for where a fill begins.

The door applies ranges when the answer is made; a fill begins before. Were it wrong here, the reader
would ask for the rest when it comes to it.
"""

import re
from collections.abc import Mapping
from typing import Final

from mirror.cache.fillplan import Wish
from mirror.messages import Answer, BlobRef, RequestHead, Span
from mirror.ranges import Unsatisfiable, parse_ranges

# "bytes=5-" promises the blob's end, so all of it is needed for the digest.
_OPEN_ENDED: Final = re.compile(r"[0-9]-[ \t]*(?:,|\Z)")


def wanted(answer: Answer, head: RequestHead) -> Mapping[BlobRef, Wish | None]:
    """The blobs of *answer*, each with the bytes that are wanted of it; `None` means all."""
    blobs: dict[BlobRef, Wish | None] = {
        segment.blob: None for segment in answer.body if isinstance(segment, Span)
    }
    asked = head.headers.get("range", "")
    if not blobs or not answer.ranges or not asked or _OPEN_ENDED.search(asked):
        return blobs
    try:
        ranges = parse_ranges(asked, answer.size)
    except Unsatisfiable:
        return blobs
    if ranges is None or len(ranges) != 1:
        return blobs
    place = 0
    for segment in answer.body:
        low, high = max(ranges[0].start - place, 0), min(ranges[0].end - place, len(segment))
        place += len(segment)
        if not isinstance(segment, Span) or low >= high:
            continue
        start, end = segment.start + low, segment.start + high
        before = blobs[segment.blob]
        if before is not None:
            start, end = min(before.start, start), max(before.end, end)
        blobs[segment.blob] = Wish(start, end)
    # A blob that no byte is wanted of is not asked for at all.
    return {blob: wish for blob, wish in blobs.items() if wish is not None}
