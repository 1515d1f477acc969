"""Room: what is promised is there, and what is not there is not promised."""

import threading

import pytest

from mirror.errors import StoreFullError
from mirror.store.ledger import Ledger, Missing

GIB = 1 << 30


def test_ledger_promises_no_more_than_the_quota() -> None:
    """Used and reserved bytes together stay within the quota."""
    ledger = Ledger(100, 0, 30, lambda: GIB)
    ledger.reserve(60)
    assert ledger.available() == 10
    with pytest.raises(StoreFullError) as refusal:
        ledger.reserve(11)
    assert (refusal.value.needed, refusal.value.free) == (11, 10)
    assert "quota" in refusal.value.message
    assert "--quota" in refusal.value.hint
    ledger.reserve(10)


def test_ledger_leaves_min_free_on_the_disk() -> None:
    """The disk's last bytes belong to others, whatever the quota says."""
    ledger = Ledger(None, 40, 0, lambda: 100)
    with pytest.raises(StoreFullError, match="40 B that stay free") as refusal:
        ledger.reserve(61)
    assert "--min-free" in refusal.value.hint
    ledger.reserve(60)


def test_ledger_does_not_count_bytes_on_the_disk_twice() -> None:
    """What a fill has written already is missing from the disk's free space and from its promise."""
    free = 100
    ledger = Ledger(None, 0, 0, lambda: free)
    reservation = ledger.reserve(80)
    assert ledger.available() == 20
    free -= 50
    reservation.spend(50)
    assert ledger.available() == 20
    free -= 30
    reservation.spend(30)
    reservation.settle()
    assert ledger.available() == 20
    assert ledger.used == 80


def test_ledger_takes_up_what_an_earlier_attempt_left() -> None:
    """Bytes held already need no new room, and are counted once afterwards."""
    ledger = Ledger(100, 0, 70, lambda: GIB)
    reservation = ledger.reserve(95, held=70)
    assert (ledger.used, ledger.reserved, ledger.available()) == (0, 95, 5)
    reservation.spend(25)
    reservation.settle()
    assert (ledger.used, ledger.reserved) == (95, 0)


def test_ledger_release_gives_everything_back_once() -> None:
    """A promise can be given back more than once by accident; it counts once."""
    ledger = Ledger(100, 0, 0, lambda: GIB)
    reservation = ledger.reserve(100)
    reservation.spend(40)
    reservation.release()
    reservation.release()
    assert (ledger.used, ledger.reserved, ledger.available()) == (0, 0, 100)
    with pytest.raises(ValueError, match="once"):
        reservation.settle()


def test_ledger_asks_for_room_until_it_fits() -> None:
    """Eviction is asked for what is missing, as often as it gives something back."""
    asked: list[Missing] = []

    def evict(missing: Missing) -> bool:
        asked.append(missing)
        ledger.give_back(10)
        return True

    ledger = Ledger(100, 0, 95, lambda: GIB, make_room=evict)
    ledger.reserve(20)
    assert asked == [Missing(15, 0), Missing(5, 0)]
    assert (ledger.used, ledger.reserved) == (75, 20)


def test_ledger_stops_asking_after_a_round_without_gain() -> None:
    """When everything left is pinned or open the answer is no, at once."""
    asked: list[Missing] = []

    def evict(missing: Missing) -> bool:
        asked.append(missing)
        return False

    ledger = Ledger(100, 0, 95, lambda: GIB, make_room=evict)
    with pytest.raises(StoreFullError):
        ledger.reserve(20)
    assert asked == [Missing(15, 0)]


def test_ledger_evicts_nothing_for_what_can_never_fit() -> None:
    """A blob larger than the quota does not empty the store before it is refused."""
    asked: list[Missing] = []

    def evict(missing: Missing) -> bool:
        asked.append(missing)
        return True

    ledger = Ledger(100, 0, 95, lambda: GIB, make_room=evict)
    with pytest.raises(StoreFullError):
        ledger.reserve(101)
    assert asked == []


def test_ledger_tells_which_bound_lacks_the_room() -> None:
    """Quota and disk are told apart: what helps one may not help the other."""
    asked: list[Missing] = []

    def evict(missing: Missing) -> bool:
        asked.append(missing)
        return False

    with pytest.raises(StoreFullError):
        Ledger(None, 40, 30, lambda: 60, make_room=evict).reserve(25)
    with pytest.raises(StoreFullError):
        Ledger(50, 40, 30, lambda: 60, make_room=evict).reserve(25)
    assert asked == [Missing(0, 5), Missing(5, 5)]


def test_ledger_converges_to_a_lowered_quota() -> None:
    """A quota that was lowered is reached in rounds, and a round without gain ends it."""
    asked: list[Missing] = []

    def evict(missing: Missing) -> bool:
        asked.append(missing)
        ledger.give_back(30 if ledger.used > 40 else 0)
        return len(asked) < 3

    ledger = Ledger(100, 0, 95, lambda: 0, make_room=evict)
    ledger.converge()
    assert asked == []
    ledger.limit(30)
    ledger.converge()
    assert asked == [Missing(missing, 0, partly=True) for missing in (65, 35, 5)]
    assert ledger.used == 35


def test_ledger_keeps_its_sums_under_many_threads() -> None:
    """Reservations from eight threads never exceed the quota and all come back."""
    ledger = Ledger(1000, 0, 0, lambda: GIB)
    over: list[int] = []

    def work() -> None:
        for _ in range(300):
            try:
                reservation = ledger.reserve(300)
            except StoreFullError:
                continue
            reservation.spend(100)
            if ledger.reserved > 1000:
                over.append(ledger.reserved)
            reservation.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert over == []
    assert (ledger.used, ledger.reserved, ledger.available()) == (0, 0, 1000)
