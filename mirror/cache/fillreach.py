"""What a fill reaches upstream with, and whom its threads tell how far it is."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from mirror.cache.fillpace import Hosts
from mirror.clock import Clock
from mirror.errors import MirrorError
from mirror.upstream.contract import Fetcher


@dataclass(frozen=True, slots=True)
class Reach:
    """How fills reach upstream: *lanes* is the pool of connections beside the first of each fill."""

    fetcher: Fetcher
    clock: Clock
    lanes: Executor
    hosts: Hosts


class Report(Protocol):
    """Who is told how far a fill is; called from any of its threads."""

    def begun(self) -> None:
        """Upstream has sent a head that fits."""
        ...

    def grew(self) -> None:
        """More bytes are there."""
        ...

    def rewind(self, keep: int, error: MirrorError) -> None:
        """Return once nobody will read bytes beyond *keep* any more; their readers get *error*."""
        ...

    def rewound(self) -> None:
        """What is in the file may be read again."""
        ...
