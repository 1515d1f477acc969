"""The store against a model: fills, crashes, rot and readers in any order, on a real folder.

A crash forgets the objects and everything that was not synced: the bytes of a partial behind the last
line of its journal are damaged, as a power cut may leave them.
"""

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mirror.digest import Digest, sha256_of
from mirror.errors import DigestMismatchError, StoreCorruptError, StoreFullError, TruncatedBodyError
from mirror.store.layout import PARTIAL_DATA, PARTIAL_JOURNAL
from mirror.store.partials import Partial
from mirror.store.resume import Progress
from mirror.store.stored import DiskBlob
from mirror.store.sums import PIECE
from tests.unit.store.kit import Kit, flip, read

# Three pieces and a bit, one piece and its neighbours, small ones, and nothing.
CONTENTS = tuple(
    bytes([number + 1]) * size
    for number, size in enumerate((3 * PIECE + 9, PIECE, PIECE + 1, 70_000, 5, 0))
)
QUOTA = 6 * PIECE

names = st.sampled_from(range(len(CONTENTS)))
shares = st.floats(0, 1)


class Store(RuleBasedStateMachine):
    """A store, what it should hold, and readers that hold on to it."""

    @initialize()
    def begin_empty(self) -> None:
        """Open a new folder."""
        self.folder = Path(tempfile.mkdtemp(prefix="store-model-"))
        self.stored: set[int] = set()
        self.rotten: set[int] = set()
        self.fills: dict[int, Partial] = {}
        self.spoiled: set[int] = set()  # fills that were given a wrong byte
        self.readers: list[tuple[int, DiskBlob]] = []
        self.kit = Kit(self.folder / "data", quota=QUOTA)

    # ── fills ──────────────────────────────────────────────────────────────────────────────────

    @rule(name=names)
    def begin(self, name: int) -> None:
        """A fill starts, or goes on from what an earlier one left."""
        if name in self.fills:
            return
        content = CONTENTS[name]
        try:
            partial = self.kit.partials.begin(sha256_of(content), len(content))
        except StoreFullError:
            return
        assert partial.received <= len(content)
        self.fills[name] = partial

    @precondition(lambda self: self.fills)
    @rule(data=st.data(), share=shares, wrong=st.booleans())
    def append(self, data: st.DataObject, share: float, *, wrong: bool) -> None:
        """Some bytes come, now and then one of them wrong."""
        name = data.draw(st.sampled_from(sorted(self.fills)))
        partial, content = self.fills[name], CONTENTS[name]
        chunk = bytearray(content[partial.received :])
        chunk = chunk[: int(len(chunk) * share) + 1]
        if not chunk:
            return
        if wrong and share < 0.1:
            chunk[len(chunk) // 2] ^= 1
            self.spoiled.add(name)
        partial.append(chunk)

    @precondition(lambda self: self.fills)
    @rule(data=st.data(), complete=st.booleans())
    def finish(self, data: st.DataObject, *, complete: bool) -> None:
        """A fill ends: published if its bytes are all there and right, and not otherwise."""
        name = data.draw(st.sampled_from(sorted(self.fills)))
        partial, content = self.fills[name], CONTENTS[name]
        if complete:
            partial.append(content[partial.received :])
        if partial.received < len(content):
            with pytest.raises(TruncatedBodyError):
                partial.finish()
            return
        del self.fills[name]
        if name in self.spoiled:
            self.spoiled.discard(name)
            with pytest.raises(DigestMismatchError):
                partial.finish()
        else:
            partial.finish()
            self.kit.store.put([partial])
            self.stored.add(name)
        partial.close()

    @precondition(lambda self: self.fills)
    @rule(data=st.data(), keep=st.booleans())
    def stop(self, data: st.DataObject, *, keep: bool) -> None:
        """A fill stops, leaving what came for a later one, or nothing."""
        name = data.draw(st.sampled_from(sorted(self.fills)))
        partial = self.fills.pop(name)
        if keep:
            partial.keep()
        else:
            partial.abandon()
        if not keep or not self._left(name):
            self.spoiled.discard(name)
        partial.close()

    # ── what is stored ─────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.stored - self.rotten)
    @rule(data=st.data())
    def open_a_reader(self, data: st.DataObject) -> None:
        """Somebody begins to read, and holds on."""
        name = data.draw(st.sampled_from(sorted(self.stored - self.rotten)))
        blob = self.kit.store.open(sha256_of(CONTENTS[name]))
        assert blob is not None
        self.readers.append((name, blob))

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), share=shares)
    def read_on(self, data: st.DataObject, share: float) -> None:
        """A reader gets right bytes to the end, whatever was removed meanwhile, or learns of rot."""
        name, blob = self.readers.pop(data.draw(st.integers(0, len(self.readers) - 1)))
        content = CONTENTS[name]
        start = int(len(content) * share)
        try:
            assert read(blob, start) == content[start:]
        except StoreCorruptError:
            assert name in self.rotten
            self._set_aside(name)
        finally:
            blob.close()

    @rule(name=names)
    def delete(self, name: int) -> None:
        """A blob is evicted, whoever reads it."""
        given_back = self.kit.store.delete(sha256_of(CONTENTS[name]))
        assert given_back == (len(CONTENTS[name]) if name in self.stored else 0)
        self.stored.discard(name)
        self.rotten.discard(name)

    @precondition(lambda self: any(CONTENTS[name] for name in self.stored - self.rotten))
    @rule(data=st.data(), share=st.floats(0, 1, exclude_max=True))
    def rot(self, data: st.DataObject, share: float) -> None:
        """A bit of a stored blob flips, noticeably to whoever looks at the file."""
        choices = [name for name in sorted(self.stored - self.rotten) if CONTENTS[name]]
        name = data.draw(st.sampled_from(choices))
        digest = sha256_of(CONTENTS[name])
        flip(self.kit.file(digest), int(len(CONTENTS[name]) * share), quietly=False)
        self.rotten.add(name)

    @precondition(lambda self: self.rotten)
    @rule(data=st.data())
    def meet_rot(self, data: st.DataObject) -> None:
        """Whoever reads a rotten blob gets no wrong byte, and it is set aside."""
        name = data.draw(st.sampled_from(sorted(self.rotten)))
        blob = self.kit.store.open(sha256_of(CONTENTS[name]))
        assert blob is not None
        with pytest.raises(StoreCorruptError):
            read(blob)
        blob.close()
        self._set_aside(name)

    @rule()
    def empty_the_quarantine(self) -> None:
        """What was set aside is thrown away."""
        self.kit.store.empty_quarantine()

    # ── stops and crashes ──────────────────────────────────────────────────────────────────────

    @rule()
    def restart(self) -> None:
        """The process ends in order and starts again."""
        for name, partial in self.fills.items():
            partial.close()
            if not self._left(name):
                self.spoiled.discard(name)
        self._reopen()

    @rule()
    def crash(self) -> None:
        """The power goes: what was not synced is lost or torn."""
        for name, partial in self.fills.items():
            partial._wait_for_sync()
            folder = self.kit.layout.partial(sha256_of(CONTENTS[name]))
            progress = Progress.last(folder / PARTIAL_JOURNAL)
            synced = 0 if progress is None else progress.synced
            length = (folder / PARTIAL_DATA).stat().st_size
            os.pwrite(partial.fileno(), bytes(length - synced), synced)
            if synced == 0:
                self.spoiled.discard(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                os.close(partial._fd)
                partial._fd = -1
        self._reopen()

    def _reopen(self) -> None:
        for _, blob in self.readers:
            blob.close()
        self.readers.clear()
        self.fills.clear()
        self.kit.store.close()
        self.kit.partials.close()
        self.kit = Kit(self.folder / "data", quota=QUOTA)
        self.kit.layout.tidy()
        # Nothing is remembered of checks, so what the disk has is all there is to know.
        assert {blob.digest for blob in self.kit.store.walk()} == self._digests()

    def _left(self, name: int) -> bool:
        return self.kit.layout.partial(sha256_of(CONTENTS[name])).exists()

    def _set_aside(self, name: int) -> None:
        self.stored.discard(name)
        self.rotten.discard(name)
        assert self.kit.store.find(sha256_of(CONTENTS[name])) is None

    def _digests(self) -> set[Digest]:
        return {sha256_of(CONTENTS[name]) for name in self.stored}

    # ── what always holds ──────────────────────────────────────────────────────────────────────

    @invariant()
    def what_is_found_is_what_was_published(self) -> None:
        """The model and the folder agree, and a fresh look finds nothing else."""
        assert {blob.digest for blob in self.kit.store.walk()} == self._digests()
        for name, content in enumerate(CONTENTS):
            found = self.kit.store.find(sha256_of(content))
            assert (found is not None) == (name in self.stored)

    @invariant()
    def what_is_visible_is_intact(self) -> None:
        """Every byte under a blob's name is right, but where it rotted and nobody looked yet."""
        for name in self.stored - self.rotten:
            assert self.kit.file(sha256_of(CONTENTS[name])).read_bytes() == CONTENTS[name]

    @invariant()
    def the_room_adds_up(self) -> None:
        """Used and reserved are what lies on the disk and what was promised, within the quota."""
        ledger, coming = self.kit.ledger, sum(fill.size for fill in self.fills.values())
        assert ledger.reserved == coming
        assert ledger.used + ledger.reserved <= QUOTA
        on_disk = sum(
            path.stat().st_size
            for folder in (self.kit.layout.blobs, self.kit.layout.quarantine)
            for path in folder.rglob("*")
            if path.is_file()
        )
        kept = sum(left.held for left in self.kit.partials.leftovers())
        assert ledger.used == on_disk + kept

    def teardown(self) -> None:
        """Put everything away."""
        if not hasattr(self, "kit"):
            return
        for _, blob in self.readers:
            blob.close()
        for partial in self.fills.values():
            partial.abandon()
            partial.close()
        self.kit.store.close()
        self.kit.partials.close()
        shutil.rmtree(self.folder)


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=6, stateful_step_count=20, deadline=None)
