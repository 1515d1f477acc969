"""Taking clients' caches over: looked through, planned, given room, taken, written down; in that order.

Nothing is said of bytes before they are in the store, and a cache is left as it was found. What was stopped
in the middle leaves whole blobs that nobody is told of; the next run finds them and goes on.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mirror.bundle.adoptaddresses import Addresses
from mirror.bundle.adoptcommits import Commits, Loose
from mirror.bundle.adoptoptions import Options
from mirror.bundle.adoptplan import NOT_ALLOWED, Conclusion, Planned, Planning, Wanted
from mirror.bundle.adoptreport import Outcome, Report, Tally
from mirror.bundle.adopttake import ChangedError, Finished, Taking
from mirror.bundle.found import Found, FoundAddress, FoundCommit, FoundDocument, Item
from mirror.bundle.foundall import SCANNERS
from mirror.bundle.foundtree import Tree, look
from mirror.bundle.jobs import StoppedError, Watch
from mirror.bundle.parts import Parts
from mirror.digest import GIT_SHA1, SHA256, Digest
from mirror.errors import DigestMismatchError, MirrorError, StoreFullError
from mirror.index.grants import EVERYONE
from mirror.index.lines import Link as LinkLine
from mirror.names import Reply
from mirror.store.blobs import Blob

# Blobs that share the syncs of their folders, and bytes of them that may wait for it.
_BATCH: Final = 64
_BATCH_BYTES: Final = 256 << 20

_OTHERS: Final = "others"


class Adoption:
    """One run over some folders."""

    def __init__(self, parts: Parts, options: Options, watch: Watch) -> None:
        self._parts = parts
        self._options = options
        self._watch = watch
        self._report = Report(dry_run=options.dry_run)
        planning = Planning(parts, options, self._report)
        self._planning = planning
        self._commits = Commits(planning)
        self._addresses = Addresses(planning)
        self._loose = Loose(planning)
        self._taking = Taking(
            parts.layout, parts.ledger, parts.partials, options.link, watch.advance
        )

    def run(self, paths: Sequence[Path]) -> Report:
        """Take over what lies below *paths*, and say what became of it.

        Raises `QuestionError` for a path that cannot be looked at, and `StoreFullError` before anything is
        taken where it does not all fit; `StoreError` when the disk fails.
        """
        try:
            planned = self._plan(paths)
            self._make_sure_of_room(planned)
            if not self._options.dry_run:
                for one in planned:
                    self._take(one)
            else:
                for one in planned:
                    self._foretell(one)
        except StoppedError:
            self._report.stopped = True
        if not self._options.dry_run and not self._report.stopped:
            for pattern in self._options.grants:
                self._parts.grants.give(pattern, (EVERYONE,))
        self._report.undecided = self._commits.undecided()
        if self._planning.silent and self._report.undecided:
            self._report.notes.append(
                "Upstream could not be asked about all of it: run it again when it can, or grant."
            )
        return self._report

    # ── looking and planning ───────────────────────────────────────────────────────────────────

    def _plan(self, paths: Sequence[Path]) -> list[Planned]:
        planned: list[Planned] = []
        for path in paths:
            self._watch.begin("look", 0)
            tree = look(path, self._watch.advance, without=self._parts.layout.data)
            found = [scan(tree) for scan in SCANNERS]
            self._watch.begin("plan", sum(len(one.items) for one in found))
            for one in found:
                for item in one.items:
                    planning = self._item(one.cache, tree, item)
                    if planning is not None:
                        planned.append(planning)
                    self._watch.advance(1)
                for skip in one.skips:
                    size = tree.files[skip.path].size if skip.path in tree.files else 0
                    self._report.remark(one.cache, Outcome.SKIPPED, skip.path, skip.why, size)
            self._left(tree, found)
        return planned

    def _left(self, tree: Tree, found: Iterable[Found]) -> None:
        """Say what belongs to no cache that is known."""
        seen = set().union(*(one.seen for one in found))
        others = [file.size for path, file in tree.files.items() if path not in seen]
        if others:
            self._report.count(_OTHERS, Outcome.SKIPPED, sum(others), len(others))
        for passed in tree.passed:
            self._report.remark(_OTHERS, Outcome.SKIPPED, passed.path, f"It {passed.why}.")

    def _item(self, cache: str, tree: Tree, item: Item) -> Planned | None:
        match item:
            case FoundCommit():
                return self._commits.plan(cache, tree, item)
            case FoundAddress():
                return self._addresses.plan(cache, tree, item)
            case FoundDocument():
                return self._addresses.document(cache, tree, item, item.path)
            case _:
                return self._loose.plan(cache, tree, item)

    def _make_sure_of_room(self, planned: Iterable[Planned]) -> None:
        """Refuse now what would not fit later; makes room where that is enough for all."""
        sizes: dict[object, int] = {}
        copied: dict[object, int] = {}
        read = 0
        for one in planned:
            costs = self._taking.costs(one.tree)
            for wanted in one.wanted:
                size = wanted.content.size
                if wanted.here is None:
                    name = wanted.expected or (id(one.tree), wanted.content.source)
                    sizes[name], copied[name] = size, size if costs else 0
                read += 0 if wanted.here is not None and wanted.known else size
        ledger, total, needed = self._parts.ledger, sum(sizes.values()), sum(copied.values())
        if ledger.quota is not None and ledger.used + ledger.reserved + total > ledger.quota:
            needed = total  # What is linked counts towards the quota alone.
        self._report.needed, self._report.free = needed, ledger.available()
        self._watch.begin("take", read)
        if not self._options.dry_run and needed:
            ledger.reserve(needed).release()

    def _foretell(self, planned: Planned) -> None:
        for wanted in planned.wanted:
            outcome = wanted.outcome if wanted.here is None else Outcome.PRESENT
            self._report.count(planned.cache, outcome, wanted.content.size)

    # ── taking ─────────────────────────────────────────────────────────────────────────────────

    def _take(self, planned: Planned) -> None:
        blobs: dict[str, Blob] = {}
        batch: list[tuple[Wanted, Finished]] = []
        try:
            for wanted in planned.wanted:
                finished = self._one(planned, wanted, blobs)
                if finished is not None:
                    batch.append((wanted, finished))
                size = sum(finished.size for _, finished in batch)
                if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                    self._publish(planned.cache, batch, blobs)
            self._publish(planned.cache, batch, blobs)
        finally:
            for _, finished in batch:
                finished.abandon()
                finished.close()
        self._write_down(planned.conclude(blobs))

    def _one(self, planned: Planned, wanted: Wanted, blobs: dict[str, Blob]) -> Finished | None:
        """Take one file; `None` where that cannot be, or need not be after all."""
        cache, content = planned.cache, wanted.content
        # Another file may have brought it since it was planned.
        here = self._parts.here(wanted.expected)
        try:
            if here is not None and wanted.expected is not None:
                if not wanted.known:
                    self._taking.compare(planned.tree, content, wanted.expected, wanted.checks)
                blobs[content.source] = here
                self._report.count(cache, Outcome.PRESENT, content.size)
                return None
            if wanted.loose:
                return self._one_loose(planned, wanted, blobs)
            if wanted.chunks is not None:
                return self._taking.made(wanted.chunks())
            if wanted.expected is None:
                raise TypeError("a file that is not measured has a name")
            return self._taking.file(planned.tree, content, wanted.expected, wanted.checks)
        except DigestMismatchError as error:
            say = self._planning.refuse if wanted.sure else self._planning.skip
            say(
                cache,
                content,
                f"Its {error.got.algorithm} is {error.got.hex}, not {error.expected.hex}.",
            )
        except ChangedError as error:
            self._planning.skip(cache, content, str(error))
        except (StoppedError, StoreFullError):
            raise
        except OSError as error:
            self._planning.skip(cache, content, f"It cannot be read: {error.strerror or error}.")
        except MirrorError as error:
            self._planning.skip(cache, content, str(error))
        return None

    def _one_loose(
        self, planned: Planned, wanted: Wanted, blobs: dict[str, Blob]
    ) -> Finished | None:
        """Take a file that says nothing of what it is: what it is called by is what it turns out to be."""
        content = wanted.content
        sha256, git = self._taking.measure(planned.tree, content)
        named = Digest(GIT_SHA1, git)
        proven = planned.proves is not None and planned.proves((sha256, named))
        if proven:
            wanted.outcome = Outcome.PROVEN
        elif not self._options.unverified:
            self._planning.skip(planned.cache, content, NOT_ALLOWED)
            return None
        here = self._parts.here(sha256)
        if here is not None:
            blobs[content.source] = here
            self._report.count(planned.cache, Outcome.PRESENT, content.size)
            self._write_down(Conclusion(links=[(named, sha256)]))
            return None
        # By its git name, so that it is known by both.
        return self._taking.file(planned.tree, content, named)

    def _publish(
        self, cache: str, batch: list[tuple[Wanted, Finished]], blobs: dict[str, Blob]
    ) -> None:
        """Put what is finished into the store, then name it."""
        if not batch:
            return
        done, batch[:] = list(batch), []
        try:
            put = self._parts.store.put([finished for _, finished in done])
        finally:
            for _, finished in done:
                finished.close()
        links = [
            (finished.expected, blob.digest)
            for (_, finished), blob in zip(done, put, strict=True)
            if finished.expected.algorithm != SHA256
        ]
        self._stored(put, links)
        for (wanted, finished), blob in zip(done, put, strict=True):
            blobs[wanted.content.source] = blob
            self._report.count(cache, wanted.outcome, blob.size)
            tally = self._report.taken.setdefault(self._taking.how(finished), Tally())
            tally.files += 1
            tally.bytes += blob.size

    def _stored(self, blobs: Sequence[Blob], links: Sequence[tuple[Digest, Digest]]) -> None:
        if links:
            self._parts.arrears.link(links)
        pairs = [(blob.digest, blob.size) for blob in blobs]
        self._parts.catalog.stored(pairs, links).result()

    def _write_down(self, conclusion: Conclusion) -> None:
        parts = self._parts
        lines = [*(LinkLine(name, sha256) for name, sha256 in conclusion.links), *conclusion.lines]
        if lines:
            parts.arrears.append(lines)
        if conclusion.links:
            parts.catalog.stored([], conclusion.links).result()
        for fact in conclusion.facts:
            if isinstance(fact, Reply):
                parts.arrears.save_reply(fact)
        if conclusion.facts:
            parts.catalog.record(conclusion.facts).result()
        if conclusion.commit is not None:
            parts.arrears.save(*conclusion.commit)
