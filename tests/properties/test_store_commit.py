"""Fills of every shape: cut, resumed, damaged in between, and published right or not at all."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.digest import Digest, sha256_of
from mirror.errors import DigestMismatchError
from mirror.store.residency import checked_end
from mirror.store.sums import PIECE, Sums
from tests.unit.store.kit import Kit, ScriptedResidency, read

near_a_piece = st.one_of(
    st.integers(0, 300),
    st.integers(PIECE - 2, PIECE + 2),
    st.integers(3 * PIECE - 2, 3 * PIECE + 2),
)
stops = st.lists(st.floats(0, 1), max_size=5)
pieces = 12


def fill(kit: Kit, expected: Digest, data: bytes, cuts: Sequence[int]) -> None:
    """Bring *data* in, stopping and resuming at every cut, and publish it."""
    for end in (*cuts, len(data)):
        partial = kit.partials.begin(expected, len(data))
        partial.append(data[partial.received : max(end, partial.received)])
        if end < len(data):
            partial.keep()
            partial.close()
            continue
        try:
            partial.finish()
            kit.store.put([partial])
        finally:
            partial.close()
        return


@settings(max_examples=40, deadline=None)
@given(size=near_a_piece, seed=st.integers(0, 9), at=stops)
def test_store_commit_of_a_fill_in_any_number_of_attempts(
    size: int, seed: int, at: list[float]
) -> None:
    """However often it was cut, the blob is there, right, with its sums, and the room adds up."""
    data = random.Random(seed).randbytes(size)
    with tempfile.TemporaryDirectory() as folder, Kit(Path(folder) / "data") as kit:
        digest = sha256_of(data)
        fill(kit, digest, data, sorted(int(share * size) for share in at))
        blob = kit.fresh().open(digest)
        assert blob is not None
        assert read(blob) == data
        blob.close()
        assert (kit.ledger.used, kit.ledger.reserved) == (size, 0)
        assert list(kit.layout.partials.iterdir()) == []
        sums = Sums.read(kit.layout.sums_of(digest), digest)
        assert (sums is not None) == (size > PIECE)


@settings(max_examples=40, deadline=None)
@given(size=near_a_piece.filter(bool), at=stops, where=st.floats(0, 1, exclude_max=True))
def test_store_commit_publishes_no_changed_byte(size: int, at: list[float], where: float) -> None:
    """One flipped bit anywhere, however the bytes came: nothing is found and nothing is left."""
    data = bytearray(random.Random(1).randbytes(size))
    digest = sha256_of(data)
    data[int(where * size)] ^= 1
    with tempfile.TemporaryDirectory() as folder, Kit(Path(folder) / "data") as kit:
        with pytest.raises(DigestMismatchError):
            fill(kit, digest, bytes(data), sorted(int(share * size) for share in at))
        assert kit.names() == []
        assert (kit.ledger.used, kit.ledger.reserved) == (0, 0)


@given(
    absent=st.sets(st.integers(0, pieces - 1)),
    unmarked=st.sets(st.integers(0, pieces - 1)),
    span=st.tuples(st.integers(0, pieces * PIECE - 1), st.integers(1, pieces * PIECE)),
)
def test_store_reads_show_what_is_checked_and_resident_and_all_of_it(
    absent: set[int], unmarked: set[int], span: tuple[int, int]
) -> None:
    """Every piece shown is both, the first not shown is not, and marks of absent ones are gone."""
    size = pieces * PIECE - 7
    offset = min(span[0], size - 1)
    limit = min(size, offset + span[1])
    marks = bytearray(0 if piece in unmarked else 1 for piece in range(pieces))
    residency = ScriptedResidency()
    residency.absent = absent
    end = checked_end(residency, -1, marks, offset, limit, size)
    assert offset <= end <= limit
    shown = range(offset // PIECE, -(-end // PIECE)) if end > offset else range(0)
    assert not set(shown) & (absent | unmarked)
    if end < limit:
        assert end // PIECE in absent | unmarked
    for piece in range(pieces):
        if piece in unmarked:
            assert marks[piece] == 0
        elif piece not in absent:
            assert marks[piece] == 1
    first_stop = end // PIECE
    if end < limit and first_stop in absent:
        assert marks[first_stop] == 0
