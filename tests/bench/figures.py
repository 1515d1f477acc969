"""The arithmetic of a measurement: samples in pairs, medians of ratios.

A shared machine is twice as fast in one minute as in the next, so two averages taken minutes apart say
little about two servers. Samples are therefore taken in pairs, one right after the other, and the ratio
is the median of the ratios of the pairs, never the ratio of the medians.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final, Literal

# Beyond this distance between the baseline's extremes, relative to its median, the machine was not quiet.
STEADY: Final = 0.25

Better = Literal["less", "more"]


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of the mirror, with the baseline's right beside it where there is one.

    *mirror* and *baseline* are samples in *unit*, and those at one index are a pair; an empty *baseline*
    means that nothing comparable exists. *better* says which direction is an improvement. Raises
    `ValueError` without samples, when they do not pair, or when a baseline is not above zero.
    """

    name: str
    unit: str
    better: Better
    mirror: Sequence[float]
    baseline: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not self.mirror:
            message = f"{self.name}: no samples"
            raise ValueError(message)
        if self.baseline and len(self.baseline) != len(self.mirror):
            message = f"{self.name}: {len(self.mirror)} samples beside {len(self.baseline)}"
            raise ValueError(message)
        if any(sample <= 0 for sample in self.baseline):
            message = f"{self.name}: a baseline that is not above zero"
            raise ValueError(message)

    @property
    def value(self) -> float:
        """The mirror's median."""
        return median(self.mirror)

    @property
    def base(self) -> float | None:
        """The baseline's median."""
        return median(self.baseline) if self.baseline else None

    @property
    def ratios(self) -> tuple[float, ...]:
        """Mirror over baseline, pair by pair."""
        return tuple(
            mine / its for mine, its in zip(self.mirror, self.baseline, strict=bool(self.baseline))
        )

    @property
    def ratio(self) -> float | None:
        """The median of the paired ratios."""
        return median(self.ratios) if self.baseline else None

    @property
    def spread(self) -> float:
        """How far the extremes of the baseline (of the mirror where there is none) lie apart.

        Relative to the median; infinite when that is zero and the extremes are not.
        """
        samples = self.baseline or self.mirror
        distance = max(samples) - min(samples)
        middle = median(samples)
        if not middle:
            return float("inf") if distance else 0.0
        return distance / middle

    @property
    def steady(self) -> bool:
        """Whether the machine was quiet enough for the figure to mean something."""
        return self.spread <= STEADY

    def plain(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            **asdict(self),
            "value": self.value,
            "base": self.base,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "spread": self.spread,
        }


class Notebook:
    """Samples as they come in, grouped by what they measure."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, Better]] = {}
        self._pairs: dict[str, list[tuple[float, float | None]]] = {}

    def note(
        self, name: str, unit: str, better: Better, mirror: float, baseline: float | None = None
    ) -> None:
        """Write down one pair, or one sample of the mirror alone."""
        self._kinds.setdefault(name, (unit, better))
        self._pairs.setdefault(name, []).append((mirror, baseline))

    def rows(self) -> list[Row]:
        """What was noted, in the order in which each quantity was first noted."""
        return [
            Row(
                name,
                *self._kinds[name],
                tuple(mine for mine, _ in pairs),
                tuple(its for _, its in pairs if its is not None),
            )
            for name, pairs in self._pairs.items()
        ]


def table(rows: Sequence[Row]) -> str:
    """Lay out *rows* for a terminal; a tilde marks those whose machine was not quiet."""
    lines = [("", "mirror", "baseline", "ratio", "pairs from", "to", "")]
    for row in rows:
        base, ratio = row.base, row.ratio
        lines.append(
            (
                f"{row.name}, {row.unit}",
                _number(row.value),
                "-" if base is None else _number(base),
                "-" if ratio is None else f"{ratio:.2f}",
                f"{min(row.ratios):.2f}" if row.ratios else "-",
                f"{max(row.ratios):.2f}" if row.ratios else "-",
                "" if row.steady else "~",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def document(rows: Sequence[Row], about: Mapping[str, object]) -> dict[str, Any]:
    """The whole run as JSON has it: *about* the machine and the run, then every row with its samples."""
    return {**about, "rows": [row.plain() for row in rows]}


def _number(value: float) -> str:
    """Three digits that count, whatever the size."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1 or not value else f"{value:.3f}"
