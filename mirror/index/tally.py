"""How far the catalog was written, beside it: so that a log which was lost or cut short is noticed.

SQLite keeps the last transactions in a file of its own (``-wal``) until they are moved into the catalog. A
process that is killed loses none of them, but the file can be lost or cut before the next start, by a tool
that takes it for a leftover, a copy that leaves it out, a file system that is repaired; and SQLite then
opens what remains without a word. So every transaction counts itself, and once it is committed, its count
and the size of the log are noted here. A kill in between leaves the catalog ahead of the note, never behind.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

_COUNT: Final = "UPDATE totals SET transactions = transactions + 1 RETURNING transactions"
_COUNTED: Final = "SELECT transactions FROM totals"

# Of one length always, so that it is written over in place: that takes no room, and is whole or not done.
_FORM: Final = b"%020d %020d\n"
_NO_LOG: Final = b"%020d" % 0
_LOG_AT: Final = 21


class Tally:
    """The note beside the catalog at *path*."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._file = path.with_name(f"{path.name}-committed")
        self._fd = -1

    def count(self, connection: sqlite3.Connection) -> int:
        """Count the transaction under way, and return which one it is."""
        (number,) = connection.execute(_COUNT).fetchone()
        return int(number)

    def note(self, number: int) -> None:
        """Note that transaction *number* is committed; a disk that refuses leaves an older note."""
        with suppress(OSError):
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._fd = os.open(self._file, flags, 0o600)
            size = self._log.stat().st_size if self._log.exists() else 0
            os.pwrite(self._fd, _FORM % (number, size), 0)

    def close(self) -> None:
        """Note that nothing is left in the log, which went with its last connection."""
        if self._fd < 0:
            return
        with suppress(OSError):
            if not self._log.exists():
                os.pwrite(self._fd, _NO_LOG, _LOG_AT)
            os.close(self._fd)
        self._fd = -1

    def holds(self) -> bool:
        """Whether the catalog has all that was noted; without a note it does not. Nobody may write it."""
        try:
            number, size = map(int, self._file.read_bytes().split())
            if size and self._log.stat().st_size < size:
                return False
            with closing(sqlite3.connect(self._path)) as connection:
                (counted,) = connection.execute(_COUNTED).fetchone()
        except (OSError, ValueError, TypeError, sqlite3.DatabaseError):
            return False
        return bool(counted >= number)

    def forget(self) -> None:
        """Take the note away, with the catalog that it is about."""
        self._file.unlink(missing_ok=True)
