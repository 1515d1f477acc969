"""Which blobs to read when not all of them: a share, a part of a rota, or as many as some bytes.

``1/7`` is for a rota: the same seventh every time, by digest, so that seven nights read everything once.
``5%`` and ``10GiB`` are drawn anew each time, so that what one night misses another may find.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from mirror.store.blobs import Blob
from mirror.units import parse_size

_SHARE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)%\Z", re.ASCII)
_PART: Final = re.compile(r"([0-9]{1,6})/([0-9]{1,6})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Subset:
    """A *share* of all bytes, the *part*-th of *parts*, or *size* bytes; one of the three is set."""

    share: float | None = None
    part: tuple[int, int] | None = None
    size: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``5%``, ``1/7`` or ``10GiB``. Raises `ValueError` with a sentence that shows the forms."""
        if match := _SHARE.match(text):
            share = float(match[1]) / 100
            if 0 < share <= 1:
                return cls(share=share)
        elif match := _PART.match(text):
            part, parts = int(match[1]), int(match[2])
            if 1 <= part <= parts:
                return cls(part=(part, parts))
        else:
            try:
                return cls(size=parse_size(text))
            except ValueError:
                pass
        raise ValueError(f"{text!r} is no subset; write it like 5%, 1/7 or 10GiB")

    def choose(self, blobs: Sequence[Blob], draw: random.Random) -> list[Blob]:
        """The blobs to read, in the order of *blobs*; *draw* decides where chance does.

        A share or a size is reached and passed by less than one blob.
        """
        if self.part is not None:
            part, parts = self.part
            return [blob for blob in blobs if int(blob.digest.hex[:16], 16) % parts == part - 1]
        wanted = self.size or 0
        if self.share is not None:
            wanted = round(self.share * sum(blob.size for blob in blobs))
        chosen: set[Blob] = set()
        for blob in draw.sample(blobs, len(blobs)):
            if wanted <= 0:
                break
            chosen.add(blob)
            wanted -= blob.size
        return [blob for blob in blobs if blob in chosen]
