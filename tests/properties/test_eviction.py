"""Eviction against a model: the quota holds at every moment, and nothing that is needed goes."""

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mirror.digest import Digest
from mirror.errors import StoreFullError
from mirror.index.lines import Note
from mirror.store.partials import Partial
from mirror.store.stored import DiskBlob
from tests.unit.store.kit import read
from tests.unit.upkeep.kit import Kept

QUOTA = 1000


class Housekeeping(RuleBasedStateMachine):
    """A small store, readers that come and go, pins, fills, other names, and a quota that changes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="eviction"))
        self.kit = Kept(self.folder / "data", quota=QUOTA)
        self.contents: dict[Digest, bytes] = {}
        self.pins: set[Digest] = set()
        self.readers: list[tuple[DiskBlob, bytes]] = []
        self.fills: list[tuple[Partial, bytes]] = []
        self.seed = 0
        self.quota = QUOTA

    @rule(size=st.integers(1, 500))
    def begin(self, size: int) -> None:
        """A fill starts; where it is refused, nothing was thrown away for it."""
        self.seed += 1
        content = random.Random(self.seed).randbytes(size)
        before = set(self._stored())
        try:
            partial = self.kit.finished(content)
        except StoreFullError:
            assert set(self._stored()) == before
        else:
            self.fills.append((partial, content))

    @rule(number=st.integers(0, 5))
    def publish(self, number: int) -> None:
        """A fill becomes a blob."""
        if number < len(self.fills):
            partial, content = self.fills.pop(number)
            (blob,) = self.kit.store.put([partial])
            partial.close()
            self.kit.catalog.stored([(blob.digest, blob.size)]).result()
            self.contents[blob.digest] = content

    @rule(number=st.integers(0, 20))
    def open(self, number: int) -> None:
        """Somebody begins to read."""
        stored = self._stored()
        if stored:
            digest = stored[number % len(stored)]
            reader = self.kit.store.open(digest)
            assert reader is not None
            self.kit.catalog.touch([digest]).result()
            self.readers.append((reader, self.contents[digest]))

    @rule(number=st.integers(0, 5))
    def finish_reading(self, number: int) -> None:
        """A reader gets every byte to the end, whatever happened meanwhile."""
        if number < len(self.readers):
            reader, content = self.readers.pop(number)
            assert read(reader) == content
            reader.close()

    @rule(number=st.integers(0, 20))
    def pin(self, number: int) -> None:
        """The operator wants to keep a blob."""
        stored = self._stored()
        if stored and len(self.pins) < 2:
            digest = stored[number % len(stored)]
            self.kit.journal.note(Note("pin", str(digest), {}))
            self.pins.add(digest)

    @rule()
    def unpin(self) -> None:
        """The operator changes her mind."""
        if self.pins:
            self.kit.journal.note(Note("pin", str(self.pins.pop()), None))

    @rule(quota=st.integers(300, QUOTA))
    def limit(self, quota: int) -> None:
        """The quota is changed while running."""
        self.quota = quota
        self.kit.ledger.limit(quota)
        self.kit.ledger.converge()
        held = self.kit.ledger.used + self.kit.ledger.reserved
        needed = sum(len(content) for _, content in self.fills) + sum(
            len(self.contents[digest])
            for digest in {*self.pins, *(reader.digest for reader, _ in self.readers)}
        )
        assert held <= max(quota, needed)

    @invariant()
    def the_quota_holds(self) -> None:
        """No more is stored and promised than the quota, but for what may not go."""
        held = self.kit.ledger.used + self.kit.ledger.reserved
        assert held <= QUOTA
        assert self.kit.ledger.used + sum(len(content) for _, content in self.fills) == held
        assert self.kit.on_disk() <= held

    @invariant()
    def what_is_needed_stays(self) -> None:
        """Pinned and open blobs are here; the index believes in what is stored and in nothing else."""
        stored = set(self._stored())
        assert self.pins <= stored
        assert {reader.digest for reader, _ in self.readers} <= stored
        known = {blob.digest for blob in self.kit.catalog.least_recent(after=0, limit=1000)}
        assert known == stored

    def _stored(self) -> list[Digest]:
        return [blob.digest for blob in self.kit.store.walk()]

    def teardown(self) -> None:
        """Let go of everything."""
        for reader, _ in self.readers:
            reader.close()
        for partial, _ in self.fills:
            partial.close()
        self.kit.__exit__(None, None, None)
        shutil.rmtree(self.folder)


TestHousekeeping = Housekeeping.TestCase
TestHousekeeping.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
