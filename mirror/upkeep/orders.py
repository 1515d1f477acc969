"""What the operator may order, run by the server or by the command line itself: a table, by subject.

A running server takes orders through ``control.sock``; where none runs, the command line opens the data
folder and carries them out. Arguments and replies are JSON-ready, and an order that is done is on the disk.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from mirror.errors import QuestionError
from mirror.upkeep.collection import Collection
from mirror.upkeep.desk import Desk
from mirror.upkeep.granting import Granting
from mirror.upkeep.overview import Overview
from mirror.upkeep.pinning import Pinning
from mirror.upkeep.removal import Removals
from mirror.upkeep.saying import Order

NO_MORE: Final[Mapping[str, Order]] = {}


class Orders:
    """The orders over one data folder; each may block on the disk and be called from any thread.

    *address* is that of the server that takes them, ``""`` where none serves; *more* are orders of others, by
    name.
    """

    def __init__(
        self, desk: Desk, address: Callable[[], str] = str, more: Mapping[str, Order] = NO_MORE
    ) -> None:
        removals = self._removals = Removals(desk)
        self._address = address
        self._orders: Mapping[str, Order] = {
            "address": self._where,
            **Granting(desk).orders(),
            **Pinning(desk).orders(),
            **removals.orders(),
            **Collection(desk).orders(),
            **Overview(desk).orders(),
            **more,
        }

    @classmethod
    def ready(
        cls, desk: Desk, address: Callable[[], str] = str, more: Mapping[str, Order] = NO_MORE
    ) -> Self:
        """Finish what a kill interrupted, before anybody is served, then take orders.

        Raises `StoreError`.
        """
        orders = cls(desk, address, more)
        orders._removals.resume()
        return orders

    def carry_out(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what order *name* says with *arguments*; returns its reply.

        Raises `QuestionError` for an order or an argument that makes no sense, `StoreError` when it could
        not be written down.
        """
        order = self._orders.get(name)
        if order is None:
            raise QuestionError(
                f"This mirror does not know the order {name!r}.",
                hint="The command line and the server are of different versions: restart the server.",
            )
        return order(arguments)

    def _where(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if not (url := self._address()):
            raise QuestionError(
                "This mirror does not serve yet, or no longer.", hint="Ask again in a moment."
            )
        return {"url": url}
