"""The keeper as a plain object: for one process that both serves and writes."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

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
from mirror.leases import Lease, Leases
from mirror.messages import Answer, BlobRef, Relay, RequestHead, Terms
from mirror.names import Repo

# Which blobs were wanted is written down in batches: nobody evicts by the second.
TOUCHES_EVERY: Final = 1.0

# Fills and repos that the report names; of more it says how many there are.
MAX_FILLS: Final = 50
MAX_REPOS: Final = 100


class LocalKeeper:
    """Questions, fills and the report, in this process.

    *room* tells quota and free bytes for the report, *readable* whether the folder of the store can be
    read, *traffic* what was served and saved; *about* is what never changes: version, upstreams, the cache
    folder, whether the mirror is offline by setting. Hubs that are *open_hubs* have no readers of their own:
    everybody may know what they hold.
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
        readable: Callable[[], bool],
        about: Mapping[str, object],
        open_hubs: Collection[str] = (),
        traffic: Callable[[], Mapping[str, object]] | None = None,
        leases: Leases | None = None,
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
        self._readable = readable
        self._about = about
        self._open_hubs = open_hubs
        self._traffic = traffic
        self._leases = leases or Leases()
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

    def lease(self, terms: Terms) -> Lease | None:
        """Leave to give an answer again on its *terms*; `None` where they hold no longer."""
        return self._leases.grant(terms.about, terms.as_of, terms.since, terms.until)

    def write_touches(self) -> None:
        """Hand what was touched to the catalog."""
        touched, self._touched = self._touched, {}
        if touched:
            self._catalog.touch(list(touched))

    def report(self) -> Mapping[str, object]:
        """The state of the mirror, public names only.

        Its cost does not grow with what is stored: probes ask for it every few seconds.
        """
        now = self._clock.monotonic()
        totals, readable, running = self._catalog.totals(), self._readable(), self._fills.running()
        reasons = self._reasons(readable=readable)
        cached: dict[str, dict[str, int]] = {}
        for (hub, kind), repos in self._catalog.shown_counts().items():
            cached.setdefault(hub, {})[kind] = repos
        return {
            "status": "degraded" if reasons else "healthy",
            "state": "offline" if self._offline else "degraded" if reasons else "online",
            "reasons": reasons,
            # Without the folder something can be served only while upstream can be asked.
            "serving": readable or not (self._offline or self._outages.all_down()),
            "version": self._about["version"],
            "uptime": round(now - self._began, 1),
            "offline_mode": self._offline,
            "cache_folder": self._about["cache_folder"],
            "cached": cached,
            "store": {"blobs": totals.blobs, "bytes": totals.size, **self._room_left()},
            "upstreams": self._about["upstreams"],
            "down": self._outages.all_down(),
            "filling": len(running),
            **({} if self._traffic is None else {"traffic": self._traffic()}),
            "fills": [
                {
                    **self._named(fill.blob),
                    "size": fill.blob.size,
                    "received": fill.received,
                    "readers": fill.readers,
                    "rate": round(fill.fetched / max(now - fill.began, 0.001)),
                }
                for fill in running[:MAX_FILLS]
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
                for row in self._catalog.shown("", after=None, limit=MAX_REPOS)
            ],
        }

    @property
    def _offline(self) -> bool:
        return bool(self._about["offline"])

    def _room_left(self) -> Mapping[str, int | None]:
        try:
            return self._room()
        except OSError:  # The disk is gone, and `_reasons` says so.
            return {"quota": None, "free": None}

    def _reasons(self, *, readable: bool) -> list[str]:
        """What is degraded, in sentences for everybody; the log tells more."""
        told = (
            (bool(self._outages.all_down()), "Upstream cannot be reached: what is here is served."),
            (not readable, "The cache folder cannot be read: nothing that is stored is served."),
            (bool(self._unwell), "Files cannot be stored: they go through without being kept."),
            (
                self._arrears is not None and bool(self._arrears.trouble),
                "The index cannot be written: what is learned is held in memory.",
            ),
        )
        return [sentence for holds, sentence in told if holds]

    def _named(self, blob: BlobRef) -> Mapping[str, str | None]:
        """Which file comes in, as far as everybody may know."""
        if blob.hub in self._open_hubs:
            file = unquote(urlsplit(blob.source.target).path).rpartition("/")[2]
            return {"hub": blob.hub, "repo": blob.repo, "file": file}
        seen = self._catalog.visibility(Repo(blob.hub, blob.repo))
        if seen is None or seen.private or seen.gated:
            return {"hub": blob.hub, "repo": None, "file": None}
        return {"hub": blob.hub, "repo": blob.repo, "file": blob.path}
