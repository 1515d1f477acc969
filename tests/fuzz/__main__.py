"""Run the fuzzer over each target: `make fuzz ARGS='--seconds 180 request_targets'`.

An input that breaks a target is left in ``.cache/fuzz/TARGET/``; put it into the target's `SEEDS`, where
every run of the tests tries it, and mend what it broke.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.house.checkout import ROOT

TARGETS: Final = (
    "hub_answers",
    "ranges",
    "redirects",
    "request_bodies",
    "request_targets",
    "stored_json",
)
# Longer inputs are refused by their length; this leaves room for a document of some size.
_MAX_LENGTH: Final = 4096
# An input that takes longer is a finding too: whoever sends it holds up everybody.
_SLOW_SECONDS: Final = 2


def main() -> int:
    """Fuzz the targets that were named, all by default; return how many were broken."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer's choices (default: 1)")
    given = parser.parse_args()
    broken = [
        name for name in given.targets or TARGETS if not _fuzz(name, given.seconds, given.seed)
    ]
    _say("broken: " + ", ".join(broken) if broken else "nothing was found")
    return len(broken)


def _fuzz(name: str, seconds: int, seed: int) -> bool:
    kept = ROOT / ".cache" / "fuzz" / name
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as seeds:
        for number, data in enumerate(importlib.import_module(f"tests.fuzz.{name}").SEEDS):
            (Path(seeds) / str(number)).write_bytes(data)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.fuzz.engine",
                name,
                f"-max_total_time={seconds}",
                f"-seed={seed}",
                f"-max_len={_MAX_LENGTH}",
                f"-timeout={_SLOW_SECONDS}",
                f"-artifact_prefix={kept}/",
                "-print_final_stats=1",
                "-verbosity=0",
                seeds,
            ],
            check=False,
            cwd=ROOT,
            env=os.environ,
        )
    _say(f"{name}: {'nothing was found' if done.returncode == 0 else 'BROKEN'}")
    return done.returncode == 0


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
