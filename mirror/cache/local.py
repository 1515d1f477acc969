"""The keeper as a plain object: for one process that both serves and writes."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from mirror.cache.fills import Fills
from mirror.cache.keeper import Feed
from mirror.cache.mending import Mending
from mirror.cache.outage import Outages
from mirror.cache.pullthrough import PullThrough
from mirror.cache.unwell import Unwell
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.digest import Digest
from mirror.errors import MirrorError
from mirror.index.arrears import Arrears
from mirror.index.protocol import Index
from mirror.messages import Answer, BlobRef, Relay, RequestHead
from mirror.names import Repo

# Which blobs were wanted is written down in batches: nobody evicts by the second.
TOUCHES_EVERY: Final = 1.0


class LocalKeeper:
    """Questions, fills and the report, in this process.

    *room* tells quota and free bytes for the report, *traffic* what was served and saved; *about* is what
    never changes: version, upstreams, whether the mirror is offline by setting.
    """

    def __init__(  # noqa: PLR0913 -- the composition root names each part once
        self,
        pull: PullThrough,
        fills: Fills,
        catalog: Index,
        clock: Clock,
        *,
        outages: Outages,
        mending: Mending,
        unwell: Unwell,
        arrears: Arrears | None = None,
        room: Callable[[], Mapping[str, int | None]],
        about: Mapping[str, object],
        traffic: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self._pull = pull
        self._fills = fills
        self._catalog = catalog
        self._clock = clock
        self._outages = outages
        self._mending = mending
        self._unwell = unwell
        self._arrears = arrears
        self._room = room
        self._about = about
        self._traffic = traffic
        self._began = clock.monotonic()
        self._touched: dict[Digest, None] = {}

    async def ask(self, head: RequestHead, body: bytes) -> Answer | Relay:
        """Answer one request; refusals are answers too, worded by the hub."""
        return await self._pull.ask(head, body)

    async def follow(self, blob: BlobRef, credential: Credential | None) -> Feed:
        """Read a blob, starting its fill if it is cold."""
        return await self._mending.follow(blob, credential)

    async def resume(
        self, blob: BlobRef, credential: Credential | None, broken: Feed, error: MirrorError
    ) -> Feed:
        """Another feed in place of one that this machine broke."""
        return await self._mending.resume(blob, credential, broken, error)

    async def landed(self, blob: BlobRef) -> bool:
        """Wait until a blob that was followed to its end is in the store, if it will be."""
        return await self._fills.landed(blob)

    def touch(self, digest: Digest) -> None:
        """Note that a blob was wanted just now."""
        name = self._fills.name_of(digest)
        if name is None:
            return
        if not self._touched:
            asyncio.get_running_loop().call_later(TOUCHES_EVERY, self.write_touches)
        self._touched[name] = None

    def write_touches(self) -> None:
        """Hand what was touched to the catalog."""
        touched, self._touched = self._touched, {}
        if touched:
            self._catalog.touch(list(touched))

    def report(self) -> Mapping[str, object]:
        """The state of the mirror, public names only."""
        now = self._clock.monotonic()
        totals = self._catalog.totals()
        return {
            "version": self._about["version"],
            "state": self._state(),
            "reasons": self._reasons(),
            "uptime": round(now - self._began, 1),
            "upstreams": self._about["upstreams"],
            "store": {"blobs": totals.blobs, "bytes": totals.size, **self._room()},
            **({} if self._traffic is None else {"traffic": self._traffic()}),
            "fills": [
                {
                    "repo": fill.blob.repo if self._public(fill.blob) else None,
                    "size": fill.blob.size,
                    "received": fill.received,
                    "readers": fill.readers,
                    "rate": round(fill.received / max(now - fill.began, 0.001)),
                }
                for fill in self._fills.running()
            ],
            "repos": [
                {
                    "hub": row.repo.hub,
                    "name": row.repo.name,
                    "commits": row.commits,
                    "files": row.files,
                    "stored": row.files_stored,
                    "bytes": row.bytes_stored,
                }
                for row in self._catalog.repos(public_only=True)
            ],
        }

    def _state(self) -> str:
        if self._about["offline"]:
            return "offline"
        return "degraded" if self._reasons() else "online"

    def _reasons(self) -> list[str]:
        """What is degraded, in sentences for everybody; the log tells more."""
        told = (
            (self._outages.any_down(), "Upstream cannot be reached: what is here is served."),
            (bool(self._unwell), "Files cannot be stored: they go through without being kept."),
            (
                self._arrears is not None and bool(self._arrears.trouble),
                "The index cannot be written: what is learned is held in memory.",
            ),
        )
        return [sentence for holds, sentence in told if holds]

    def _public(self, blob: BlobRef) -> bool:
        seen = self._catalog.visibility(Repo(blob.hub, blob.repo))
        return seen is not None and not seen.private
