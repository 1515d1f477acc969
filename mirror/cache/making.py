"""Bodies that have to be made before they can be sent: an archive written anew, a body without a length.

Each is made once, whoever asks, and becomes a blob of its own that is known by what it was made of. Its
client waits until it is whole: only then its length is known, and no client gets a body without one.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import BinaryIO, Final, TypeAlias, TypeVar

from mirror.cache.asking import Voice
from mirror.cache.fills import Fills
from mirror.cache.flights import Flights
from mirror.digest import Digest
from mirror.errors import UpstreamRefusedError
from mirror.messages import BlobRef, Derived
from mirror.store.blobfile import BlobFile
from mirror.store.blobs import Blob
from mirror.store.draft import Draft
from mirror.store.partials import Partials
from mirror.upstream.contract import Asker, Stream

T = TypeVar("T")

Transform: TypeAlias = Callable[[BinaryIO], Iterator[bytes] | None]
"""Makes content of a file: its bytes in order, or `None` where the file itself is what is wanted."""

# Bytes of a stream that are gathered before they go to the disk.
_BATCH: Final = 1 << 20

_OK: Final = 200
_REFUSED: Final = 400
_BAD_GATEWAY: Final = 502


class Making:
    """Makes what is `Derived`.

    *transforms* are what may be made of a blob, by name; *drafts* begins a new file; *partials* takes it on;
    *disk* is the pool for work that blocks.
    """

    def __init__(
        self,
        *,
        fills: Fills,
        upstream: Asker,
        drafts: Callable[[], Draft],
        partials: Partials,
        transforms: Mapping[str, Transform],
        disk: Executor,
    ) -> None:
        self._fills = fills
        self._upstream = upstream
        self._drafts = drafts
        self._partials = partials
        self._transforms = transforms
        self._disk = disk
        self._flights: Flights[Digest, Blob] = Flights()

    def lacks(self, wanted: Derived) -> bool:
        """Whether upstream has to be asked for *wanted*."""
        if self._fills.made(wanted.name) is not None:
            return False
        return wanted.blob is None or not self._fills.holds(self._fills.known(wanted.blob))

    async def make(self, wanted: Derived, voice: Voice) -> BlobRef:
        """Return the blob of *wanted*, made now where it is not here.

        Raises what upstream says instead of bytes, and `StoreError`.
        """
        blob = self._fills.made(wanted.name)
        if blob is None:
            blob = await self._flights.join(wanted.name, lambda: self._make(wanted, voice))
        return BlobRef(blob.digest, blob.size, wanted.source, wanted.hub, wanted.repo)

    async def close(self) -> None:
        """Give up what is being made."""
        await self._flights.close()

    async def _make(self, wanted: Derived, voice: Voice) -> Blob:
        if wanted.blob is None:
            return await self._draft(wanted, partial(self._collect, wanted, voice))
        stored = await self._fills.fetch(wanted.blob, voice.credential)
        try:
            file = io.BufferedReader(BlobFile(stored), _BATCH)
            chunks = await self._in_pool(partial(self._transforms[wanted.transform], file))
            if chunks is None:
                blob = Blob(stored.digest, stored.size)
                await self._fills.call(wanted.name, blob)
                return blob
            return await self._draft(wanted, partial(self._write, chunks))
        finally:
            stored.close()

    async def _draft(self, wanted: Derived, fill: Callable[[Draft], Awaitable[None]]) -> Blob:
        draft = await self._in_pool(self._drafts)
        try:
            await fill(draft)
            made = await self._in_pool(partial(draft.finish, self._partials))
        finally:
            await self._in_pool(draft.abandon)
        return await self._fills.keep(wanted.name, made)

    async def _collect(self, wanted: Derived, voice: Voice, draft: Draft) -> None:
        """Take a body to its end, wherever that is."""
        source = voice.on_its_way(wanted.source)
        async with self._upstream.stream(wanted.hub, source, voice.credential) as stream:
            if stream.status != _OK:
                raise UpstreamRefusedError(
                    f"Upstream answered {stream.status} where a file was wanted.",
                    status=stream.status if stream.status >= _REFUSED else _BAD_GATEWAY,
                    headers={},
                )
            async for batch in _batches(stream):
                await self._in_pool(partial(draft.write, batch))

    async def _write(self, chunks: Iterator[bytes], draft: Draft) -> None:
        def work() -> None:
            for chunk in chunks:
                draft.write(chunk)

        await self._in_pool(work)

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


async def _batches(stream: Stream) -> AsyncIterator[bytes]:
    batch = bytearray()
    async for chunk in stream.chunks():
        batch += chunk
        if len(batch) >= _BATCH:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)
