"""Eviction: the least recently used goes first, and what is needed never does."""

import json
import os
from pathlib import Path

import pytest

from mirror.digest import sha256_of
from mirror.errors import StoreFullError
from mirror.events import Evicted
from mirror.index.lines import Note
from mirror.names import Entries, Ref
from mirror.store import durable
from mirror.store.ledger import Missing
from mirror.upkeep.evict import SLACK
from tests.unit.index.samples import COMMIT, REPO, large
from tests.unit.store.kit import flip, read
from tests.unit.upkeep.kit import Kept, link, noise


def test_eviction_removes_the_least_recently_used(kept: Kept) -> None:
    """The order is that of the last use and not that of arrival."""
    blobs = kept.keep(*(noise(n, 200) for n in range(5)))
    kept.catalog.touch([blobs[0]]).result()

    kept.keep(noise(9, 300))

    assert kept.here(blobs) == [True, False, False, True, True]
    assert kept.ledger.used == kept.on_disk() <= 1000


def test_eviction_goes_down_to_the_low_water_mark(kept: Kept) -> None:
    """One round frees a twentieth of the store beyond what was asked, and is told of once."""
    kept.keep(*(noise(n, 10) for n in range(100)))

    kept.keep(noise(1000, 30))

    assert kept.ledger.used == 1000 - 1000 // SLACK
    assert [event for event in kept.events if isinstance(event, Evicted)] == [Evicted(8, 80)]


def test_eviction_spares_what_is_open_and_what_is_pinned(kept: Kept) -> None:
    """A blob that is being read and one that the operator pinned stay, however old they are."""
    blobs = kept.keep(*(noise(n, 250) for n in range(4)))
    kept.journal.note(Note("pin", str(blobs[1]), {}))
    reading = kept.store.open(blobs[0])
    assert reading is not None

    kept.keep(noise(9, 250))

    assert kept.here(blobs) == [True, True, False, True]
    assert read(reading) == noise(0, 250)
    reading.close()


def test_eviction_spares_the_files_of_a_pinned_revision(kept: Kept) -> None:
    """A pin on a branch keeps the files of the commit that it points at now."""
    blobs = kept.keep(*(noise(n, 250) for n in range(4)))
    entry = large("model.bin", size=250)
    pinned = type(entry)("model.bin", "file", 250, blobs[0], entry.oid, entry.xet, entry.raw)
    kept.catalog.record([Entries(REPO, COMMIT, (pinned,)), Ref(REPO, "main", COMMIT, 1.0)]).result()
    value = {"hub": REPO.hub, "repo": REPO.name, "revision": "main"}
    kept.journal.note(Note("pin", json.dumps(value), value))

    kept.keep(noise(9, 250))

    assert kept.here(blobs) == [True, False, True, True]


def test_eviction_removes_nothing_when_that_would_not_do(kept: Kept) -> None:
    """Where pinned blobs leave too little room, nothing else is thrown away for nothing."""
    blobs = kept.keep(*(noise(n, 250) for n in range(4)))
    for digest in blobs[:2]:
        kept.journal.note(Note("pin", str(digest), {}))

    with pytest.raises(StoreFullError):
        kept.ledger.reserve(600)

    assert kept.here(blobs) == [True] * 4


def test_eviction_takes_linked_blobs_last_and_for_the_quota_alone(
    kept: Kept, tmp_path: Path
) -> None:
    """A file with another name goes only when nothing else is left, and never for the disk."""
    blobs = kept.keep(*(noise(n, 250) for n in range(4)))
    other = link(kept, blobs[0], tmp_path)

    assert not kept.evictor.make_room(Missing(0, 900))
    assert kept.here(blobs) == [True] * 4
    kept.keep(noise(9, 700))
    assert kept.here(blobs) == [True, False, False, False]
    kept.keep(noise(10, 1000))

    assert kept.here(blobs) == [False] * 4
    assert other.read_bytes() == noise(0, 250)


def test_eviction_serves_on_what_it_removed(kept: Kept) -> None:
    """A reader that has a blob open reads it to its end after the name is gone."""
    content = noise(1, 900)
    (digest,) = kept.keep(content)
    reading = kept.store.open(digest)
    assert reading is not None
    first = read(reading, 0, 100)

    kept.store.delete(digest)

    assert kept.store.open(digest) is None
    assert first + read(reading, 100) == content
    reading.close()


def test_eviction_forgets_what_the_store_lost(kept: Kept) -> None:
    """A blob that the index believes in and nobody has gives no room and is forgotten."""
    ghost = sha256_of(b"ghost")
    kept.catalog.stored([(ghost, 900)]).result()
    blobs = kept.keep(*(noise(n, 250) for n in range(4)))

    kept.keep(noise(9, 250))

    assert kept.here([ghost, *blobs]) == [False, False, True, True, True]


def test_eviction_takes_what_is_damaged_and_what_nobody_goes_on_with(kept: Kept) -> None:
    """The quarantine goes before good blobs, a broken download after them."""
    blobs = kept.keep(noise(1, 300), noise(2, 200))
    flip(kept.file(blobs[0]), 5)
    kept.store.quarantine(blobs[0])
    kept.catalog.dropped([blobs[0]]).result()
    broken = kept.partials.begin(sha256_of(noise(3, 400)), 400)
    broken.append(noise(3, 400)[:300])
    broken.close()

    kept.keep(noise(4, 400))
    assert kept.here(blobs) == [False, True]
    assert kept.store.quarantined() == 0
    kept.keep(noise(5, 900))

    assert kept.here(blobs) == [False, False]
    assert list(kept.partials.leftovers()) == []
    assert kept.ledger.used == kept.on_disk() <= 1000


def test_eviction_converges_to_a_lowered_quota(kept: Kept) -> None:
    """A quota lowered while running is reached as far as pins let it."""
    blobs = kept.keep(*(noise(n, 100) for n in range(10)))
    kept.journal.note(Note("pin", str(blobs[0]), {}))

    kept.ledger.limit(400)
    kept.ledger.converge()
    assert kept.ledger.used <= 400
    assert kept.here([blobs[0], blobs[9]]) == [True, True]
    kept.ledger.limit(50)
    kept.ledger.converge()

    assert kept.here(blobs) == [True] + [False] * 9


def test_eviction_that_the_disk_refuses_is_an_alarm(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be removed stays known, and the reservation is refused."""
    blobs = kept.keep(*(noise(n, 250) for n in range(4)))

    def refuse(_path: Path) -> None:
        raise durable.disk_error(OSError(5, "Input/output error"), "The blob cannot be removed")

    monkeypatch.setattr(kept.store, "_remove", refuse)
    with pytest.raises(StoreFullError):
        kept.ledger.reserve(250)

    assert kept.here(blobs) == [True] * 4
    assert [alarm.kind for alarm in kept.alarms] == ["evict-failed"]


def test_eviction_leaves_no_sums_behind(tmp_path: Path) -> None:
    """The sums of a large blob go with it."""
    with Kept(tmp_path / "data", quota=5 << 20) as kept:
        blobs = kept.keep(noise(1, 2 << 20), noise(2, 2 << 20))
        kept.keep(noise(3, 2 << 20))

        assert kept.here(blobs) == [False, True]
        assert not os.path.lexists(kept.layout.sums_of(blobs[0]))
