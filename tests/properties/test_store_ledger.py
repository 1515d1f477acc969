"""The ledger against a model: whatever happens in whatever order, the room adds up."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from mirror.errors import StoreFullError
from mirror.store.ledger import Ledger, Reservation

DISK = 1000
QUOTA = 700
MIN_FREE = 100

sizes = st.integers(0, 400)


class Room(RuleBasedStateMachine):
    """A small disk, others who write to it, and fills that start, write and end."""

    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.on_disk = 0  # written by the store
        self.others = 0  # written by somebody else
        self.stored = 0
        self.open: dict[Reservation, int] = {}
        self.ledger = Ledger(QUOTA, MIN_FREE, 0, lambda: DISK - self.on_disk - self.others)

    @rule(target=reservations, size=sizes)
    def reserve(self, size: int) -> Reservation | None:
        """A fill starts, if and only if it fits."""
        promised = sum(held.size - written for held, written in self.open.items())
        by_disk = DISK - self.on_disk - self.others - MIN_FREE - promised
        by_quota = QUOTA - self.stored - sum(held.size for held in self.open)
        fits = size <= max(0, min(by_disk, by_quota))
        if not fits:
            with pytest.raises(StoreFullError) as refusal:
                self.ledger.reserve(size)
            assert refusal.value.needed == size
            return None
        reservation = self.ledger.reserve(size)
        self.open[reservation] = 0
        return reservation

    @rule(reservation=reservations, size=sizes)
    def write(self, reservation: Reservation | None, size: int) -> None:
        """Some of a fill's bytes reach the disk."""
        if reservation in self.open:
            size = min(size, reservation.size - self.open[reservation])
            reservation.spend(size)
            self.open[reservation] += size
            self.on_disk += size

    @rule(reservation=consumes(reservations))
    def settle(self, reservation: Reservation | None) -> None:
        """A fill is kept with what it has written."""
        if reservation is not None and reservation in self.open:
            written = self.open.pop(reservation)
            reservation.settle(written)
            self.stored += written

    @rule(reservation=consumes(reservations))
    def release(self, reservation: Reservation | None) -> None:
        """A fill is given up and its file removed."""
        if reservation is not None and reservation in self.open:
            self.on_disk -= self.open.pop(reservation)
            reservation.release()

    @rule(size=sizes)
    def delete(self, size: int) -> None:
        """Something stored is evicted."""
        size = min(size, self.stored)
        self.ledger.give_back(size)
        self.stored -= size
        self.on_disk -= size

    @rule(size=sizes)
    def somebody_writes(self, size: int) -> None:
        """The disk is not ours alone."""
        self.others = min(size, DISK - self.on_disk)

    @invariant()
    def adds_up(self) -> None:
        """What the ledger says is what happened, and the quota holds."""
        assert self.ledger.used == self.stored
        assert self.ledger.reserved == sum(held.size for held in self.open)
        assert self.ledger.used + self.ledger.reserved <= QUOTA
        assert self.ledger.available() >= 0

    def teardown(self) -> None:
        """When all is over nothing stays promised."""
        for reservation in self.open:
            reservation.release()
        assert self.ledger.reserved == 0
        assert self.ledger._coming == 0


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
