"""The commands of clients' machines, run as people run them, in an environment of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def environment(home: Path, **variables: str) -> dict[str, str]:
    """What a command is given: a home, nothing of this machine's own settings, and *variables*."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), **variables}


def run(
    *arguments: str, variables: Mapping[str, str], timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``modelmirror`` with *arguments* and nothing but *variables* set."""
    return subprocess.run(
        [sys.executable, "-m", "mirror", *arguments],
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def report(*arguments: str, variables: Mapping[str, str], timeout: float = 120) -> Any:
    """Run ``modelmirror`` with *arguments* and ``--json``; what it reports, whatever its exit code."""
    ran = run(*arguments, "--json", variables=variables, timeout=timeout)
    assert ran.stdout, ran.stderr
    return json.loads(ran.stdout)
