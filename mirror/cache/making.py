"""Bodies that have to be made before they can be sent: an archive written anew, a body without a length.

Each is made once, whoever asks, and becomes a blob of its own that is known by what it was made of. Its
client waits until it is whole: only then its length is known, and no client gets a body without one.

What upstream makes anew for each request (the archive of a commit) may differ from what it made before.
That is written down: each time it is fetched again and differs, the new bytes get a name after the old one.
"""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import BinaryIO, Final, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from mirror.cache.asking import Voice
from mirror.cache.fills import Fills
from mirror.cache.flights import Flights
from mirror.digest import Digest, Hasher, source_of
from mirror.errors import UpstreamRefusedError, UpstreamUnavailableError
from mirror.events import Alarm, Fetched, Observer
from mirror.messages import BlobRef, Derived, doubt
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

_LOG: Final = logging.getLogger("modelmirror")


class Making:
    """Makes what is `Derived`.

    *transforms* are what may be made of a blob, by name; *drafts* begins a new file; *partials* takes it on;
    *disk* is the pool for work that blocks; *observe* hears of wrong bytes.
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
        observe: Observer,
    ) -> None:
        self._fills = fills
        self._upstream = upstream
        self._drafts = drafts
        self._partials = partials
        self._transforms = transforms
        self._disk = disk
        self._observe = observe
        self._flights: Flights[Digest, Blob] = Flights()
        self._keeping: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    def lacks(self, wanted: Derived) -> bool:
        """Whether upstream has to be asked for *wanted*."""
        if self._made(wanted) is not None:
            return False
        match wanted.made_of:
            case Derived():
                return self.lacks(wanted.made_of)
            case BlobRef():
                return not self._fills.holds(self._fills.known(wanted.made_of))
            case None:
                return True

    async def make(self, wanted: Derived, voice: Voice) -> BlobRef:
        """Return the blob of *wanted*, made now where it is not here.

        Raises what upstream says instead of bytes, and `StoreError`.
        """
        blob = self._made(wanted)
        if blob is None:
            blob = await self._flights.join(wanted.name, lambda: self._make(wanted, voice))
        return BlobRef(blob.digest, blob.size, wanted.source, wanted.hub, wanted.repo)

    async def close(self) -> None:
        """Give up what is being made."""
        await self._flights.close()

    def _made(self, wanted: Derived) -> Blob | None:
        """What is wanted, if it is here: by its digest from wherever, or by its latest name."""
        if wanted.expected is not None and (blob := self._fills.made(wanted.expected)) is not None:
            return blob
        return self._fills.made(self._latest(wanted))

    def _latest(self, wanted: Derived) -> Digest:
        """The name of what came last: a name never changes its meaning, so what differs has a new one."""
        name = wanted.name
        while wanted.regenerated and self._fills.name_of(after := made_anew(name)) is not None:
            name = after
        return name

    async def _make(self, wanted: Derived, voice: Voice) -> Blob:
        if wanted.made_of is None:
            return await self._fetch(wanted, voice)
        blob = wanted.made_of
        blob = await self.make(blob, voice) if isinstance(blob, Derived) else blob
        stored = await self._fills.fetch(blob, voice.credential)
        try:
            file = io.BufferedReader(BlobFile(stored), _BATCH)
            chunks = await self._in_pool(partial(self._transforms[wanted.transform], file))
            if chunks is None:
                same = Blob(stored.digest, stored.size)
                await self._fills.call(wanted.name, same)
                return same
            return await self._draft(partial(self._write, chunks), lambda _made: wanted.name)
        finally:
            stored.close()

    async def _fetch(self, wanted: Derived, voice: Voice) -> Blob:
        """Take a body without a length from upstream."""
        name = self._latest(wanted)
        before = self._fills.name_of(name)
        expected = wanted.expected or (None if wanted.regenerated else before)

        def named(made: Digest) -> Digest:
            if not wanted.regenerated or before in (None, made):
                return name
            _LOG.info("%s made %s anew, with other bytes.", wanted.repo, wanted.source.target)
            return made_anew(name)

        return await self._draft(partial(self._collect, wanted, expected, voice), named)

    async def _draft(
        self, fill: Callable[[Draft], Awaitable[None]], named: Callable[[Digest], Digest]
    ) -> Blob:
        """Write what *fill* brings, and keep it as what *named* calls it.

        Two of them may come to the same content at once, as one model's handles do: the second one finds
        what the first one kept.
        """
        draft = await self._in_pool(self._drafts)
        try:
            await fill(draft)
            digest = draft.digest
            async with self._keeping.setdefault(digest, asyncio.Lock()):
                same = self._fills.made(digest)
                if same is not None:
                    await self._fills.call(named(digest), same)
                    return same
                made = await self._in_pool(partial(draft.finish, self._partials))
                return await self._fills.keep(named(digest), made)
        finally:
            await self._in_pool(draft.abandon)

    async def _collect(
        self, wanted: Derived, expected: Digest | None, voice: Voice, draft: Draft
    ) -> None:
        """Take a body to its end, wherever that is, and hold it against what is known of it."""
        hasher = Hasher(0, expected, wanted.checks)

        def take(batch: bytes) -> None:
            hasher.update(batch)
            draft.write(batch)

        source = voice.on_its_way(wanted.source)
        async with self._upstream.stream(wanted.hub, source, voice.credential) as stream:
            if stream.status != _OK:
                raise UpstreamRefusedError(
                    f"Upstream answered {stream.status} where a file was wanted.",
                    status=stream.status if stream.status >= _REFUSED else _BAD_GATEWAY,
                    headers={},
                )
            async for batch in _batches(stream):
                self._observe(Fetched(wanted.hub, len(batch)))
                await self._in_pool(partial(take, batch))
        got = hasher.differs()
        if got is not None:
            said = f"The bytes that came from {wanted.repo} are not those that were published, or came first"
            where = wanted.source.target.partition("?")[0]
            first = not wanted.checks and wanted.expected is None
            what_to_do = doubt(wanted.source, wanted.repo) if first else ""
            self._observe(
                Alarm(
                    "digest-mismatch", f"{said}: {where} is {got} now. None were kept.{what_to_do}"
                )
            )
            raise UpstreamUnavailableError(f"{said}. None were kept.")

    async def _write(self, chunks: Iterator[bytes], draft: Draft) -> None:
        def work() -> None:
            for chunk in chunks:
                draft.write(chunk)

        await self._in_pool(work)

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


def made_anew(name: Digest) -> Digest:
    """What the next content is called that differs from that called *name*."""
    return source_of(str(name), "made anew")


async def _batches(stream: Stream) -> AsyncIterator[bytes]:
    batch = bytearray()
    async for chunk in stream.chunks():
        batch += chunk
        if len(batch) >= _BATCH:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)
