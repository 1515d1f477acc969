"""Bytes of a client's cache on their way into the store: shared, linked or copied, and always hashed.

The source is opened for reading alone and is never moved, changed or removed.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, TypeAlias

from mirror.bundle.found import Content
from mirror.bundle.foundtree import Tree
from mirror.digest import SHA256, Check, Digest, Hasher
from mirror.errors import DigestMismatchError, MirrorError
from mirror.store.copied import Copied
from mirror.store.draft import Draft
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.linked import Linked
from mirror.store.partial import Partial
from mirror.store.partials import Partials

Advance: TypeAlias = Callable[[int], None]
"""Told of bytes that were read; raises what ends the work."""

Finished: TypeAlias = Copied | Linked | Partial

_CHUNK: Final = 4 << 20


class Link(StrEnum):
    """How bytes come into the store; where a way is not open, the next one is taken."""

    HARD = "hard"
    """The file gets a second name: no room, and whoever changes it changes the blob too."""
    REFLINK = "reflink"
    """The two share their bytes until one is changed (btrfs, XFS); else a copy."""
    NONE = "none"
    """A copy."""


class ChangedError(MirrorError):
    """The source is not what it was when it was looked at."""


class Taking:
    """Takes files as *link* says; *advance* hears of bytes read, and may raise to stop."""

    def __init__(
        self, layout: Layout, ledger: Ledger, partials: Partials, link: Link, advance: Advance
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._partials = partials
        self._link = link
        self._advance = advance

    def how(self, finished: Finished) -> str:
        """How the bytes came in: ``hard``, ``reflink`` or ``copy``."""
        if isinstance(finished, Linked):
            return Link.HARD.value
        shared = isinstance(finished, Copied) and finished.shared
        return Link.REFLINK.value if shared else "copy"

    def costs(self, tree: Tree) -> bool:
        """Whether files of *tree* take room on the disk: not if they get a second name there."""
        return self._link is not Link.HARD or (
            tree.root.stat().st_dev != self._layout.root.stat().st_dev
        )

    def file(
        self, tree: Tree, content: Content, expected: Digest, checks: tuple[Check, ...] = ()
    ) -> Finished:
        """Take the file *content*, which must be *expected*.

        It is for `DiskStore.put`, or the caller's to end.

        Raises `ChangedError`, `DigestMismatchError` for other bytes, `OSError` where it cannot be read, and
        `StoreError` where there is no room or the disk fails.
        """
        with _opened(tree, content) as fd:
            if self._link is Link.HARD:
                linked = Linked.of(self._layout, self._ledger, fd, expected)
                if linked is not None:
                    with _ending(linked):
                        linked.read(checks, self._advance)
                    return linked
            self._partials.discard(expected)  # What a download left: all of it is here now.
            copied = Copied.begin(self._layout, self._ledger, expected, content.size, checks)
            with _ending(copied):
                copied.fill(fd, self._advance, share=self._link is not Link.NONE)
                # Before it is held against its digest: a file that changed is no wrong file.
                _unchanged(fd, content)
                copied.finish()
            return copied

    def made(self, chunks: Iterator[bytes]) -> Partial:
        """Take an archive that is made of a folder. Raises as `file` does."""
        draft = Draft(self._layout, self._ledger)
        try:
            for chunk in chunks:
                draft.write(chunk)
                self._advance(len(chunk))
            return draft.finish(self._partials)
        finally:
            draft.abandon()

    def compare(
        self, tree: Tree, content: Content, expected: Digest, checks: tuple[Check, ...]
    ) -> None:
        """Read the file *content*, which must be *expected*, and keep nothing. Raises as `file` does."""
        hasher = Hasher(content.size, expected, checks)
        for data in file_chunks(tree, content):
            hasher.update(data)
            self._advance(len(data))
        got = hasher.differs()
        if got is not None:
            raise DigestMismatchError("The bytes are others.", expected=expected, got=got)

    def measure(self, tree: Tree, content: Content) -> tuple[Digest, str]:
        """The sha256 of the file *content*, and its git sha1 in hexadecimal. Raises as `file` does."""
        sha256 = hashlib.sha256()
        git = hashlib.sha1(b"blob %d\0" % content.size, usedforsecurity=False)
        with _opened(tree, content) as fd:
            for data in _chunks(fd, content.size):
                sha256.update(data)
                git.update(data)
                self._advance(len(data))
            _unchanged(fd, content)
        return Digest(SHA256, sha256.hexdigest()), git.hexdigest()


def file_chunks(tree: Tree, content: Content) -> Iterator[bytes]:
    """The bytes of a file of *tree*, which must still be what was seen. Raises `ChangedError`, `OSError`."""
    with _opened(tree, content) as fd:
        yield from _chunks(fd, content.size)
        _unchanged(fd, content)


@contextmanager
def _opened(tree: Tree, content: Content) -> Iterator[int]:
    fd = tree.open(content.source)
    try:
        _unchanged(fd, content)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _ending(finished: Finished) -> Iterator[None]:
    """Leave nothing behind of what did not come to its end."""
    try:
        yield
    except BaseException:
        finished.abandon()
        finished.close()
        raise


def _chunks(fd: int, size: int) -> Iterator[bytes]:
    offset = 0
    while offset < size:
        data = os.pread(fd, min(_CHUNK, size - offset), offset)
        if not data:
            raise ChangedError("It became shorter while it was read.")
        yield data
        offset += len(data)


def _unchanged(fd: int, content: Content) -> None:
    status = os.fstat(fd)
    if (status.st_size, status.st_mtime) != (content.size, content.mtime):
        raise ChangedError("It is being changed.")
