"""What an export is asked for, what became of it, and who is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mirror.bundle.laying import Meter
from mirror.errors import MirrorError
from mirror.targets import Target


@dataclass(frozen=True, slots=True)
class Wanted:
    """A target, and the place it is to have, a path as the app sees it; ``""`` is its client's own cache."""

    target: Target
    place: str = ""

    def __str__(self) -> str:
        if self.place and self.target.file:
            return f"{self.target}: {self.target.file}={self.place}"
        globs = [f" --include {glob}" for glob in self.target.include]
        globs += [f" --exclude {glob}" for glob in self.target.exclude]
        globs += [f" --as {self.target.loader}"] if self.target.loader else []
        place = f"={self.place}" if self.place else ""
        return f"{self.target}{place}{''.join(globs)}"


@dataclass(slots=True)
class Outcome:
    """What became of one target: how many *files* of *size* bytes it has, *fetched* bytes that came for it.

    *error* says why it is not whole, *note* what is to be known of one that is.
    """

    wanted: Wanted
    files: int = 0
    size: int = 0
    fetched: int = 0
    error: MirrorError | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The end of an export. *environment* are variables by the folders below the exported one."""

    outcomes: Sequence[Outcome]
    environment: Mapping[str, str]

    @property
    def failed(self) -> bool:
        """Whether a target is not whole."""
        return any(outcome.error for outcome in self.outcomes)


class Voice(Meter, Protocol):
    """How an export is told; called from any thread."""

    def placed(self, path: str, size: int) -> None:
        """A file, or a folder, has its name."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """A target is whole, or cannot be made so."""
        ...
