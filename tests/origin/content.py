"""File contents: where their bytes lie, and every name the Hub gives them.

A file of many gigabytes must cost a test neither memory nor disk, so large contents stay in files
(sparse ones where they are made up) and are only ever handed on as spans of those files.
"""

import functools
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

from tests.origin.wire import Segment, Span

stamp_interval = 1 << 20
_in_memory_limit = 64 << 10
_hashed_up_to = 16 << 30
_block = bytes(4 << 20)
_zeros_period = 16 << 20


@dataclass(frozen=True, slots=True)
class Sparse:
    """Made-up content of ``size`` bytes that takes (almost) no room on disk.

    It is all zeros; with ``stamped``, the first 8 bytes of every MiB hold their own offset plus
    one, big-endian, so that pieces put together in the wrong order are noticed. ``sha256`` spares
    the hashing when the digest is known (it is believed unseen).

    Above 16 GiB and without ``sha256`` the digest is made up, for hashing would take half a minute:
    such a file is there to be talked about, and a download of it fails verification.
    """

    size: int
    sha256: str | None = None
    stamped: bool = False


Source = bytes | Path | Sparse


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes with their size and sha256, held in memory or in a file.

    With ``period``, the file holds that many bytes only, and the content is them over and over.
    """

    size: int
    sha256: str
    held: bytes | Path
    period: int | None = None

    def segments(self, start: int = 0, stop: int | None = None) -> tuple[Segment, ...]:
        """Return the half-open range ``start`` to ``stop`` (default: the end) as segments."""
        end = self.size if stop is None else stop
        if end <= start:
            return ()
        if isinstance(self.held, bytes):
            return (self.held[start:end],)
        if self.period is None:
            return (Span(self.held, start, end - start),)
        cuts = [start, *range((start // self.period + 1) * self.period, end, self.period), end]
        return tuple(
            Span(self.held, first % self.period, last - first)
            for first, last in itertools.pairwise(cuts)
        )

    def head(self, count: int) -> bytes:
        """Return the first ``count`` bytes, or fewer if there are not so many."""
        if isinstance(self.held, bytes):
            return self.held[:count]
        with self.held.open("rb") as file:
            return file.read(min(count, self.size))

    def read(self) -> bytes:
        """Return all bytes; meant for contents that fit in memory."""
        if isinstance(self.held, bytes):
            return self.held
        if self.period is not None:
            return bytes(self.size)
        return self.held.read_bytes()


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of one commit.

    ``oid`` is the git blob sha1: that of the pointer text for an LFS file. ``xet_hash`` is 64 hex
    digits unlike the sha256, or None for a file that is not in Xet.
    """

    path: str
    content: Content
    oid: str
    lfs: bool
    xet_hash: str | None

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        return self.content.size

    @property
    def sha256(self) -> str:
        """The content's sha256 in hex, also for files that are not in LFS."""
        return self.content.sha256

    @property
    def data(self) -> bytes:
        """The content itself, read into memory."""
        return self.content.read()

    @property
    def pointer(self) -> bytes:
        """The LFS pointer text of this content."""
        return pointer_text(self.sha256, self.size)

    @property
    def etag(self) -> str:
        """The quoted ETag that the Hub gives this file: sha256 for LFS, else the git oid."""
        return f'"{self.sha256 if self.lfs else self.oid}"'


def pointer_text(sha256: str, size: int) -> bytes:
    """Return a git-lfs pointer (git-lfs docs/spec.md, version 1)."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    ).encode()


def blob_oid(data: bytes) -> str:
    """Return the git object id of a blob with these bytes."""
    digest = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def xet_hash_of(sha256: str) -> str:
    """Return a stand-in for the Xet hash: one per content, and never its sha256.

    Downloaders never recompute the real (keyed blake3) hash, so any unique value serves.
    """
    return hashlib.sha256(b"xet " + bytes.fromhex(sha256)).hexdigest()


@functools.lru_cache(maxsize=64)
def _sha256_of_zeros(size: int) -> str:
    digest = hashlib.sha256()
    view = memoryview(_block)
    for start in range(0, size, len(_block)):
        digest.update(view[: min(len(_block), size - start)])
    return digest.hexdigest()


def _made_up(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Vault:
    """Takes contents in, and keeps those that need a file of their own under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.taken: dict[str, Content] = {}

    def take(self, source: Source) -> Content:
        """Return the content of ``source``; a file given by path is referred to, never copied."""
        content = self._content(source)
        self.taken[content.sha256] = content
        return content

    def _content(self, source: Source) -> Content:
        if isinstance(source, Sparse):
            return self._sparse(source)
        if isinstance(source, Path):
            with source.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return Content(source.stat().st_size, sha256, source)
        sha256 = hashlib.sha256(source).hexdigest()
        if len(source) <= _in_memory_limit:
            return Content(len(source), sha256, source)
        path = self._folder / sha256
        if not path.exists():
            path.write_bytes(source)
        return Content(len(source), sha256, path)

    def _sparse(self, source: Sparse) -> Content:
        if not source.stamped:
            return self._zeros(source)
        path = self._folder / f"stamped-{source.size}"
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(source.size)
                for start in range(0, source.size, stamp_interval):
                    file.seek(start)
                    file.write((start + 1).to_bytes(8, "big")[: source.size - start])
        if source.sha256 is not None:
            return Content(source.size, source.sha256, path)
        if source.size > _hashed_up_to:
            return Content(source.size, _made_up(path.name), path)
        with path.open("rb") as file:
            return Content(source.size, hashlib.file_digest(file, "sha256").hexdigest(), path)

    def _zeros(self, source: Sparse) -> Content:
        # One small file stands for all zeros: reading a hole of many GiB costs the kernel a page
        # for every 4 KiB, ten times the work of sending it.
        path = self._folder / "zeros"
        if not path.exists():
            path.write_bytes(bytes(_zeros_period))
        if source.sha256 is not None:
            sha256 = source.sha256
        elif source.size > _hashed_up_to:
            sha256 = _made_up(f"zeros-{source.size}")
        else:
            sha256 = _sha256_of_zeros(source.size)
        return Content(source.size, sha256, path, _zeros_period)
