"""What the store does for journal and records, done plainly: whole files, and syncs that are counted."""

from pathlib import Path

from mirror.index.catalog import Catalog


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


def refuse(catalog: Catalog) -> None:
    """Have the disk of *catalog* take nothing from now on."""
    catalog._writer._connection.execute("PRAGMA query_only = ON")


def relent(catalog: Catalog) -> None:
    """Have it take everything again."""
    catalog._writer._connection.execute("PRAGMA query_only = OFF")
