"""A keeper that answers from a script: blobs are real files that grow, fail and hide on command.

It stands in for the cache in tests of the door. Nothing in it waits on its own: a test says when bytes
come, when a digest matches and when something breaks, so no test depends on time.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from mirror.cache.keeper import Feed
from mirror.credential import Credential
from mirror.digest import Digest, sha256_of
from mirror.errors import MirrorError
from mirror.leases import Lease, Leases
from mirror.messages import Answer, BlobRef, Relay, RequestHead, Span, Terms, UpstreamRequest

TAIL = 64 << 10

Script: TypeAlias = (
    Answer | Relay | Exception | Callable[[RequestHead, bytes], Awaitable[Answer | Relay]]
)


class ScriptedBlob:
    """One blob: a file in *folder* that holds *data*, of which *here* bytes have arrived.

    With *window* a reader may send only that many bytes at a time and must ask for the next, as for
    pieces that are not resident. *here* defaults to all of it, with a digest that matched.
    """

    def __init__(
        self, folder: Path, data: bytes, *, here: int | None = None, window: int | None = None
    ) -> None:
        self.data = data
        self.digest = sha256_of(data)
        self.path = folder / self.digest.hex
        self.path.write_bytes(data)
        self.here = len(data) if here is None else here
        self.verified = here is None
        self.window = window
        self.shown = 0
        self.error: MirrorError | None = None
        self.open = 0
        self.waiting = 0
        self._changed = asyncio.Event()

    @property
    def ref(self) -> BlobRef:
        """The blob as an answer names it."""
        source = UpstreamRequest("GET", f"/{self.digest.hex}")
        return BlobRef(self.digest, len(self.data), source, "scripted", "acme/blob")

    def span(self, start: int = 0, end: int | None = None) -> Span:
        """Bytes *start* up to *end* of it, to its end by default."""
        return Span(self.ref, start, len(self.data) if end is None else end)

    def grow(self, to: int) -> None:
        """Let the blob have its first *to* bytes."""
        self.here = to
        self._change()

    def verify(self) -> None:
        """Let the digest match."""
        self.verified = True
        self._change()

    def fail(self, error: MirrorError) -> None:
        """Let every reader that waits from now on learn of *error*."""
        self.error = error
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    def ready(self, offset: int, *, whole: bool) -> int:
        """The end of what may leave from *offset*."""
        end = self.here
        if not self.verified and whole:
            end = min(end, len(self.data) - TAIL)
        if self.window is not None:
            end = min(end, max(self.shown, 0))
        return max(offset, end)


class ScriptedFeed:
    """One reader's view of a `ScriptedBlob`."""

    def __init__(self, blob: ScriptedBlob) -> None:
        self._blob = blob
        self._fd = os.open(blob.path, os.O_RDONLY)
        blob.open += 1

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        return len(self._blob.data)

    def fileno(self) -> int:
        """A descriptor of the file."""
        assert self._fd >= 0, "the feed is closed"
        return self._fd

    def ready(self, offset: int, *, whole: bool) -> int:
        """The end of the bytes from *offset* that may leave now."""
        assert self._fd >= 0, "the feed is closed"
        return self._blob.ready(offset, whole=whole)

    async def more(self, offset: int, *, whole: bool) -> None:
        """Wait until there is more, or raise the scripted error."""
        blob = self._blob
        blob.waiting += 1
        try:
            if blob.window is not None and blob.error is None:
                await asyncio.sleep(0)  # a look at the disk takes at least a turn of the loop
                blob.shown = max(blob.shown, offset + blob.window)
            while blob.ready(offset, whole=whole) <= offset:
                if blob.error is not None:
                    raise blob.error
                await blob.change()
        finally:
            blob.waiting -= 1

    def close(self) -> None:
        """Let go of the blob."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._blob.open -= 1


class ScriptedKeeper:
    """A keeper whose answers are scripted by path; it remembers what it was asked."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.blobs: dict[Digest, ScriptedBlob] = {}
        self.asked: list[RequestHead] = []
        self.bodies: list[bytes] = []
        self.touched: list[Digest] = []
        self.credentials: list[Credential | None] = []
        self.refuse_follow: Exception | None = None
        self.mends: list[ScriptedBlob] = []
        self.leases = Leases()
        self.state: Mapping[str, object] = {
            "version": "0.0.0",
            "state": "online",
            "uptime": 1.0,
            "upstreams": {},
            "store": {"blobs": 0, "bytes": 0, "quota": None, "free": 0},
            "fills": [],
            "repos": [],
        }

    def serve(self, path: str, *blobs: ScriptedBlob, **fields: object) -> None:
        """Answer *path* with the whole of *blobs*, one after another; *fields* are those of `Answer`."""
        for blob in blobs:
            self.blobs[blob.digest] = blob
        body = tuple(blob.span() for blob in blobs)
        etag = blobs[0].digest.hex if blobs else None
        given = {"status": 200, "body": body, "etag": etag, "ranges": True, **fields}
        self.scripts[path] = Answer(**given)  # type: ignore[arg-type]

    async def ask(self, head: RequestHead, body: bytes) -> Answer | Relay:
        """Answer from the script; a path without one is a 404."""
        self.asked.append(head)
        self.bodies.append(body)
        script = self.scripts.get(head.path)
        if script is None:
            return Answer(404, (("Content-Type", "application/json"),), (b"{}",), found="miss")
        if isinstance(script, Exception):
            raise script
        if isinstance(script, Answer | Relay):
            return script
        return await script(head, body)

    def lease(self, terms: Terms) -> Lease | None:
        """Grant a lease as the real one does; a test breaks it by `leases`."""
        return self.leases.grant(terms.about, terms.as_of, terms.since, terms.until)

    async def follow(self, blob: BlobRef, credential: Credential | None) -> ScriptedFeed:
        """Open a scripted blob."""
        self.credentials.append(credential)
        if self.refuse_follow is not None:
            raise self.refuse_follow
        return ScriptedFeed(self.blobs[blob.digest])

    async def resume(
        self,
        blob: BlobRef,  # noqa: ARG002 -- the script says what comes next
        credential: Credential | None,
        broken: Feed,  # noqa: ARG002
        error: MirrorError,
    ) -> ScriptedFeed:
        """Go on with the next of *mends* where there is one."""
        self.credentials.append(credential)
        if not self.mends:
            raise error
        return ScriptedFeed(self.mends.pop(0))

    async def landed(self, blob: BlobRef) -> bool:
        """Whether the scripted blob is whole."""
        return self.blobs[blob.digest].verified

    def touch(self, digest: Digest) -> None:
        """Remember what was wanted."""
        self.touched.append(digest)

    def report(self) -> Mapping[str, object]:
        """The scripted state."""
        return self.state

    @property
    def open_feeds(self) -> int:
        """How many feeds are open."""
        return sum(blob.open for blob in self.blobs.values())


async def chunks(*pieces: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    """The body of a relay: *pieces*, then a normal end or *error*."""
    for piece in pieces:
        yield piece
    if error is not None:
        raise error
