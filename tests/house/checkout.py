"""The checkout as the house rules see it: which files are its own.

Git knows that best. A source archive has no git; there the same answer comes from walking the tree
without what `.gitignore` names at the top.
"""

import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

# Made by tools, never part of the source; only consulted where there is no git.
_MADE: Final = {
    ".cache",
    ".git",
    ".hypothesis",
    ".import_linter_cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    ".venv-lock",
    "__pycache__",
    "build",
    "dist",
}


def files(root: Path = ROOT) -> list[Path]:
    """List the files of the checkout, sorted: tracked ones, and new ones that git would not ignore.

    Args:
        root: the folder that holds pyproject.toml.

    Returns:
        Paths relative to *root*. Files deleted but not yet committed are left out.
    """
    found = _from_git(root) if (root / ".git").exists() else _from_disk(root)
    return sorted(path for path in found if (root / path).is_file())


def _from_git(root: Path) -> set[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {Path(name) for name in listing.split("\0") if name}


def _from_disk(root: Path) -> set[Path]:
    return {
        path.relative_to(root)
        for path in root.rglob("*")
        if _MADE.isdisjoint(path.relative_to(root).parts)
    }
