"""What was found: one thing that is in a client's way, and the line that mends it."""

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found.

    *kind* is its name for programs, *what* a sentence, *where* the variable or the path it is about. *mend*
    is a line for a POSIX shell that mends it, ``""`` where none could be written. A *note* is nothing wrong.
    """

    kind: str
    where: str
    what: str
    mend: str = ""
    note: bool = False


def export(**settings: str) -> str:
    """A line that sets variables."""
    return "export " + " ".join(f"{name}={shlex.quote(text)}" for name, text in settings.items())


def quoted(path: Path) -> str:
    """A path as a shell reads it."""
    return shlex.quote(str(path))
