"""Leases break before what they rest on changes, and none is granted across a change."""

from collections.abc import Callable, Hashable
from math import inf

import pytest

from mirror.leases import Lease, Leases


def _grant(leases: Leases, *about: Hashable, as_of: int | None = None) -> Lease | None:
    return leases.grant(about, leases.number if as_of is None else as_of, 0.0, inf)


def test_lease_is_good_for_its_time_alone() -> None:
    """Neither before the answer was made nor from its end on."""
    leases = Leases()
    lease = leases.grant(["a"], leases.number, 10.0, 20.0)

    assert lease is not None
    assert [lease.good(now) for now in (9.9, 10.0, 19.9, 20.0)] == [False, True, True, False]


def test_lease_breaks_by_a_change_of_anything_it_rests_on() -> None:
    """One change of one of them is enough; what it does not rest on may change."""
    leases = Leases()
    both, other = _grant(leases, "a", "b"), _grant(leases, "c")
    leases.changed("b", "d")

    assert both is not None
    assert other is not None
    assert (both.broken, other.broken) == (True, False)


def test_lease_is_broken_while_a_change_is_made_and_after() -> None:
    """It breaks before the change; none is granted during it, nor afterwards on what was seen before."""
    leases = Leases()
    lease, before = _grant(leases, "a"), leases.number
    with leases.changing(["a"]):
        assert lease is not None
        assert lease.broken
        during = leases.number
        assert _grant(leases, "a") is None
        assert _grant(leases, "b") is not None

    assert _grant(leases, "a", as_of=before) is None
    assert _grant(leases, "a", as_of=during) is None
    assert _grant(leases, "a") is not None


def test_changes_under_way_may_overlap() -> None:
    """What two changes are about stays without leases until both are over."""
    leases = Leases()
    with leases.changing(["a"]):
        with leases.changing(["a", "b"]):
            pass
        assert _grant(leases, "a") is None
        assert _grant(leases, "b") is not None
    assert _grant(leases, "a") is not None


@pytest.mark.parametrize(
    "end", [Leases.break_all, lambda leases: leases.changing_all().__enter__()]
)
def test_everything_breaks_at_once(end: Callable[[Leases], object]) -> None:
    """Every lease, and whatever was being composed."""
    leases = Leases()
    lease, before = _grant(leases, "a"), leases.number
    held = end(leases)

    assert lease is not None
    assert lease.broken
    assert _grant(leases, "b", as_of=before) is None
    del held


def test_nothing_is_granted_while_everything_changes() -> None:
    """Nor for what was composed meanwhile."""
    leases = Leases()
    with leases.changing_all():
        during = leases.number
        assert _grant(leases, "a") is None

    assert _grant(leases, "a", as_of=during) is None
    assert _grant(leases, "a") is not None


def test_changes_beyond_memory_count_for_everything() -> None:
    """A change that is forgotten is never missed: what was composed before it gets no lease."""
    leases = Leases(remembered=4)
    before = leases.number
    for number in range(20):
        leases.changed(number)
        assert len(leases._changed) <= 4

    assert all(_grant(leases, number, as_of=before) is None for number in range(20))
    assert _grant(leases, 3) is not None


def test_lease_that_is_given_back_leaves_nothing() -> None:
    """Whoever drops an answer frees what was remembered of it, and may do so twice."""
    leases = Leases()
    one, two = _grant(leases, "a", "b"), _grant(leases, "a")
    assert one is not None
    assert two is not None
    one.end()
    one.end()

    assert (one.broken, two.broken) == (True, False)
    two.end()
    assert not leases._held
