"""What the operator may order: each order one function, run by the server or by the command line itself.

A running server takes orders through ``control.sock``; where none runs, the command line opens the data
folder and carries them out. Arguments and replies are JSON-ready, and an order that is done is on the disk.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from mirror.errors import QuestionError
from mirror.index.grants import EVERYONE, Grants
from mirror.patterns import RepoPattern

Order: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_MOST_READERS: Final = 1000


class Orders:
    """The orders over one data folder; each may block on the disk and be called from any thread.

    *address* is that of the server that takes them, ``""`` where none serves.
    """

    def __init__(self, grants: Grants, address: Callable[[], str] = str) -> None:
        self._grants = grants
        self._address = address
        self._orders: Mapping[str, Order] = {
            "address": self._where,
            "grant": self._grant,
            "grants": self._held,
            "ungrant": self._ungrant,
        }

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

    def _where(self, _arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if not (url := self._address()):
            raise QuestionError(
                "This mirror does not serve yet, or no longer.", hint="Ask again in a moment."
            )
        return {"url": url}

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
