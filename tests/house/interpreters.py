"""The Pythons of this machine: what is made for other people's has to run on all of them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OLDEST: Final = 8
NEWEST: Final = 15


def interpreters() -> Iterator[str]:
    """Every Python from 3.8 on that starts: those on PATH, and those that pyenv keeps beside it."""
    folders = os.environ["PATH"].split(os.pathsep)
    shims = [Path(folder) for folder in folders if folder.endswith("/.pyenv/shims")]
    for minor in range(OLDEST, NEWEST + 1):
        name = f"python3.{minor}"
        found = [
            path for shim in shims for path in shim.parent.glob(f"versions/3.{minor}.*/bin/{name}")
        ]
        on_path = shutil.which(name)
        for python in [*map(str, sorted(found)), *([on_path] if on_path else [])]:
            code = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
            tried = subprocess.run([python, "-I", "-c", code], check=False, capture_output=True)
            if tried.returncode == 0:
                yield python
                break
