"""Print the requirements that a lock file is made from, one per line.

`make lock` feeds them to pip-compile. It does not hand over pyproject.toml itself, because then the
package would have to be built to learn its metadata, and dependency groups would not be read.

Usage: ``python tests/house/requirements.py run|dev < pyproject.toml``
"""

import sys
import tomllib
from typing import Any


def requirements(project: dict[str, Any], which: str) -> list[str]:
    """List the requirements of one lock.

    Args:
        project: pyproject.toml, parsed.
        which: `run` for what serving needs, the build backend included, so that installing the
            package from the checkout downloads nothing that has no hash; `dev` for that and what
            checking and testing need.

    Raises:
        KeyError: *which* is neither, or pyproject.toml lacks a table.
    """
    run = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    return {"run": run, "dev": [*run, *project["dependency-groups"]["dev"]]}[which]


if __name__ == "__main__":
    lines = requirements(tomllib.load(sys.stdin.buffer), sys.argv[1])
    sys.stdout.write("\n".join(lines) + "\n")
