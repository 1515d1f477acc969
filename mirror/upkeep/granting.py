"""The orders about who may read what by the operator's word."""

from collections.abc import Mapping
from typing import Any, Final

from mirror.errors import QuestionError
from mirror.index.grants import EVERYONE
from mirror.patterns import RepoPattern
from mirror.upkeep.desk import Desk
from mirror.upkeep.saying import Order

_MOST_READERS: Final = 1000


class Granting:
    """Gives and withdraws grants at *desk*."""

    def __init__(self, desk: Desk) -> None:
        self._grants = desk.grants

    def orders(self) -> Mapping[str, Order]:
        """``grant``, ``ungrant``, and ``grants``, which lists them."""
        return {"grant": self._grant, "ungrant": self._ungrant, "grants": self._held}

    def _grant(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        readers = _readers(arguments)
        if not readers:
            raise QuestionError(
                "A grant says who may read.", hint=f"Name users, or `{EVERYONE}` for all."
            )
        self._grants.give(_pattern(arguments), readers)
        return self._held({})

    def _ungrant(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        pattern = _pattern(arguments)
        if not self._grants.withdraw(pattern, _readers(arguments)):
            raise QuestionError(
                f"Nothing of the kind is granted for {pattern}.",
                hint="`modelmirror grant` alone lists what is.",
            )
        return self._held({})

    def _held(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"grants": {pattern: list(names) for pattern, names in self._grants.held().items()}}


def _pattern(arguments: Mapping[str, Any]) -> RepoPattern:
    try:
        return RepoPattern.parse(str(arguments.get("pattern", "")))
    except ValueError as error:
        raise QuestionError(f"{error}.") from error


def _readers(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    readers = arguments.get("readers", [])
    if not isinstance(readers, list) or len(readers) > _MOST_READERS:
        raise QuestionError("Readers are a list of names.")
    for name in readers:
        if not isinstance(name, str) or not name or not name.isprintable():
            raise QuestionError(f"{name!r} is not the name of a user.")
    return tuple(readers)
