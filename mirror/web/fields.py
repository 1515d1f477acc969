"""The header fields of a request that note which of them an answer was made of.

What was asked for, an answer may depend on; on the others it does not, so it is good for requests that have
others there.
"""

from collections.abc import Iterator, Mapping
from typing import Any


class Fields(dict[str, str]):
    """Headers that note which of them were asked for, there or not, in *heard*."""

    __slots__ = ("heard",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields)
        self.heard: set[object] = set()

    def __getitem__(self, name: str) -> str:
        self.heard.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.heard.add(name)
        return super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        self.heard.update(super().__iter__())
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping."""
        self.heard.add(name)
        return super().get(name, default)

    def items(self) -> Any:
        """As of any mapping."""
        self.heard.update(super().__iter__())
        return super().items()

    def values(self) -> Any:
        """As of any mapping."""
        self.heard.update(super().__iter__())
        return super().values()
