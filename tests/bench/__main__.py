"""``make bench``: measure the mirror beside others, and hold what comes out against floors and goals.

Ends with 1 when a floor is missed, with 2 when a measurement failed.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mirror import __version__
from tests.bench import olah, plot, processes, programs, report
from tests.bench.figures import Notebook, Row, joined
from tests.bench.goals import MARKS, chosen
from tests.bench.groups import GROUPS, run_all
from tests.bench.scene import FULL, QUICK, Scene
from tests.house.checkout import ROOT

# The load of 1000 slow clients, and the server they are connected to.
_FILES = 4096


def main() -> None:
    """Read the command line and run."""
    parser = _parser()
    wishes = parser.parse_args()
    try:
        marks = chosen(wishes.only) if wishes.only else frozenset(MARKS)
        saved = [report.read(path) for path in wishes.read]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    failed = False
    if not saved:
        if sys.platform != "linux":
            parser.error("the measurements need Linux: they read /proc and choose cores")
        rows, about, failed = _measured(wishes, marks)
        saved = [(rows, about)]
    runs = [rows for rows, _ in saved]
    rows = joined(runs)
    for _, about in saved:
        print(_told(about))  # noqa: T201
    print(report.table(rows))  # noqa: T201
    if wishes.json is not None:
        written = json.dumps(report.document(rows, saved[-1][1]), indent=1)
        wishes.json.write_text(written + "\n", encoding="utf-8")
    if wishes.write_docs:
        _write_docs(rows, [about for _, about in saved], runs)
    if failed:
        sys.exit(2)
    sys.exit(any(row.missed for run in runs for row in run))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files, few rounds: 2 minutes")
    parser.add_argument("--only", metavar="G1,G6", help="only the rows with these marks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument(
        "--read", type=Path, metavar="FILE", nargs="+", default=[],
        help="measure nothing: tell what --json wrote, of several runs together",
    )  # fmt: skip
    parser.add_argument(
        "--write-docs", action="store_true", help="write table and plot into docs/performance.md"
    )
    parser.add_argument("--peers", action="store_true", help="measure olah, too: 3 minutes more")
    parser.add_argument("--nginx", metavar="PROGRAM", help="the nginx to compare with")
    parser.add_argument(
        "--folder", type=Path, help="where to keep up to 16 GiB meanwhile (default: /tmp)"
    )
    return parser


def _measured(
    wishes: argparse.Namespace, marks: frozenset[str]
) -> tuple[list[Row], dict[str, Any], bool]:
    """Run the groups of *marks*; returns their rows, what the run says of itself, and whether one failed."""
    # Ended by a signal, everything that was started must end, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes.allow_files(_FILES)
    scale = QUICK if wishes.quick else FULL
    book = Notebook()
    about = _machine(wishes.nginx) | {"scale": scale.name}
    peers = wishes.peers and _olah(about)
    begun = time.monotonic()
    groups = [group for group in GROUPS if marks & set(group.marks)]
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=wishes.folder) as folder,
        ExitStack() as stack,
    ):
        scene = Scene(scale, Path(folder), stack, wishes.nginx, peers=peers)
        failed = run_all(scene, book, groups, begun)
        about["load"] = scene.loads.name
    about |= {"seconds": round(time.monotonic() - begun), "load_after": os.getloadavg()[0]}
    return book.rows(marks), about, failed


def _machine(nginx: str | None) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "mirror": __version__,
        "processor": programs.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": programs.version(lambda: programs.nginx(nginx), ["-v"]),
        "load_before": os.getloadavg()[0],
    }


def _olah(about: dict[str, Any]) -> bool:
    """Whether olah can be measured; *about* is told its version, or why not."""
    try:
        about["olah"] = olah.version()
    except programs.LackingError as error:
        about["olah"] = str(error)
        return False
    return True


def _told(about: Mapping[str, Any]) -> str:
    return "".join(f"{name.replace('_', ' ')}: {value}\n" for name, value in about.items())


def _write_docs(rows: list[Row], abouts: list[Mapping[str, Any]], runs: list[list[Row]]) -> None:
    page = ROOT / "docs" / "performance.md"
    text = report.region(rows, abouts, runs)
    page.write_text(report.rewritten(page.read_text(encoding="utf-8"), text), encoding="utf-8")
    plot.PLACE.write_text(plot.drawn(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
