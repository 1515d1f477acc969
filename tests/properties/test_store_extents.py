"""Extents against a set of bytes, and blobs that come in any order against their digest."""

import itertools
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.cache.fillplan import NEAR, Claim, Plan, Wish
from mirror.digest import sha256_of
from mirror.store.extents import Extents
from mirror.store.sums import PIECE, Sums
from tests.unit.store.kit import Kit, read

span = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple)
steps = st.lists(st.tuples(st.booleans(), span), max_size=20)


@given(steps, st.integers(0, 60))
def test_extents_hold_what_a_set_of_bytes_holds(
    steps: list[tuple[bool, tuple[int, int]]], offset: int
) -> None:
    """Adding and removing, ends and gaps: as if each byte were kept by itself."""
    extents, model = Extents(), set[int]()
    for add, (start, end) in steps:
        if add:
            extents.add(start, end)
            model |= set(range(start, end))
        else:
            extents.remove(start, end)
            model -= set(range(start, end))
        ranges = list(extents)
        assert {byte for low, high in ranges for byte in range(low, high)} == model
        assert all(low < high for low, high in ranges)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges))
        assert extents.total == len(model)
    end = next(byte for byte in range(offset, 100) if byte not in model)
    assert extents.end_at(offset) == end
    gap = extents.gap(offset, 60)
    missing = [byte for byte in range(offset, 60) if byte not in model]
    assert (gap is None) == (not missing)
    if gap is not None:
        low, high = gap
        assert low == missing[0]
        assert set(range(low, high)) <= set(missing)
        assert high == 60 or high in model


@settings(max_examples=40, deadline=None)
@given(
    size=st.sampled_from([1, PIECE - 1, PIECE, 3 * PIECE + 17]),
    cuts=st.lists(st.floats(0, 1), max_size=8),
    seed=st.integers(0, 99),
    kept=st.integers(0, 8),
)
def test_extents_of_a_partial_become_the_blob_in_any_order(
    size: int, cuts: list[float], seed: int, kept: int
) -> None:
    """Written in any order, kept and taken up in between: shown right, hashed in order, published."""
    chance = random.Random(seed)
    data = chance.randbytes(size)
    ends = sorted({0, size, *(int(cut * size) for cut in cuts)})
    chunks = list(itertools.pairwise(ends))
    chance.shuffle(chunks)
    with tempfile.TemporaryDirectory() as folder, Kit(Path(folder) / "data") as kit:
        digest = sha256_of(data)
        partial = kit.partials.begin(digest, size)
        for number, (start, end) in enumerate(chunks):
            if number == kept:
                extents = partial.extents()
                partial.keep()
                partial.close()
                partial = kit.partials.begin(digest, size)
                assert partial.extents() == extents
            partial.write(start, data[start:end])
            assert partial.end_at(start) >= end
            shown = partial.ready(start, end)
            assert shown > start
            partial.load(start)
            if chance.random() < 0.5:
                partial.catch_up()
        assert partial.held == size
        while partial.catch_up():
            pass
        partial.finish()
        kit.store.put([partial])
        partial.close()
        blob = kit.fresh().open(digest)
        assert blob is not None
        assert read(blob) == data
        blob.close()
        sums = Sums.read(kit.layout.sums_of(digest), digest)
        assert (sums is not None) == (size > PIECE)
        assert (kit.ledger.used, kit.ledger.reserved) == (size, 0)


@settings(max_examples=200)
@given(data=st.data(), pieces=st.integers(1, 400), shared=st.booleans())
def test_extents_of_a_plan_are_asked_for_once(
    data: st.DataObject, pieces: int, *, shared: bool
) -> None:
    """Claims never overlap, breaks and wishes notwithstanding, and together bring every byte once."""
    size = pieces * PIECE - 7
    place = st.integers(0, size - 1)
    wish = data.draw(st.none() | place.map(lambda at: Wish(at, min(at + 100, size))))
    plan, brought = Plan(size, (), wish), Extents()
    claims: list[Claim] = []
    for _ in range(40):
        action = data.draw(st.sampled_from(["next", "leap", "want", "go", "break"]))
        if action in {"next", "leap"}:
            claim = plan.next(shared=shared) if action == "next" else plan.leap()
            if claim is not None:
                claims.append(claim)
        elif action == "want":
            plan.want(data.draw(place), None, near=NEAR)
        elif claims:
            claim = claims.pop(data.draw(st.integers(0, len(claims) - 1)))
            share = 1.0 if action == "go" else data.draw(st.floats(0, 1))
            end = claim.at + int(share * (claim.end - claim.at))
            assert brought.gap(claim.at, end) in {None, (claim.at, end)}
            brought.add(claim.at, end)
            claim.at = end
            plan.release(claim)
        spans = sorted((claim.at, claim.end) for claim in claims)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
        assert all(brought.gap(*span) in {None, span} for span in spans)
    plan.whole = True
    for claim in claims:
        brought.add(claim.at, claim.end)
        claim.at = claim.end
        plan.release(claim)
    while (claim := plan.next(shared=shared)) is not None:
        assert brought.gap(claim.at, claim.end) == (claim.at, claim.end)
        brought.add(claim.at, claim.end)
        claim.at = claim.end
        plan.release(claim)
    assert list(brought) == [(0, size)]
    assert plan.complete
