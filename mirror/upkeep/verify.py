"""The check of a whole store, for whoever keeps it: everything is looked at again and nothing believed.

Without reading the blobs it compares what is cheap: folders, names, sizes, sums, records, journal, and
whether the index agrees with them. With ``read`` every byte is hashed again. It changes nothing unless it
is told to mend; then what is bad is set aside, never deleted, and the index is made from the rest.

No server may hold the data folder meanwhile: half of what a running one is about to write would look like
damage.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from mirror.digest import Digest
from mirror.errors import StoreError
from mirror.index import schema
from mirror.index.lines import Holding, Line, Link, Unknown, decode
from mirror.index.rebuild import rebuild
from mirror.index.records import Record, Records, SnapshotRecord
from mirror.store import durable
from mirror.store.blobs import Blob, DiskStore
from mirror.store.layout import Layout
from mirror.store.ledger import Ledger
from mirror.store.sums import PIECE, Sums
from mirror.upkeep import inspection
from mirror.upkeep.agreement import SHOWN, Agreement
from mirror.upkeep.findings import Finding, Level, Loss, Report, Watcher
from mirror.upkeep.known import Known, writer
from mirror.upkeep.reading import Reading, Readings, UnreadableError, cores
from mirror.upkeep.running import End, RunMark
from mirror.upkeep.subset import Subset


@dataclass(frozen=True, slots=True)
class Options:
    """What to do: *read* the blobs, all or a *subset*; *mend* what is bad; *anew*: make the index again."""

    read: bool = False
    subset: Subset | None = None
    mend: bool = False
    anew: bool = False


_ASIDE: Final = "It was set aside."


class Verification:
    """One check of the data folder of *layout*, whose lock the caller holds.

    *boot* is `mirror.upkeep.running.boot_id`; *draw* decides which blobs a random subset has.
    """

    def __init__(
        self,
        layout: Layout,
        options: Options,
        watch: Watcher,
        *,
        boot: str | None,
        draw: random.Random,
    ) -> None:
        self._layout = layout
        self._options = options
        self._watch = watch
        self._boot = boot
        self._draw = draw
        self._report = Report()
        self._held: dict[Digest, int] = {}
        self._lost: set[Digest] = set()
        self._relevel = options.anew

    def run(self) -> Report:
        """Check, mend if asked to, and say what was found.

        Raises `StoreError` or `OSError` when the check cannot go on at all.
        """
        layout = self._layout
        for finding in inspection.folders(layout):
            self._found(finding, self._close_secret if finding.kind == "secret" else None)
        layout.prepare()
        ledger = Ledger(None, 0, layout.measure(), layout.free)
        with closing(DiskStore(layout, ledger)) as store:
            self._blobs(store)
            if self._options.read:
                self._read(store)
            self._names()
            for finding in inspection.leftovers(layout):
                self._found(finding)
            if self._relevel:
                self._level(store)
        if self._lost:
            self._report.losses.extend(self._losses())
        return self._report

    # ── bytes ──────────────────────────────────────────────────────────────────────────────────

    def _blobs(self, store: DiskStore) -> None:
        for finding, digest in inspection.blobs(self._layout, self._held):
            if digest is not None:
                self._bad_blob(store, digest, finding)
            elif finding.kind == "sums":
                self._found(finding, partial(self._remove, finding.what))
            else:
                self._found(finding)
        for path in inspection.orphans(self._layout):
            what = str(path.relative_to(self._layout.root))
            finding = Finding(Level.NOTE, "sums-orphan", what, "Its blob is not here.")
            self._found(finding, partial(self._remove, what))
        self._report.blobs, self._report.size = len(self._held), sum(self._held.values())

    def _read(self, store: DiskStore) -> None:
        blobs = [Blob(digest, size) for digest, size in self._held.items()]
        if self._options.subset is not None:
            blobs = self._options.subset.choose(blobs, self._draw)
        self._watch.begin("read", sum(blob.size for blob in blobs))
        readings = Readings(
            lambda digest: Sums.read(self._layout.sums_of(digest), digest),
            self._watch.advance,
            cores(),
        )
        paths = [(self._layout.blob(blob.digest), blob) for blob in blobs]
        with closing(readings.of(paths)) as read:
            for path, blob, reading in read:
                if isinstance(reading, UnreadableError):
                    what = str(path.relative_to(self._layout.root))
                    self._found(Finding(Level.UNCHECKED, "blob-data", what, f"{reading}."))
                    continue
                self._report.blobs_read += 1
                self._report.size_read += reading.sums.size
                if reading.wrong:
                    finding = inspection.blob_damage(self._layout, blob, reading.wrong)
                    self._bad_blob(store, blob.digest, finding)
                else:
                    self._sums(blob, reading)

    def _sums(self, blob: Blob, reading: Reading) -> None:
        if blob.size <= PIECE or not (reading.missing or reading.sums_wrong):
            return
        path = self._layout.sums_of(blob.digest)

        def write() -> str:
            durable.write(self._layout.temporary(), path, reading.sums.encode(), mode=0o444)
            return "They were made again."

        if reading.sums_wrong:
            what = str(path.relative_to(self._layout.root))
            self._found(Finding(Level.DAMAGE, "sums", what, "The sums are not its blob's."), write)
        elif self._options.mend:
            write()

    def _bad_blob(self, store: DiskStore, digest: Digest, finding: Finding) -> None:
        self._lost.add(digest)

        def set_aside() -> str:
            store.quarantine(digest, finding.detail)
            self._held.pop(digest, None)
            self._relevel = True
            return _ASIDE

        self._found(finding, set_aside)

    # ── names ──────────────────────────────────────────────────────────────────────────────────

    def _names(self) -> None:
        """Read records and journal, and hold the index against them."""
        layout = self._layout
        last = RunMark(layout, self._boot).last()
        trouble = schema.examine(layout.index)
        index = None if trouble else Agreement(layout.index)
        disagreements: list[str] = []
        try:
            self._watch.begin("names", len(self._records().files()))
            for record in self._each_record():
                if index is not None:
                    disagreements += index.record(record)
            lines = self._lines()
            if index is not None:
                for line in lines:
                    disagreements += index.line(line)
                disagreements += index.blobs(self._held)
        finally:
            if index is not None:
                index.close()
        if trouble is not None and not (self._fresh() or self._options.anew):
            sentence, damaged = trouble
            self._index(sentence, Level.DAMAGE if damaged else Level.NOTE)
        # A run that did not end may not have written everything down; the next start mends that.
        level = Level.DAMAGE if last is End.CLEAN else Level.NOTE
        # What was just found bad is still believed in, and that is no news.
        lost = {str(digest) for digest in self._lost}
        disagreements = [line for line in disagreements if line.split()[0] not in lost]
        if not self._options.anew:
            for sentence in disagreements[:SHOWN]:
                self._index(sentence, level)
            if len(disagreements) > SHOWN:
                self._index(f"It disagrees in {len(disagreements) - SHOWN} more points.", level)

    def _lines(self) -> list[Line | Unknown]:
        """The lines of the journal that hold."""
        holding = Holding()
        for text, finding in inspection.journal(self._layout):
            if finding is not None:
                self._found(finding, self._copy_journal)
            elif (line := decode(text)) is not None:
                holding.take(line, text)
        return [line for line, _ in holding.live.values()]

    def _fresh(self) -> bool:
        """Whether nothing was ever stored: then there is nothing that an index could lack."""
        return not self._held and not self._layout.journal.exists()

    def _index(self, sentence: str, level: Level) -> None:
        def make() -> str:
            self._relevel = True
            return "It was made again."

        self._found(Finding(level, "index", self._layout.index.name, sentence), make)

    def _records(self) -> Records:
        return Records(self._layout.records, writer(self._layout))

    def _each_record(self) -> Iterator[Record]:
        records = self._records()
        for path in records.files():
            record = records.read(path)
            self._watch.advance(1)
            if record is not None:
                self._report.records += 1
                yield record
                continue
            what = str(path.relative_to(self._layout.root))
            detail = "The record cannot be read; its snapshot is to be asked for again."
            finding = Finding(Level.DAMAGE, "record", what, detail)
            self._found(finding, partial(self._aside, path))

    def _losses(self) -> Iterable[Loss]:
        """Which files had the content of the blobs that were lost."""
        names = dict.fromkeys(self._lost)
        wanted: dict[Digest, Digest] = {digest: digest for digest in names}
        for text, _ in inspection.journal(self._layout):
            line = decode(text)
            if isinstance(line, Link) and line.sha256 in self._lost:
                wanted[line.name] = line.sha256
        records = self._records()
        for path in records.files():
            record = records.read(path)
            if not isinstance(record, SnapshotRecord):
                continue
            repo, commit = record.snapshot.repo, record.snapshot.commit
            for entry in record.entries:
                if entry.digest is not None and entry.digest in wanted:
                    digest = wanted[entry.digest]
                    yield Loss(repo.hub, repo.name, commit, entry.path, digest)

    # ── mending ────────────────────────────────────────────────────────────────────────────────

    def _found(self, finding: Finding, mend: Callable[[], str] | None = None) -> None:
        if self._options.mend and mend is not None:
            try:
                finding = replace(finding, mended=mend())
            except (OSError, StoreError) as error:
                finding = replace(finding, detail=f"{finding.detail} It stays so: {error}.")
        self._report.findings.append(finding)
        self._watch.found(finding)

    def _remove(self, what: str) -> str:
        (self._layout.root / what).unlink()
        return "It was removed."

    def _close_secret(self) -> str:
        self._layout.secret_file.chmod(0o600)
        return "It was closed to others."

    def _aside(self, path: Path) -> str:
        durable.move(path, self._layout.quarantine / path.name)
        return _ASIDE

    def _copy_journal(self) -> str:
        """Keep the journal as it is; opening it anew leaves out what cannot be read."""
        copy = self._layout.quarantine / self._layout.journal.name
        if not copy.exists():
            durable.write(self._layout.temporary(), copy, self._layout.journal.read_bytes())
        self._relevel = True
        return "It was left out; the journal as it was is in the quarantine."

    def _level(self, store: DiskStore) -> None:
        """Make the index from what is durable, over a sound one or from nothing."""
        layout = self._layout
        if self._options.anew or schema.examine(layout.index) is not None:
            schema.discard(layout.index)
        with Known(layout, store, lambda _: None, boot=self._boot) as known:
            known.journal.compact(1)
            blobs = ((blob.digest, blob.size) for blob in store.walk())
            rebuild(known.catalog, known.records, known.journal, blobs)
