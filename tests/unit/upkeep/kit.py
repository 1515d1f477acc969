"""A store that is kept: with its catalog, its journal and an evictor, as the running program has them."""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from mirror.digest import Digest
from mirror.index.catalog import Catalog
from mirror.index.journal import Journal
from mirror.store import durable
from mirror.store.residency import Residency
from mirror.upkeep.evict import Evictor
from mirror.upkeep.known import writer
from mirror.upkeep.pins import Pins
from tests.unit.store.kit import ROOMY, Kit


class Kept(Kit):
    """A store kit whose ledger makes room by evicting, and whose blobs are in a catalog."""

    def __init__(
        self,
        data: Path,
        *,
        quota: int | None = None,
        residency: Residency | None = None,
        disk: int | None = ROOMY,
    ) -> None:
        super().__init__(data, quota=quota, residency=residency, disk=disk)
        self.catalog = Catalog.open(self.layout.index)
        self.catalog.finish()
        self.journal = Journal.open(self.layout.journal, writer(self.layout), durable.sync_file)
        self.evictor = Evictor(
            self.store,
            self.partials,
            self.catalog,
            Pins(self.journal, self.catalog, lambda _address: ()).digests,
            self.events.append,
        )
        self.ledger._make_room = self.evictor.make_room

    def keep(self, *contents: bytes) -> Sequence[Digest]:
        """Publish *contents* one after the other and have the catalog know them."""
        digests = []
        for content in contents:
            digest = self.fill(content)
            self.catalog.stored([(digest, len(content))]).result()
            digests.append(digest)
        return digests

    def here(self, digests: Sequence[Digest]) -> list[bool]:
        """Which of *digests* the store still has; the catalog must agree."""
        known = {blob.digest for blob in self.catalog.least_recent(after=0, limit=100_000)}
        found = [self.store.find(digest) is not None for digest in digests]
        assert found == [digest in known for digest in digests]
        return found

    def on_disk(self) -> int:
        """Bytes of blobs, partials and quarantine, as the file system has them."""
        return self.layout.measure()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.catalog.close()
        self.journal.close()
        super().__exit__(kind, error, trace)


def noise(seed: int, size: int) -> bytes:
    """*size* bytes that differ for each *seed*."""
    return random.Random(seed).randbytes(size)


def link(kit: Kit, digest: Digest, folder: Path) -> Path:
    """Give a blob a second name outside the store, as an export by hard link does."""
    name = folder / f"linked-{digest.hex[:8]}"
    os.link(kit.file(digest), name)
    return name
