"""Commit two blobs again and again, dying one step later each time.

Run as a program with an empty folder: run number *n* works in the data folder ``<folder>/<n>`` and is
killed just before its *n*-th change of the disk; the last run survives. Writes the number of runs.
"""

import sys
from pathlib import Path

from mirror.digest import sha256_of
from mirror.store.sums import PIECE
from tests.unit.dying import die_before, until_it_lives
from tests.unit.store.kit import Kit

BIG = bytes(range(256)) * (PIECE // 128) + b"end"
SMALL = b"small"


def commit(data: Path) -> None:
    """Bring both blobs in, the big one in two halves with a stop between."""
    with Kit(data) as kit:
        half = kit.partials.begin(sha256_of(BIG), len(BIG))
        half.append(BIG[:PIECE])
        half.keep()
        half.close()
        kit.fill(SMALL)
        rest = kit.partials.begin(sha256_of(BIG), len(BIG))
        rest.append(BIG[rest.received :])
        rest.finish()
        kit.store.put([rest])
        rest.close()


def main(folder: Path) -> None:
    """Run until nothing is left to be killed at."""

    def run(step: int) -> None:
        die_before(step)
        commit(folder / str(step))

    until_it_lives(run)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
