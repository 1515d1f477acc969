"""One stored blob read whole and compared with its name: nothing that was known about it is believed."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mirror.digest import SHA256
from mirror.store.blobs import Blob
from mirror.store.residency import drop, read_ahead
from mirror.store.sums import PIECE, Sums, SumsBuilder

# Bytes asked of the disk ahead of the one that is being hashed: a spinning disk reads them in one go.
_AHEAD: Final = 8 * PIECE

# What a disk answers for bytes that it no longer has; anything else says nothing about them.
_LOST: Final = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ELOOP})


class UnreadableError(Exception):
    """The blob could not be looked at, and whether it is sound is not known."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the bytes say: *wrong* is why they are not what the name promises, "" when they are.

    *sums* are those of the bytes as read, *sums_wrong* whether the kept ones differ from them although
    the bytes are right.
    """

    wrong: str
    sums: Sums
    sums_wrong: bool = False


def read_again(
    path: Path, blob: Blob, kept: Sums | None, advance: Callable[[int], None]
) -> Reading:
    """Read *blob* from the disk, not from memory, and compare sha256 and sums.

    *kept* are its sums as stored; *advance* is told of every piece's bytes. Raises `UnreadableError` when
    the file cannot be looked at.
    """
    builder, whole = SumsBuilder(), hashlib.sha256()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _failed(error, blob, builder, 0)
    offset = 0
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Reading("it is not a regular file", builder.sums(blob.digest, 0))
        drop(fd, 0, 0)
        while True:
            if offset % _AHEAD == 0:
                read_ahead(fd, offset, offset + 2 * _AHEAD)
            data = os.pread(fd, PIECE, offset)
            if not data:
                break
            whole.update(data)
            builder.update(data)
            offset += len(data)
            advance(len(data))
    except OSError as error:
        return _failed(error, blob, builder, offset)
    finally:
        os.close(fd)
    sums = builder.sums(blob.digest, offset)
    if whole.hexdigest() != blob.digest.hex:
        return Reading(_reason(whole.hexdigest(), sums, kept), sums)
    return Reading("", sums, kept is not None and kept != sums)


def _reason(got: str, sums: Sums, kept: Sums | None) -> str:
    reason = f"its {SHA256} is {got}"
    if kept is None:
        return reason
    if kept.size != sums.size:
        return f"it has {sums.size} bytes instead of {kept.size}"
    bad = [n for n, value in enumerate(kept.values) if value != sums.values[n]]
    if not bad:
        return reason
    return f"{reason}; {len(bad)} of its {len(kept.values)} pieces changed, the first is {bad[0]}"


def _failed(error: OSError, blob: Blob, builder: SumsBuilder, offset: int) -> Reading:
    if error.errno not in _LOST:
        raise UnreadableError(error.strerror or type(error).__name__) from error
    wrong = f"the disk cannot read it: {error.strerror}"
    return Reading(wrong, builder.sums(blob.digest, offset))
