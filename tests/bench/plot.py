"""A run as one picture: how far each figure lies from its floor, drawn as SVG without a library.

Every row has units and directions of its own, so a bar's length is its figure over its floor, turned round
where more is better: what ends left of the line holds. A tick marks the goal, a ring what a peer came to, at
the edge when that lies beyond. The picture has its own colours for light and for dark pages.
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from tests.bench.figures import Row
from tests.bench.goals import Goal
from tests.bench.report import number
from tests.house.checkout import ROOT

PLACE: Final = ROOT / "docs" / "performance.svg"

_ROW: Final = 22
_TOP: Final = 46
_LEFT: Final = 330
_WIDE: Final = 380
_RIGHT: Final = 240
# Bars end here, in floors; what is longer ends in an arrow.
_MOST: Final = 1.6

_OPEN: Final = '<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}">'
_BAR: Final = '<rect class="{kind}" x="{left}" y="{top}" width="{width:.1f}" height="{high}"/>'
_STYLE: Final = """
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .faint { fill: #57606a; } .end { text-anchor: end; } .middle { text-anchor: middle; }
  .ground { fill: #ffffff; } .floor { stroke: #24292f; stroke-width: 1.5; }
  .goal { stroke: #8250df; stroke-width: 2.5; } .peer { fill: none; stroke: #57606a; stroke-width: 1.5; }
  .reaches { fill: #1a7f37; } .holds { fill: #54aeff; } .misses { fill: #cf222e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .faint { fill: #9198a1; } .ground { fill: #0d1117; }
    .floor { stroke: #e6edf3; } .goal { stroke: #d2a8ff; } .peer { stroke: #9198a1; }
    .reaches { fill: #3fb950; } .holds { fill: #4493f8; } .misses { fill: #f85149; }
  }
"""


def drawn(rows: Sequence[Row]) -> str:
    """The picture of those *rows* that have samples."""
    shown = [row for row in rows if row.samples]
    height = _TOP + _ROW * len(shown) + 34
    bottom = _TOP + _ROW * len(shown)
    floor = _LEFT + _WIDE / _MOST
    parts = [
        _OPEN.format(width=_LEFT + _WIDE + _RIGHT, height=height),
        "<title>What the mirror costs, against floor and goal</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="100%" height="{height}"/>',
        _text(10, 20, "Shorter is better. The line is the floor, the tick the goal."),
        _text(floor, _TOP - 8, "floor", "middle"),
    ]
    for place, row in enumerate(shown):
        parts += _bar(row, _TOP + _ROW * place)
    parts.append(
        f'<line class="floor" x1="{floor:.1f}" x2="{floor:.1f}" y1="{_TOP - 4}" y2="{bottom}"/>'
    )
    parts += _legend(bottom + 22, tuple(dict.fromkeys(n for row in shown for n in row.peers)))
    return "\n".join([*parts, "</svg>", ""])


def length(goal: Goal, figure: float) -> float:
    """How long a bar is, in floors: below one holds, whichever direction is better."""
    if goal.better == "less":
        return max(0.0, figure / goal.floor)
    return goal.floor / figure if figure > 0 else float("inf")


def _place(floors: float) -> float:
    return _LEFT + _WIDE * min(floors, _MOST) / _MOST


def _bar(row: Row, top: int) -> list[str]:
    goal, figure = row.goal, row.figure
    assert figure is not None
    middle = top + _ROW / 2
    end = _place(length(goal, figure))
    beyond = length(goal, figure) > _MOST
    tick = _place(length(goal, goal.goal))
    parts = [
        _text(10, middle + 4, goal.mark, "faint"),
        _text(_LEFT - 10, middle + 4, goal.name, "end"),
        _BAR.format(kind=row.verdict, left=_LEFT, top=top + 5, width=end - _LEFT, high=_ROW - 10),
        f'<line class="goal" x1="{tick:.1f}" x2="{tick:.1f}" y1="{top + 2}" y2="{top + _ROW - 2}"/>',
        _text(
            _LEFT + _WIDE + 10,
            middle + 4,
            f"{'→ ' if beyond else ''}{number(figure)} {goal.figure_unit}"
            f" (floor {number(goal.floor)}, goal {number(goal.goal)})",
        ),
    ]
    for name in row.peers:
        theirs = row.peer(name)
        if theirs is not None:
            at = _place(length(goal, theirs))
            parts.append(f'<circle class="peer" cx="{at:.1f}" cy="{middle}" r="5"/>')
    return parts


def _legend(top: float, peers: Sequence[str]) -> list[str]:
    parts, left = [], float(_LEFT)
    for name, words in (
        ("reaches", "reaches its goal"),
        ("holds", "holds its floor"),
        ("misses", "misses its floor"),
    ):
        parts.append(f'<rect class="{name}" x="{left}" y="{top - 10}" width="12" height="12"/>')
        parts.append(_text(left + 18, top, words))
        left += 135
    for name in peers:
        parts.append(f'<circle class="peer" cx="{left + 6}" cy="{top - 4}" r="5"/>')
        parts.append(_text(left + 18, top, f"{name}; at the edge: beyond it"))
        left += 150
    return parts


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text{marked} x="{x:g}" y="{y:g}">{escape(words)}</text>'
