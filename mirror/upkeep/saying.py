"""The arguments of orders, read: they come from the command line, of this version or another."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from mirror.errors import QuestionError
from mirror.upkeep.naming import Named, named

Order: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Carries an order with its arguments out and returns the reply, both JSON-ready; may block on the disk."""


def text(arguments: Mapping[str, Any], name: str) -> str:
    """The text called *name*, empty where it is not said. Raises `QuestionError` for anything else."""
    value = arguments.get(name, "")
    if not isinstance(value, str):
        raise QuestionError(f"The argument {name} is a text.")
    return value


def flag(arguments: Mapping[str, Any], name: str) -> bool:
    """Whether *name* is said. Raises `QuestionError` for what is neither yes nor no."""
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise QuestionError(f"The argument {name} is true or false.")
    return value


def number(arguments: Mapping[str, Any], name: str, otherwise: float) -> float:
    """The number called *name*, at least 0. Raises `QuestionError` for anything else."""
    value = arguments.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise QuestionError(f"The argument {name} is a number.")
    return float(value)


def target(arguments: Mapping[str, Any]) -> Named:
    """What the order is about. Raises `QuestionError`."""
    return named(text(arguments, "target"))
