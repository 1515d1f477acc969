"""All fills under way, and the way of a verified blob into the store.

One fill per digest, however many ask, under whichever name, commit or repo. Verified partials are
published in batches: whatever became ready while the last batch was being synced goes into the next, so
many small files of one snapshot share their folder syncs and their journal line.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final

from mirror.cache.feed import StoredFeed
from mirror.cache.fill import Fill, Means
from mirror.cache.fillpace import Hosts
from mirror.cache.fillplan import Wish
from mirror.cache.fillreach import Reach
from mirror.cache.flights import Flights
from mirror.cache.keeper import Feed
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.digest import SHA256, SOURCE, Digest, git_sha1_of, sha256_of
from mirror.errors import MirrorError, StoreError, UpstreamRefusedError
from mirror.events import Alarm, Observer
from mirror.index.arrears import Arrears
from mirror.index.journal import Journal
from mirror.index.protocol import Index
from mirror.messages import BlobRef
from mirror.store.blobs import Blob, DiskStore, StoredBlob
from mirror.store.partial import Partial
from mirror.store.partials import Partials
from mirror.upstream.contract import Fetcher

_PUBLISHING: Final = "publishing"

# Fills that broke between their beginning and their first reader, remembered for that reader.
MAX_BROKEN: Final = 1024

# Connections of all fills beside the first of each; no host gets more than its share of them.
MAX_LANES: Final = 64


class Fills:
    """The blobs of the mirror: those here, and those on their way in.

    *workers* is the pool that fills run in: its size is how many blobs are fetched at once; *disk* is
    the pool for reads that may block and for publishing.
    """

    def __init__(  # noqa: PLR0913 -- the composition root names each part once
        self,
        *,
        store: DiskStore,
        partials: Partials,
        catalog: Index,
        journal: Journal | Arrears,
        fetcher: Fetcher,
        clock: Clock,
        observe: Observer,
        workers: Executor,
        disk: Executor,
        strict: bool,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._journal = journal
        self._observe = observe
        self._workers = workers
        self._disk = disk
        self._clock = clock
        # Its threads begin with the first blob that more than one connection is worth it for.
        self._lanes = ThreadPoolExecutor(MAX_LANES, thread_name_prefix="lane")
        reach = Reach(fetcher, clock, self._lanes, Hosts())
        self._means = Means(
            reach, partials, clock, observe, self._verified, self._forget, disk, strict
        )
        self._running: dict[Digest, Fill] = {}
        self._broken: OrderedDict[Digest, Fill] = OrderedDict()
        self._idle: asyncio.Future[None] | None = None
        self._ready: list[Fill] = []
        self._publishing: Flights[str, None] = Flights()

    def prepare(self) -> None:
        """Put the empty blob into the store: nobody has to be asked for it. Blocks on the disk."""
        named = git_sha1_of(b"")
        if self._catalog.sha256_of(named) is None or self._store.find(sha256_of(b"")) is None:
            empty = self._means.partials.begin(named, 0)
            empty.finish()
            self._put([empty])
            empty.close()

    # ── what is here ───────────────────────────────────────────────────────────────────────────

    def name_of(self, digest: Digest) -> Digest | None:
        """The sha256 that a published *digest* is stored under, if that is known."""
        return digest if digest.algorithm == SHA256 else self._catalog.sha256_of(digest)

    def known(self, blob: BlobRef) -> BlobRef:
        """*blob* by what it must be: where only its source has a name, what came from there first."""
        if blob.digest.algorithm != SOURCE:
            return blob
        name = self._catalog.sha256_of(blob.digest)
        return blob if name is None else replace(blob, digest=name, believed=True)

    def holds(self, blob: BlobRef) -> bool:
        """Whether the whole blob is here, stored or verified and on its way into the store."""
        name = self.name_of(blob.digest)
        if name is not None and self._store.find(name) is not None:
            return True
        fill = self._running.get(blob.digest)
        return fill is not None and fill.verified

    def coming(self, blob: BlobRef) -> bool:
        """Whether a fill of the blob is under way, which is not asked for again."""
        fill = self._running.get(blob.digest)
        return fill is not None and fill.error is None

    async def begin(
        self, blob: BlobRef, credential: Credential | None, wish: Wish | None = None
    ) -> str:
        """Make sure the blob is here or comes in: ``hit``, ``collapsed`` or ``miss``.

        *wish* is what of it is wanted, `None` for all. Returns once upstream's head is in; raises what
        upstream said instead of bytes.
        """
        while True:
            blob = self.known(blob)
            await self._retired(blob.digest)
            if self.holds(blob):
                return "hit"
            fill, found = self._fill(blob, credential, wish)
            fill.join(wish)
            # Before the wait: a small blob may have come wrong by the time this caller's turn comes.
            fill.promised += 1
            try:
                await asyncio.shield(fill.ready)
            except UpstreamRefusedError:
                self._release(fill)
                # What upstream says to another caller, or about another repo, is not for this one.
                if (fill.blob.source, fill.credential) == (blob.source, credential):
                    raise
            except BaseException:
                self._release(fill)
                raise
            else:
                return found

    async def follow(self, blob: BlobRef, credential: Credential | None) -> Feed:
        """A reader of the blob, filling it if it is cold."""
        stored = self._open(blob)
        if stored is not None:
            return StoredFeed(stored, self._disk, self._corrupt)
        blob = self.known(blob)
        await self._retired(blob.digest)
        self._keep_promise(blob.digest)
        fill, _ = self._fill(blob, credential, None)
        await asyncio.shield(fill.ready)
        fill.promised = max(0, fill.promised - 1)
        return fill.feed()

    async def fetch(self, blob: BlobRef, credential: Credential | None) -> StoredBlob:
        """The whole blob out of the store, filled first if it is cold; the caller closes it."""
        blob = self.known(blob)  # Its fill is known by that name too.
        stored = self._open(blob)
        if stored is None:
            await self.begin(blob, credential)
            feed = await self.follow(blob, credential)
            try:
                at = 0
                while at < feed.size:
                    at = feed.ready(at, whole=True)
                    if at < feed.size:
                        await feed.more(at, whole=True)
            finally:
                feed.close()
            await self.landed(blob)
            stored = self._open(blob)
        if stored is None:
            raise StoreError("A file that was just fetched is not in the store.", hint="Ask again.")
        return stored

    async def landed(self, blob: BlobRef) -> bool:
        """Wait until no fill of the blob is under way; tells whether it is in the store."""
        name = self.known(blob).digest
        while (fill := self._running.get(name)) is not None:
            await asyncio.shield(fill.over)
        return self.holds(blob)

    def made(self, name: Digest) -> Blob | None:
        """What *name* (a source, a digest) is known to be, if that is here."""
        sha256 = self.name_of(name)
        return None if sha256 is None else self._store.find(sha256)

    async def keep(self, name: Digest, made: Partial) -> Blob:
        """Take a finished partial into the store, as what *name* is. Raises `StoreError`."""
        blob = Blob(made.sha256, made.size)
        try:
            await self._in_pool(partial(self._put, [made], [(name, blob.digest)]))
        finally:
            made.close()
        return blob

    async def call(self, name: Digest, blob: Blob) -> None:
        """Know a stored *blob* as what *name* is too. Raises `StoreError`."""
        await self._in_pool(partial(self._put, [], [(name, blob.digest)]))

    def _open(self, blob: BlobRef) -> StoredBlob | None:
        name = self.name_of(blob.digest)
        return None if name is None else self._store.open(name)

    def running(self) -> Sequence[Fill]:
        """The fills under way."""
        return tuple(self._running.values())

    async def close(self) -> None:
        """Stop every fill, keeping its partial, and publish what is verified."""
        for fill in self.running():
            if not fill.verified:
                fill.stop()
        await self.settle()
        self._lanes.shutdown()

    async def settle(self) -> None:
        """Wait until no fill is under way: each is in the store, or given up."""
        while self._running:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    # ── fills ──────────────────────────────────────────────────────────────────────────────────

    async def _retired(self, digest: Digest) -> None:
        """Wait until a fill that nobody wanted any more has put its partial away."""
        while (fill := self._running.get(digest)) is not None and fill.retiring:
            await asyncio.shield(fill.over)

    def _fill(
        self, blob: BlobRef, credential: Credential | None, wish: Wish | None
    ) -> tuple[Fill, str]:
        fill = self._running.get(blob.digest)
        if fill is not None and fill.error is None:
            return fill, "collapsed"
        self._broken.pop(blob.digest, None)
        fill = Fill(self._means, blob, credential, wish)
        self._running[blob.digest] = fill
        try:
            self._workers.submit(fill.run)
        except (RuntimeError, MemoryError) as trouble:  # No thread can be started.
            fill.fail(StoreError(f"The download could not begin: {str(trouble) or 'no memory'}."))
        return fill, "miss"

    def _forget(self, fill: Fill) -> None:
        if self._running.get(fill.blob.digest) is fill:
            del self._running[fill.blob.digest]
        if not fill.over.done():
            fill.over.set_result(None)
        if fill.error is not None and fill.promised:
            self._broken[fill.blob.digest] = fill
            if len(self._broken) > MAX_BROKEN:
                self._broken.popitem(last=False)
        if not self._running and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def _keep_promise(self, digest: Digest) -> None:
        """Whoever was told that this fill began is told how it ended, and causes no second one."""
        fill = self._broken.get(digest) or self._running.get(digest)
        if fill is None or fill.error is None or not fill.promised:
            return
        self._release(fill)
        raise fill.error

    def _release(self, fill: Fill) -> None:
        """One of those who were told that it began knows how it ended, or does not care."""
        fill.promised -= 1
        if not fill.promised and self._broken.get(fill.blob.digest) is fill:
            del self._broken[fill.blob.digest]

    # ── into the store ─────────────────────────────────────────────────────────────────────────

    def _verified(self, fill: Fill) -> None:
        if fill not in self._ready:
            self._ready.append(fill)
        self._publishing.launch(_PUBLISHING, self._publish)

    async def _publish(self) -> None:
        while self._ready:
            batch, self._ready = self._ready, []
            partials = [fill.partial for fill in batch if fill.partial is not None]
            try:
                await self._in_pool(partial(self._put, partials))
            except Exception as error:  # noqa: BLE001 -- whatever it is, the others go on
                why = str(error) or type(error).__name__
                self._observe(
                    Alarm("publish-failed", f"A verified download could not be stored: {why}")
                )
            finally:
                for fill in batch:
                    self._forget(fill)
                    fill.end()

    def _put(
        self, partials: Sequence[Partial], names: Sequence[tuple[Digest, Digest]] = ()
    ) -> None:
        """Publish, then name: the order that a crash cannot turn into a name without bytes."""
        blobs = self._store.put(partials)
        links = [
            *names,
            *(
                (partial.expected, blob.digest)
                for partial, blob in zip(partials, blobs, strict=True)
                if partial.expected.algorithm != SHA256
            ),
        ]
        if links:
            self._journal.link(links)
        self._catalog.stored([(blob.digest, blob.size) for blob in blobs], links).result()

    async def _in_pool(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _corrupt(self, error: MirrorError) -> None:
        self._observe(Alarm("corrupt-blob", str(error)))
