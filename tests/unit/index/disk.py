"""What the store does for journal and records, done plainly: whole files, and syncs that are counted."""

from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Put a whole file in place."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)


class Syncs:
    """Counts syncs; with *failing* each of them is an I/O error."""

    def __init__(self) -> None:
        self.count = 0
        self.failing = False

    def __call__(self, _fd: int, _path: Path) -> None:
        """Stand in for bringing an open file to the disk."""
        if self.failing:
            raise OSError(5, "Input/output error")
        self.count += 1
