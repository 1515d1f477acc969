"""Two measurements, one right after the other."""

from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_U = TypeVar("_U")


def pair(turn: int, mirror: Callable[[], _T], baseline: Callable[[], _U]) -> tuple[_T, _U]:
    """Measure both, the mirror first in even turns, so that neither always finds the other's machine."""
    if turn % 2:
        its = baseline()
        return mirror(), its
    mine = mirror()
    return mine, baseline()
