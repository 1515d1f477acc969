"""What an adoption did: values for people and for programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Outcome(StrEnum):
    """What became of one file."""

    PROVEN = "proven"
    """Its bytes are those of its published digest."""
    PREFIX = "prefix-proven"
    """They agree with what is published of it: some digits of a sha256, an MD5."""
    UNVERIFIED = "unverified"
    """Nothing is published of it here; it is kept as the first that was seen."""
    PRESENT = "present"
    """The mirror had it already."""
    REFUSED = "refused"
    """It is not what it claims to be, and nothing of it is kept."""
    SKIPPED = "skipped"
    """It was left alone."""


# Named one by one: beyond that they are counted. A cache of a broken disk has one for each of its files.
NAMED: Final = 1000


@dataclass(slots=True)
class Tally:
    """Files and bytes of one outcome."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """Why something was refused or left alone: *path* below the folder that was given."""

    cache: str
    outcome: Outcome
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """A repo that nobody may read yet: *why*, and the command that opens it."""

    repo: str
    why: str
    line: str


@dataclass(slots=True)
class Report:
    """All of it; *needed* and *free* are bytes, as they were before the first one was taken."""

    dry_run: bool = False
    stopped: bool = False
    needed: int = 0
    free: int = 0
    taken: dict[str, Tally] = field(default_factory=dict)
    tallies: dict[str, dict[Outcome, Tally]] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    undecided: list[Undecided] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, cache: str, outcome: Outcome, size: int, files: int = 1) -> None:
        """Count *files* with *size* bytes."""
        tally = self.tallies.setdefault(cache, {}).setdefault(outcome, Tally())
        tally.files += files
        tally.bytes += size

    def remark(self, cache: str, outcome: Outcome, path: str, why: str, size: int = 0) -> None:
        """Count a file and say why."""
        self.count(cache, outcome, size)
        if len(self.remarks) < NAMED:
            self.remarks.append(Remark(cache, outcome, path, why))

    def form(self) -> Mapping[str, Any]:
        """The report, JSON-ready."""
        return {
            "dry_run": self.dry_run,
            "stopped": self.stopped,
            "room": {"needed": self.needed, "free": self.free},
            "taken": {how: _form(tally) for how, tally in sorted(self.taken.items())},
            "caches": {
                cache: {outcome.value: _form(tally) for outcome, tally in sorted(tallies.items())}
                for cache, tallies in sorted(self.tallies.items())
            },
            "remarks": [
                {
                    "cache": remark.cache,
                    "outcome": remark.outcome.value,
                    "path": remark.path,
                    "why": remark.why,
                }
                for remark in self.remarks
            ],
            "undecided": [
                {"repo": item.repo, "why": item.why, "line": item.line} for item in self.undecided
            ],
            "notes": self.notes,
        }


def _form(tally: Tally) -> Mapping[str, int]:
    return {"files": tally.files, "bytes": tally.bytes}
