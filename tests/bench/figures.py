"""The arithmetic of a measurement: samples in pairs, medians of what the pairs come to.

A shared machine is twice as fast in one minute as in the next, so two averages taken minutes apart say
little about two servers. Samples are therefore taken in pairs, one right after the other, and a figure
is the median of what each pair comes to, never the ratio of two medians.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from tests.bench.goals import BY_KEY, GOALS, Goal

# Beyond this distance between the baseline's extremes, relative to its median, the machine was not quiet.
STEADY: Final = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round saw: the mirror's, the baseline's if there is one, and what *peers* by name came to."""

    mirror: float
    baseline: float | None = None
    peers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """The samples of one goal, round by round, or the reason why there are none (*lack*).

    Raises `ValueError` when a figure of pairs lacks a half, or has a baseline that is not above zero.
    """

    goal: Goal
    samples: Sequence[Sample] = ()
    lack: str = ""

    def __post_init__(self) -> None:
        if self.goal.how == "plain":
            return
        for sample in self.samples:
            if sample.baseline is None:
                raise ValueError(f"{self.goal.key}: half a pair")
            if self.goal.how == "ratio" and sample.baseline <= 0:
                raise ValueError(f"{self.goal.key}: a baseline that is not above zero")

    def _figure(self, value: float, baseline: float | None) -> float:
        match self.goal.how:
            case "plain":
                return value
            case "added":
                return value - (baseline or 0.0)
            case "ratio":
                return value / (baseline or 1.0)

    @property
    def figures(self) -> tuple[float, ...]:
        """What each pair comes to."""
        return tuple(self._figure(sample.mirror, sample.baseline) for sample in self.samples)

    @property
    def figure(self) -> float | None:
        """The figure that is held against floor and goal: the median of the pairs'."""
        return median(self.figures) if self.samples else None

    @property
    def mirror(self) -> float | None:
        """The median of the mirror's samples."""
        return median(sample.mirror for sample in self.samples) if self.samples else None

    @property
    def baseline(self) -> float | None:
        """The median of the baseline's samples."""
        known = [sample.baseline for sample in self.samples if sample.baseline is not None]
        return median(known) if known else None

    def peer(self, name: str) -> float | None:
        """What the peer *name* came to by the same arithmetic; `None` where it was not measured."""
        figures = [
            self._figure(sample.peers[name], sample.baseline)
            for sample in self.samples
            if name in sample.peers
        ]
        return median(figures) if figures else None

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that some round has."""
        return tuple(dict.fromkeys(name for sample in self.samples for name in sample.peers))

    @property
    def spread(self) -> float:
        """How far the extremes of the baseline (of the mirror where there is none) lie apart.

        Relative to the median; infinite when that is zero and the extremes are not.
        """
        beside = [sample.baseline for sample in self.samples if sample.baseline is not None]
        samples = beside or [sample.mirror for sample in self.samples]
        if not samples:
            return 0.0
        distance, middle = max(samples) - min(samples), median(samples)
        if not middle:
            return float("inf") if distance else 0.0
        return distance / abs(middle)

    @property
    def steady(self) -> bool:
        """Whether the machine was quiet enough for the figure to mean something."""
        return self.spread <= STEADY

    @property
    def missed(self) -> bool:
        """Whether the figure is beyond the floor."""
        return self.figure is not None and not self.goal.meets(self.figure, self.goal.floor)

    @property
    def verdict(self) -> str:
        """One word: reaches (the goal), holds (the floor), misses (it), skipped."""
        if self.figure is None:
            return "skipped"
        if self.missed:
            return "misses"
        return "reaches" if self.goal.meets(self.figure, self.goal.goal) else "holds"

    def plain(self) -> dict[str, Any]:
        """Everything, as JSON has it; `from_plain` reads the key, the lack and the samples again."""
        goal = self.goal
        return {
            "key": goal.key,
            "mark": goal.mark,
            "name": goal.name,
            "unit": goal.unit,
            "how": goal.how,
            "better": goal.better,
            "floor": goal.floor,
            "goal": goal.goal,
            "baseline": goal.baseline,
            "figure": self.figure,
            "verdict": self.verdict,
            "steady": self.steady,
            "lack": self.lack,
            "samples": [
                {"mirror": one.mirror, "baseline": one.baseline, "peers": dict(one.peers)}
                for one in self.samples
            ],
        }

    @classmethod
    def from_plain(cls, said: Mapping[str, Any]) -> "Row":
        """The row that `plain` told; floor and goal are today's.

        Raises `KeyError` for a row that this table does not have.
        """
        samples = tuple(
            Sample(one["mirror"], one["baseline"], dict(one["peers"])) for one in said["samples"]
        )
        return cls(BY_KEY[said["key"]], samples, said["lack"])


class Notebook:
    """Samples as they come in, by the key of their goal; and why some do not."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Sample]] = {}
        self._lacks: dict[str, str] = {}

    def note(
        self, key: str, mirror: float, baseline: float | None = None, **peers: float | None
    ) -> None:
        """Write down what one round saw; a peer that is `None` was not measured."""
        known = {name: value for name, value in peers.items() if value is not None}
        self._samples.setdefault(BY_KEY[key].key, []).append(Sample(mirror, baseline, known))

    def lack(self, marks: Iterable[str], reason: str) -> None:
        """Write down why the rows with *marks* have no samples; those that have some keep them."""
        for mark in marks:
            self._lacks[mark] = reason

    def rows(self, marks: frozenset[str]) -> list[Row]:
        """One row for each goal that *marks* name, in the order of the table."""
        rows = []
        for goal in GOALS:
            if goal.mark in marks:
                samples = tuple(self._samples.get(goal.key, ()))
                lack = "" if samples else self._lacks.get(goal.mark, "not measured")
                rows.append(Row(goal, samples, lack))
        return rows


def joined(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of several runs as one: every sample of each; a reason only where no run has a sample."""
    rows = []
    for goal in GOALS:
        same = [row for run in runs for row in run if row.goal == goal]
        if same:
            samples = tuple(sample for row in same for sample in row.samples)
            rows.append(Row(goal, samples, "" if samples else same[-1].lack))
    return rows
