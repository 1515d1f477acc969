"""What becomes of a reader whose feed breaks because of this machine and not of upstream.

A stored piece that rotted is fetched again, and the response goes on from the new bytes. A disk that
cannot take a download, from its beginning or in the middle, leaves its readers to upstream itself. Only
where upstream cannot be asked either is a response cut.
"""

import asyncio
import os
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from mirror.cache.feed import GrowingFeed, StoredFeed
from mirror.cache.fills import Fills
from mirror.cache.flights import Flights
from mirror.cache.keeper import Feed
from mirror.cache.passing import PassingFeed
from mirror.cache.unwell import Unwell
from mirror.credential import Credential
from mirror.digest import Hasher
from mirror.errors import DigestMismatchError, MirrorError, StoreError
from mirror.messages import BlobRef
from mirror.upstream.contract import Asker, Stream

# Bytes of a prefix that are read back and hashed at a time.
_READ: Final = 4 << 20


class Mending:
    """Feeds for readers, and others in their place when they break.

    *disk* is the pool for reads that may block; with *offline* upstream is never asked.
    """

    def __init__(
        self, *, fills: Fills, upstream: Asker, disk: Executor, unwell: Unwell, offline: bool
    ) -> None:
        self._fills = fills
        self._upstream = upstream
        self._disk = disk
        self._unwell = unwell
        self._offline = offline
        self._flights: Flights[object, None] = Flights()

    async def follow(self, blob: BlobRef, credential: Credential | None) -> Feed:
        """A reader of the blob: stored, coming in, or passed through where it cannot be stored."""
        try:
            return await self._fills.follow(blob, credential)
        except DigestMismatchError:
            raise
        except StoreError as error:
            return self._pass(blob, credential, None, error)

    async def resume(
        self,
        blob: BlobRef,
        credential: Credential | None,
        broken: Feed,
        error: MirrorError,
    ) -> Feed:
        """Another feed in place of *broken*, which raised *error*; raises it where there is none.

        The broken one stays the reader's own, and open: what it has may still be on its way out.
        """
        if self._offline or not isinstance(error, StoreError):
            raise error
        if isinstance(error, DigestMismatchError) or isinstance(broken, PassingFeed):
            raise error
        if isinstance(broken, StoredFeed):
            return await self.follow(blob, credential)
        return self._pass(blob, credential, broken, error)

    async def close(self) -> None:
        """Hang up on upstream."""
        await self._flights.close()

    def _pass(
        self,
        blob: BlobRef,
        credential: Credential | None,
        broken: Feed | None,
        error: StoreError,
    ) -> PassingFeed:
        if self._offline:
            raise error
        self._unwell.cannot_store(error)

        def open_at(offset: int) -> AbstractAsyncContextManager[Stream]:
            source = blob.source
            if offset:
                wanted = ("Range", f"bytes={offset}-{blob.size - 1}")
                source = replace(source, headers=(*source.headers, wanted))
            return self._upstream.stream(blob.hub, source, credential)

        async def prefix(hasher: Hasher, end: int) -> bool:
            if not end:
                return True
            if not isinstance(broken, GrowingFeed) or not broken.holds(end):
                return False
            try:
                # One of its own: what broke may be closed at any time, and its number given to another.
                fd = os.dup(broken.fileno())
            except (ValueError, OSError):
                return False
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._disk, _hash, fd, hasher, end)

        try:
            return PassingFeed(blob, open_at, prefix, self._flights)
        except OSError as trouble:
            raise error from trouble


def _hash(fd: int, hasher: Hasher, end: int) -> bool:
    """Hash the first *end* bytes of a file and close it; returns whether all of them could be read."""
    done = 0
    try:
        while done < end:
            data = os.pread(fd, min(_READ, end - done), done)
            if not data:
                return False
            hasher.update(data)
            done += len(data)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
