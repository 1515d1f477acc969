"""Fills over a real store and a scripted upstream, and a reader such as the door is."""

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirror.cache.fills import Fills
from mirror.cache.keeper import Feed
from mirror.clock import SystemClock
from mirror.digest import git_sha1_of, sha256_of
from mirror.errors import UpstreamUnreachableError
from mirror.events import Event, FillEnded
from mirror.index.catalog import Catalog
from mirror.index.journal import Journal
from mirror.messages import BlobRef, UpstreamRequest
from mirror.store import durable
from mirror.store.blobs import DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.partials import Partials
from mirror.upstream.contract import TransferHead
from tests.doubles.scripted_upstream import Scripted, ScriptedUpstream


class Leaving(ScriptedUpstream):
    """An upstream that changes after its first transfer: it refuses connections, or is *healed*."""

    refuse_after: int | None = None
    healed: Scripted | None = None

    def fetch(self, *asked: Any, **more: Any) -> TransferHead:
        """Refuse, or hand the scripted body over."""
        if self.refuse_after is not None and len(self.asked) >= self.refuse_after:
            raise UpstreamUnreachableError("upstream.example refused the connection.")
        if self.asked and self.healed is not None:
            self.answers["/file"] = self.healed
        return super().fetch(*asked, **more)


@dataclass
class World:
    """Fills over a real store and a scripted upstream."""

    fills: Fills
    upstream: Leaving
    store: DiskStore
    layout: Layout
    events: list[Event] = field(default_factory=list)

    def outcomes(self) -> list[str]:
        """How the fills ended, in order."""
        return [event.outcome for event in self.events if isinstance(event, FillEnded)]


@asynccontextmanager
async def world(
    folder: Path,
    *,
    strict: bool = False,
    quota: int | None = None,
    upstream: Leaving | None = None,
) -> AsyncIterator[World]:
    """A data folder, its index and pools, put away at the end."""
    layout = Layout(folder / "data")
    layout.prepare()
    ledger = Ledger(quota, 0, 0, layout.free)
    store, upstream, events = DiskStore(layout, ledger), upstream or Leaving(), list[Event]()
    catalog = Catalog.open(layout.index)
    catalog.finish()
    journal = Journal.open(
        layout.journal,
        lambda path, data: durable.write(layout.temporary(), path, data),
        durable.sync_file,
    )
    with ThreadPoolExecutor(4) as workers, ThreadPoolExecutor(4) as disk:
        fills = Fills(
            store=store,
            partials=Partials(layout, ledger, residency=store.residency),
            catalog=catalog,
            journal=journal,
            fetcher=upstream,
            clock=SystemClock(),
            observe=events.append,
            workers=workers,
            disk=disk,
            strict=strict,
        )
        try:
            yield World(fills, upstream, store, layout, events)
        finally:
            await fills.close()
    store.close()
    catalog.close()
    journal.close()


def blob(content: bytes, target: str = "/file", *, git: bool = False) -> BlobRef:
    """A reference to *content* by its sha256, or by its git sha1."""
    digest = git_sha1_of(content) if git else sha256_of(content)
    return BlobRef(digest, len(content), UpstreamRequest("GET", target), "hub", "models/a/b")


async def read(feed: Feed, *, whole: bool = True) -> bytes:
    """Read a feed to its end as a response would."""
    data = b""
    try:
        while len(data) < feed.size:
            end = feed.ready(len(data), whole=whole)
            if end <= len(data):
                await feed.more(len(data), whole=whole)
                continue
            data += os.pread(feed.fileno(), end - len(data), len(data))
    finally:
        feed.close()
    return data
