"""What is known, opened together: catalog, records, journal and memo of a data folder.

The catalog is a cache of the other two, so whoever opens them brings it level first when it may not be:
when it is new, when a power cut may have taken its last transactions, or when blobs came or went without
being written down.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from mirror.errors import StoreError
from mirror.index.arrears import Arrears
from mirror.index.catalog import Catalog
from mirror.index.journal import Journal
from mirror.index.memo import Memo
from mirror.index.rebuild import match_blobs, rebuild, save_missing
from mirror.index.records import Records
from mirror.leases import Leases
from mirror.store import durable
from mirror.store.blobs import BlobStore
from mirror.store.layout import Layout
from mirror.upkeep.running import End, RunMark


class Known:
    """Opened on entering, put away on leaving; the lock of the data folder must be held.

    *store* has the blobs; *damaged* is told, in a sentence, of what cannot be read; *boot* names the
    machine's start (`mirror.upkeep.running.boot_id`), which decides what an unclean end may have cost;
    *refused* is told when the disk begins to take nothing, and when it takes everything again; *leases*
    break before what the catalog knows changes; *count* is told how many bytes the blobs are, once the
    catalog is level with them.
    Entering raises `StoreError` when the disk refuses.
    """

    def __init__(
        self,
        layout: Layout,
        store: BlobStore,
        damaged: Callable[[str], None],
        *,
        boot: str | None,
        refused: Callable[[str], None] | None = None,
        count: Callable[[int], None] = lambda _size: None,
        leases: Leases | None = None,
    ) -> None:
        self._layout = layout
        self._store = store
        self._damaged = damaged
        self._refused = refused or damaged
        self._count = count
        self._leases = leases
        self._mark = RunMark(layout, boot)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        layout = self._layout
        with ExitStack() as stack:
            last = self._mark.begin()
            self.catalog = Catalog.open(
                layout.index, killed=last is End.KILLED, leases=self._leases
            )
            stack.callback(self.catalog.close)
            self.records = Records(layout.records, writer(layout), self._damaged)
            self.journal = Journal.open(
                layout.journal, writer(layout), durable.sync_file, self._damaged
            )
            stack.callback(self.journal.close)
            self.journal.compact()
            self.memo = Memo.open(layout.memo)
            stack.callback(self.memo.close)
            self._level(last)
            self._count(self.catalog.totals().size)
            self.arrears = Arrears(self.catalog, self.journal, self.records, self._refused)
            stack.callback(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _level(self, last: End) -> None:
        blobs = ((blob.digest, blob.size) for blob in self._store.walk())
        if self.catalog.fresh or last is End.POWER_CUT:
            rebuild(self.catalog, self.records, self.journal, blobs)
        elif last is End.KILLED:
            match_blobs(self.catalog, blobs)
            save_missing(self.catalog, self.records)

    def _finish(self) -> None:
        """Note a clean end, once everything is on the disk; where it cannot get there the mark stays."""
        self.arrears.settle()
        try:
            self.catalog.finish()
        except StoreError as error:
            self._damaged(str(error))
        else:
            self._mark.end()


def writer(layout: Layout) -> Callable[[Path, bytes], None]:
    """How records and journal put a whole file in place: the store's durable write."""
    return lambda path, data: durable.write(layout.temporary(), path, data)
