"""``python -m tests.bench [--quick] [--json FILE]``: measure, print a table, stop everything again.

All quantities are taken round by round, so a bad minute of the machine spoils one pair of each and not all
pairs of one. Another round begins only if it can end within the limit: 6 minutes, or 90 seconds with
``--quick``.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from mirror import __version__
from tests.bench.figures import STEADY, Notebook, document, table
from tests.bench.processes import find_nginx
from tests.bench.rounds import everything
from tests.bench.scene import FULL, QUICK, Scene, standing


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files, three rounds")
    parser.add_argument("--json", type=Path, help="where to write every sample")
    parser.add_argument("--nginx", help="the nginx to compare with (default: the installed one)")
    parser.add_argument("--folder", type=Path, help="where to keep 4 GiB meanwhile (default: /tmp)")
    wishes = parser.parse_args()
    if sys.platform != "linux":
        parser.error("the measurements need Linux: they read /proc and choose cores")
    # Ended by a signal, everything that was started must end, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    scale = QUICK if wishes.quick else FULL
    book = Notebook()
    about = _machine()
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=wishes.folder) as folder,
        standing(scale, Path(folder), find_nginx(wishes.nginx)) as scene,
    ):
        longest = 0.0
        for turn in range(scale.rounds):
            passed = time.monotonic() - begun
            if passed + longest > scale.limit:
                break
            _say(f"round {turn + 1} of {scale.rounds}, {passed:.0f} s")
            everything(scene, book, turn)
            longest = max(longest, time.monotonic() - begun - passed)
        about |= _setting(scene)
    rows = book.rows()
    about |= {
        "rounds": max(len(row.mirror) for row in rows),
        "seconds": round(time.monotonic() - begun),
        "load_after": os.getloadavg()[0],
    }
    print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in about.items()))  # noqa: T201
    print(f"\n{table(rows)}\n\nA ~ marks a baseline whose extremes lie over {STEADY:.0%} apart.")  # noqa: T201
    if wishes.json is not None:
        wishes.json.write_text(json.dumps(document(rows, about), indent=1) + "\n", encoding="utf-8")


def _machine() -> dict[str, object]:
    processor = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "mirror": __version__,
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def _setting(scene: Scene) -> dict[str, object]:
    return {
        "hot_baseline": scene.baseline.name,
        "small_baseline": scene.handler.name,
        "hot_bytes": scene.scale.hot,
        "cold_bytes": scene.scale.cold,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
