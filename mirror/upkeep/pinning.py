"""The orders about what is kept whatever room is wanted for."""

from collections.abc import Mapping
from typing import Any

from mirror.errors import QuestionError
from mirror.upkeep.desk import Desk
from mirror.upkeep.holdings import Holdings
from mirror.upkeep.naming import Named, NamedAddress, NamedRepo
from mirror.upkeep.saying import Order, target, text


class Pinning:
    """Sets and withdraws pins at *desk*."""

    def __init__(self, desk: Desk) -> None:
        self._pins = desk.pins
        self._book = desk.book
        self._holdings = Holdings(desk)

    def orders(self) -> Mapping[str, Order]:
        """``pin``, ``unpin``, and ``pins``, which lists them."""
        return {"pin": self._pin, "unpin": self._unpin, "pins": self._held}

    def _pin(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        named = self._meant(target(arguments))
        if isinstance(named, NamedAddress):
            self._book.look(named)  # One that no hub serves would keep nothing, ever.
        self._pins.give(named, text(arguments, "for"))
        return self._held({})

    def _unpin(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        owner, named = text(arguments, "for"), target(arguments)
        # As it was written then, or as it is called here.
        if not any(self._pins.withdraw(each, owner) for each in (named, self._meant(named))):
            whom = f" for {owner}" if owner else ""
            raise QuestionError(
                f"{named} is not pinned{whom}.", hint="`modelmirror pin` alone lists the pins."
            )
        return self._held({})

    def _held(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = []
        for pin in self._pins.held():
            held = self._holdings.held(self._pins.digests_of(pin))
            rows.append(
                {
                    "target": str(pin.named),
                    "for": list(pin.owners),
                    "blobs": len(held.blobs),
                    "bytes": held.size,
                }
            )
        return {"pins": rows}

    def _meant(self, named: Named) -> Named:
        """A repo by the name that it is known by; one that is not known yet may be pinned, too."""
        if not isinstance(named, NamedRepo):
            return named
        try:
            return NamedRepo(self._holdings.find(named), named.revision)
        except QuestionError:
            return named
