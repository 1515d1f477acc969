"""The verbs that see to targets, run as people run them against the world of `tests.mirror.exporting`."""

import subprocess
import sys
from pathlib import Path

from tests.mirror.exporting import Ran, World


def line(site: World, *arguments: str, here: bool = False) -> list[str]:
    """The command line of a verb; with *here* the mirror is that on the data folder."""
    where = (
        ("--data", str(site.mirror.data)) if here else ("--endpoint", site.url or site.mirror.url)
    )
    return [sys.executable, "-m", "tests.mirror.standins", *arguments, *where]


def run(site: World, *arguments: str, here: bool = False, code: int = 0) -> Ran:
    """Run a verb in the world's folder; it must end with *code*."""
    ran = subprocess.run(
        line(site, *arguments, here=here),
        env={**site.variables, "PYTHONPATH": str(Path.cwd())},
        cwd=site.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def bodies(site: World) -> int:
    """Bytes of files that the hub has sent."""
    return sum(seen.bytes_sent for seen in site.origin.log if "/api/" not in seen.path)
