"""What the store promises: blobs that are found, opened and walked, and what becomes one.

`BlobStore` is as narrow as a second tier on an object store can be: find, put, open, delete, walk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mirror.digest import Digest
from mirror.store import durable
from mirror.store.partials import Partial
from mirror.store.sums import Sums


@dataclass(frozen=True, slots=True, order=True)
class Blob:
    """A stored blob: its sha256 and its length in bytes."""

    digest: Digest
    size: int


class StoredBlob(Protocol):
    """An open blob, as one reader sees it; the reader closes it."""

    @property
    def digest(self) -> Digest:
        """Its sha256."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    def fileno(self) -> int:
        """A descriptor to read or sendfile from at explicit offsets; valid until `close`."""
        ...

    def ready(self, offset: int, limit: int) -> int:
        """The end of the bytes from *offset*, at most *limit*, that may be sent now; never blocks."""
        ...

    def load(self, offset: int) -> None:
        """Make bytes at *offset* ready; blocks. Raises `StoreCorruptError` when they are damaged."""
        ...

    def close(self) -> None:
        """Let go; may be called twice."""
        ...


class Finished(Protocol):
    """Bytes that are all there and right, on their way to a name; a `Partial` is one."""

    @property
    def sha256(self) -> Digest:
        """Their name; raises `ValueError` while they are not finished."""
        ...

    @property
    def size(self) -> int:
        """Their length in bytes."""
        ...

    @property
    def sums(self) -> Sums:
        """The checksums of their pieces."""
        ...

    @property
    def marks(self) -> bytes:
        """One byte per piece, 1 where it was checked and has not left memory since."""
        ...

    def fileno(self) -> int:
        """The file's descriptor."""
        ...

    def publish(self, final: Path, folders: durable.FolderSyncs) -> None:
        """Give the file its name, *final*; raises `StoreError` with the file removed."""
        ...

    def abandon(self) -> None:
        """Remove the file and give its room back."""
        ...


class BlobStore(Protocol):
    """Where blobs are."""

    def find(self, digest: Digest) -> Blob | None:
        """Look a sha256 up; `None` when it is not here."""
        ...

    def put(self, partials: Sequence[Partial]) -> list[Blob]:
        """Publish finished partials, which end by it; one that is here already gives its room back."""
        ...

    def open(self, digest: Digest) -> StoredBlob | None:
        """Open a blob for one reader; `None` when it is not here."""
        ...

    def delete(self, digest: Digest) -> int:
        """Remove a blob and return the bytes given back; readers that have it open read on."""
        ...

    def walk(self) -> Iterator[Blob]:
        """Every blob, in no order, while others come and go."""
        ...
