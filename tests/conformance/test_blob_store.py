"""What every blob store promises: the one on disk, and the double that stands in for it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from mirror.digest import Digest, sha256_of
from mirror.store.blobs import Blob, BlobStore, StoredBlob
from mirror.store.sums import PIECE
from tests.doubles.memory_store import MemoryStore
from tests.unit.store.kit import Kit, ScriptedResidency

MISSING = sha256_of(b"never stored")
SIZES = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 17]

Make: TypeAlias = Callable[[Kit], BlobStore]


class Case:
    """A store under test beside the partials that feed it."""

    def __init__(self, kit: Kit, store: BlobStore) -> None:
        self.store = store
        self.kit = kit

    def put(self, *blobs: bytes) -> list[Blob]:
        """Publish blobs as one batch."""
        partials = [self.kit.finished(data) for data in blobs]
        stored = self.store.put(partials)
        for partial in partials:
            partial.close()
        return stored

    def open(self, digest: Digest) -> StoredBlob:
        """Open a blob that must be there."""
        blob = self.store.open(digest)
        assert blob is not None
        return blob

    def content(self, digest: Digest) -> bytes:
        """All bytes of a blob that must be there."""
        blob = self.open(digest)
        try:
            return read(blob)
        finally:
            blob.close()


def read(blob: StoredBlob) -> bytes:
    """Read a blob as the door does: send what is ready, load what is not."""
    got = bytearray()
    while len(got) < blob.size:
        end = blob.ready(len(got), blob.size)
        if end == len(got):
            blob.load(len(got))
        else:
            got += os.pread(blob.fileno(), end - len(got), len(got))
    return bytes(got)


MAKERS: dict[str, tuple[ScriptedResidency, Make]] = {
    "disk": (ScriptedResidency(), lambda kit: kit.store),
    "disk seen by a fresh process": (ScriptedResidency(), lambda kit: kit.fresh()),
    "disk without residency": (ScriptedResidency(exact=False), lambda kit: kit.store),
    "memory": (ScriptedResidency(), lambda _kit: MemoryStore()),
    "cold memory": (ScriptedResidency(), lambda _kit: MemoryStore(cold=True)),
}


@pytest.fixture(params=MAKERS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """Each implementation in turn."""
    residency, make = MAKERS[request.param]
    with Kit(tmp_path / "data", residency=residency) as kit:
        yield Case(kit, make(kit))


def test_blob_store_finds_nothing_in_an_empty_store(case: Case) -> None:
    """What was never put is nowhere."""
    assert case.store.find(MISSING) is None
    assert case.store.open(MISSING) is None
    assert case.store.delete(MISSING) == 0
    assert list(case.store.walk()) == []


@pytest.mark.parametrize("size", SIZES)
def test_blob_store_gives_back_what_was_put(case: Case, size: int) -> None:
    """Bytes of every size around a piece come back as they were, under their sha256."""
    data = os.urandom(size)
    blob = Blob(sha256_of(data), size)
    assert case.put(data) == [blob]
    assert case.store.find(blob.digest) == blob
    assert case.content(blob.digest) == data
    assert list(case.store.walk()) == [blob]


def test_blob_store_takes_a_batch(case: Case) -> None:
    """Many blobs at once, the same one twice among them, come back in the order they were given."""
    data = [b"one", b"two", os.urandom(2 * PIECE), b""]
    assert case.put(*data) == [Blob(sha256_of(one), len(one)) for one in data]
    assert sorted(case.store.walk()) == sorted(Blob(sha256_of(one), len(one)) for one in data)
    assert case.store.put([]) == []


def test_blob_store_holds_one_copy_of_equal_bytes(case: Case) -> None:
    """Putting a blob again is fine, changes nothing and leaves no room taken."""
    for _ in range(2):
        case.put(b"twice")
    assert list(case.store.walk()) == [Blob(sha256_of(b"twice"), 5)]
    assert case.content(sha256_of(b"twice")) == b"twice"
    assert case.kit.ledger.reserved == 0
    assert case.kit.ledger.used <= 5


def test_blob_store_takes_only_finished_partials(case: Case) -> None:
    """A partial whose digest was not compared cannot get a name, nor can the rest of its batch."""
    finished = case.kit.finished(b"finished")
    unfinished = case.kit.partials.begin(sha256_of(b"unfinished"), 10)
    unfinished.append(b"unfinished")
    with pytest.raises(ValueError, match="not finished"):
        case.store.put([finished, unfinished])
    assert list(case.store.walk()) == []
    for partial in (finished, unfinished):
        partial.abandon()
        partial.close()


def test_blob_store_deletes_and_tells_how_much(case: Case) -> None:
    """A deleted blob is gone at once, and its bytes are given back once."""
    digest = case.put(b"12345")[0].digest
    assert case.store.delete(digest) == 5
    assert case.store.find(digest) is None
    assert case.store.open(digest) is None
    assert case.store.delete(digest) == 0
    assert list(case.store.walk()) == []
    case.put(b"12345")
    assert case.content(digest) == b"12345"


def test_blob_store_lets_readers_finish_what_was_deleted(case: Case) -> None:
    """Whoever has a blob open reads it to its end."""
    data = os.urandom(3 * PIECE)
    digest = case.put(data)[0].digest
    blob = case.open(digest)
    case.store.delete(digest)
    assert read(blob) == data
    blob.close()


def test_blob_store_readers_are_apart(case: Case) -> None:
    """Closing one reader, even twice, does not touch the other."""
    digest = case.put(b"shared")[0].digest
    first, second = case.open(digest), case.open(digest)
    first.close()
    first.close()
    assert read(second) == b"shared"
    second.close()
    for blob in (first, second):
        with pytest.raises(ValueError, match="closed"):
            blob.fileno()


def test_blob_store_ready_stays_within_its_bounds(case: Case) -> None:
    """What is ready begins at the offset and ends at the limit and at the blob's end."""
    data = os.urandom(2 * PIECE + 3)
    blob = case.open(case.put(data)[0].digest)
    assert (blob.digest, blob.size) == (sha256_of(data), len(data))
    blob.load(PIECE)
    for offset, limit in [(PIECE, PIECE + 10), (PIECE + 5, len(data)), (PIECE + 5, 1 << 40)]:
        assert offset < blob.ready(offset, limit) <= min(limit, len(data))
    assert blob.ready(len(data), 1 << 40) == len(data)
    assert blob.ready(PIECE, PIECE) == PIECE
    blob.close()


def test_blob_store_knows_blobs_by_sha256_alone(case: Case) -> None:
    """Another algorithm is a mistake of the caller, not a blob that is missing."""
    git = Digest("git-sha1", "00" * 20)
    with pytest.raises(ValueError, match="sha256"):
        case.store.find(git)
    with pytest.raises(ValueError, match="sha256"):
        case.store.open(git)
    with pytest.raises(ValueError, match="sha256"):
        case.store.delete(git)


def test_blob_store_can_be_walked_while_it_changes(case: Case) -> None:
    """Eviction deletes while it walks."""
    blobs = [b"%d" % number for number in range(20)]
    case.put(*blobs)
    seen = []
    for blob in case.store.walk():
        seen.append(blob)
        case.store.delete(blob.digest)
    assert len(seen) == 20
    assert list(case.store.walk()) == []
