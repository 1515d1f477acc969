"""The one line that a scenario prints; standard library only, as it runs beside every client."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Report:
    """Outcomes of cases, by name: a value or an error, and how long it took."""

    def __init__(self) -> None:
        self._cases: dict[str, dict[str, Any]] = {}

    def case(self, name: str, call: Callable[[], Any]) -> None:
        """Run one case and keep what it gives or how it is refused.

        Args:
            name: What the test calls it.
            call: Gives something that JSON can say.
        """
        began = time.monotonic()
        outcome: dict[str, Any] = {}
        try:
            outcome["value"] = call()
        except Exception as error:  # noqa: BLE001
            outcome["errors"] = [kind.__name__ for kind in type(error).__mro__]
            outcome["message"] = str(error)
        outcome["seconds"] = round(time.monotonic() - began, 3)
        self._cases[name] = outcome

    def line(self) -> str:
        """Give the report as one line of JSON."""
        return json.dumps(self._cases)

    def send(self) -> None:
        """Print the report as the last line of standard output."""
        sys.stdout.write(f"\n{self.line()}\n")


def task() -> Any:
    """Read what the test asks for from standard input."""
    return json.load(sys.stdin)


def digest(path: str | Path) -> str:
    """Give the hex sha256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def digests(folder: str | Path) -> dict[str, str]:
    """Give the sha256 of every file below a folder by its path there, client metadata excepted."""
    root = Path(folder)
    found = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] not in {".cache", ".git", ".huggingface"}:
            found[relative.as_posix()] = digest(path)
    return found
