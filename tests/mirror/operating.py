"""The operator's command line, as it is typed: on a running mirror's folder, or on one at rest."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def order(
    data: Path, verb: str, *words: str, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``modelmirror VERB`` on the data folder *data*."""
    return subprocess.run(
        [sys.executable, "-m", "mirror", verb, "--data", str(data), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("MODELMIRROR_")},
            **(settings or {}),
        },
    )


def told(data: Path, verb: str, *words: str) -> Any:
    """What it says with ``--json``."""
    done = order(data, verb, "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def said(data: Path, verb: str, *words: str) -> str:
    """What it says to people."""
    done = order(data, verb, *words)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def refused(data: Path, verb: str, *words: str) -> str:
    """What it says when it refuses; nothing of it may be a traceback."""
    done = order(data, verb, *words)
    assert done.returncode in {1, 2, 4}, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr
