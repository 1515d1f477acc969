"""Remove a repo again and again, dying one step later each time.

Run as a program with a folder that has a data folder ``store`` in it: run number *n* works on a copy of that,
``<folder>/<n>``, and is killed just before its *n*-th change of the disk or of the index; the last run
survives. Writes the number of runs.
"""

import os
import shutil
import sys
from pathlib import Path

from mirror.upkeep.naming import named
from mirror.upkeep.removal import Removals
from tests.unit.dying import die_before, until_it_lives
from tests.unit.upkeep.desks import REPO, at_rest


def main(folder: Path) -> None:
    """Remove a repo, of which another one shares a file, until nothing is left to be killed at."""

    def remove(step: int) -> None:
        data = folder / str(step)
        shutil.copytree(folder / "store", data)
        with at_rest(data) as desk:
            removals = Removals(desk)
            plan = removals.planner.plan(named(REPO))
            die_before(step)
            removals.carry_out(plan)
            os._exit(0)

    until_it_lives(remove)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
