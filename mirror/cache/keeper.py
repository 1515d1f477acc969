"""The keeper: the one process that writes, as everything else sees it.

Fills, ledger, eviction, index, journal and upstream belong to one process. The door speaks to it
through this narrow protocol alone: a plain object today, a socket pair when there are several workers.
"""

from collections.abc import Mapping
from typing import Protocol

from mirror.credential import Credential
from mirror.digest import Digest
from mirror.errors import MirrorError
from mirror.leases import Lease
from mirror.messages import Answer, BlobRef, Relay, RequestHead, Terms


class Feed(Protocol):
    """The bytes of one blob, stored or still on their way in, as one reader sees them.

    Every reader has its own feed and closes it. `ready` is cheap and never blocks; `more` is awaited only
    when `ready` says that nothing can go out.
    """

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        ...

    def fileno(self) -> int:
        """A descriptor to read or sendfile from at explicit offsets; valid until `close`."""
        ...

    def ready(self, offset: int, *, whole: bool) -> int:
        """The end of the bytes from *offset* that may leave now; *offset* itself when none may.

        With *whole* the response promises the blob's end (a 200, or ``bytes=N-``): until the digest
        matches, its last 64 KiB are withheld.
        """
        ...

    async def more(self, offset: int, *, whole: bool) -> None:
        """Return once ``ready(offset)`` is beyond *offset*.

        Raises `MirrorError` if that will never be: the fill broke, the digest was wrong, the stored
        bytes are corrupt. The reader must then cut its response.
        """
        ...

    def close(self) -> None:
        """Let go of the blob; may be called twice."""
        ...


class Keeper(Protocol):
    """What the door may ask of the process that keeps the store."""

    async def ask(self, head: RequestHead, body: bytes) -> Answer | Relay:
        """Answer one request; refusals are answers too, worded by the hub."""
        ...

    async def follow(self, blob: BlobRef, credential: Credential | None) -> Feed:
        """Read a blob, starting its fill if it is cold; *credential* may be borrowed for that."""
        ...

    async def resume(
        self, blob: BlobRef, credential: Credential | None, broken: Feed, error: MirrorError
    ) -> Feed:
        """Another feed in place of *broken*, whose `more` raised *error*.

        Raises *error* where there is none: then the response must be cut. *broken* stays the caller's.
        """
        ...

    async def landed(self, blob: BlobRef) -> bool:
        """Wait until no fill of *blob* is under way; tells whether it is in the store."""
        ...

    def touch(self, digest: Digest) -> None:
        """Note that a blob was wanted just now."""
        ...

    def lease(self, terms: Terms) -> Lease | None:
        """Leave to give an answer again on its *terms*; `None` where they hold no longer."""
        ...

    def report(self) -> Mapping[str, object]:
        """The state of the mirror for people and probes, public names only, JSON-ready."""
        ...
