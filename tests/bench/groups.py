"""What is measured together: a group has its rows, its rounds, and a function for one round."""

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench import cold, hot, memory, scale, small, snapshot, start, tools
from tests.bench.figures import Notebook
from tests.bench.programs import LackingError
from tests.bench.scene import QUICK, Scale, Scene


@dataclass(frozen=True, slots=True)
class Group:
    """*run* measures a round of the rows *marks*; a full run wants *rounds* of them, a quick one *quick*."""

    marks: tuple[str, ...]
    run: Callable[[Scene, Notebook, int], None]
    rounds: int
    quick: int = 1

    def wanted(self, scale: Scale) -> int:
        """How many rounds a run of this *scale* wants."""
        return self.quick if scale is QUICK else self.rounds


_COLD: Final = cold.Cold()
_TOOLS: Final = tools.Tools()
_LARGE: Final = scale.Large()
_SNAPSHOT: Final = snapshot.Snapshot()

# What is short or stands on what stands already comes first: a run that has no time left lacks the last.
GROUPS: Final = (
    Group(("G1", "G2", "G3"), hot.hot, 7, 3),
    Group(("G4",), hot.beside, 5),
    Group(("G5",), hot.tls, 5),
    Group(("G6",), small.heads, 7, 3),
    Group(("G8", "G9"), small.documents, 7, 3),
    Group(("G19",), start.start, 7, 3),
    Group(("G10", "G11"), _COLD.followed, 3),
    Group(("G13",), _COLD.ranged, 3),
    Group(("G12",), cold.fill, 3),
    Group(("G20",), _SNAPSHOT.download, 3),
    Group(("G14",), memory.slow, 2),
    Group(("G15",), _TOOLS.verify, 3),
    Group(("G16",), _TOOLS.adopt, 3),
    Group(("G17",), _TOOLS.links, 3),
    Group(("G18",), _TOOLS.export, 3),
    Group(("G14",), memory.cold, 1),
    Group(("S1", "S2"), _LARGE.ask, 5, 2),
    Group(("S3",), scale.ready, 5, 2),
)


def run_all(scene: Scene, book: Notebook, groups: Sequence[Group], begun: float) -> bool:
    """Run *groups* round by round, so a bad minute of the machine spoils one pair of each and not all of one.

    A round begins only if it can end within the scene's limit, counted from *begun* (monotonic seconds).
    Returns whether a measurement failed; its group is left out from then on.
    """
    left = list(groups)
    longest: dict[Group, float] = {}
    failed = False
    for turn in range(max(group.wanted(scene.scale) for group in groups)):
        for group in list(left):
            passed = time.monotonic() - begun
            if turn >= group.wanted(scene.scale):
                left.remove(group)
            elif passed + longest.get(group, 0.0) > scene.limit:
                left.remove(group)
                book.lack(group.marks, "no time left")
            else:
                _say(f"{passed:4.0f} s: {', '.join(group.marks)}, round {turn + 1}")
                try:
                    group.run(scene, book, turn)
                except LackingError as error:
                    left.remove(group)
                    book.lack(group.marks, str(error))
                    _say(f"        skipped: {error}")
                except Exception as error:  # noqa: BLE001 -- other rows can be measured still
                    left.remove(group)
                    failed = True
                    book.lack(group.marks, f"failed: {error}")
                    _say(f"        failed:\n{traceback.format_exc()}")
                took = time.monotonic() - begun - passed
                longest[group] = max(longest.get(group, 0.0), took)
    return failed


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
