"""What a check of the store finds, as values, and who is told while it goes on."""

import enum
from dataclasses import dataclass, field
from typing import Protocol

from mirror.digest import Digest


class Level(enum.Enum):
    """How bad it is: *damage* is lost or wrong, *unchecked* could not be looked at, a *note* is neither."""

    DAMAGE = "damage"
    UNCHECKED = "unchecked"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    *kind* is a short constant for programs (docs/reliability.md lists them); *what* the path below the
    version folder; *detail* a sentence; *mended* says what was done about it, "" when nothing was.
    """

    level: Level
    kind: str
    what: str
    detail: str
    mended: str = ""


@dataclass(frozen=True, slots=True)
class Loss:
    """A file that must be fetched again: *path* of *commit* of *repo*, whose content is *digest*."""

    hub: str
    repo: str
    commit: str
    path: str
    digest: Digest


@dataclass(slots=True)
class Report:
    """All that a check found, and how much it looked at; sizes are bytes."""

    blobs: int = 0
    size: int = 0
    blobs_read: int = 0
    size_read: int = 0
    records: int = 0
    findings: list[Finding] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def count(self, level: Level) -> int:
        """How many findings are of *level*."""
        return sum(finding.level is level for finding in self.findings)

    @property
    def mended(self) -> int:
        """How many findings something was done about."""
        return sum(bool(finding.mended) for finding in self.findings)

    @property
    def result(self) -> str:
        """``damaged``, ``unchecked`` or ``fine``; damage weighs most, mended or not."""
        if self.count(Level.DAMAGE):
            return "damaged"
        return "unchecked" if self.count(Level.UNCHECKED) else "fine"


class Watcher(Protocol):
    """Who is told while a check goes on."""

    def begin(self, step: str, total: int) -> None:
        """A step begins that will `advance` by *total* in all."""
        ...

    def advance(self, amount: int) -> None:
        """The step at hand came further by *amount*."""
        ...

    def found(self, finding: Finding) -> None:
        """Something was found."""
        ...
