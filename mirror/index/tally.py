"""How far the catalog was written, beside it: so that a log which was lost or cut short is noticed.

SQLite keeps the last transactions in a file of its own (``-wal``) until they are moved into the catalog. A
process that is killed loses none of them, but the file can be lost or cut before the next start, by a tool
that takes it for a leftover, a copy that leaves it out, a file system that is repaired; and SQLite then
opens what remains without a word. So every transaction counts itself, and once it is committed, its count is
noted here. A kill in between leaves the catalog ahead of the note, never behind. Where the log is, and how
long, says nothing: whoever opens the catalog and closes it again moves the log into it.

It also says whether something is held that the disk does not take (`mirror.index.held`): should the process
end before that is written, what was taken away from callers meanwhile is lost, so what the catalog believes
of audiences then is to be asked about anew.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

_COUNT: Final = "UPDATE totals SET transactions = transactions + 1 RETURNING transactions"
_COUNTED: Final = "SELECT transactions FROM totals"
_DOUBT: Final = """
    BEGIN IMMEDIATE;
    UPDATE repos SET visibility_at = 0 WHERE visibility_at IS NOT NULL;
    DELETE FROM verdicts WHERE accepted;
    COMMIT;
"""

# Of one length always, so that it is written over in place: that takes no room, and is whole or not done.
_FORM: Final = b"%020d %d\n"
_OWING_AT: Final = 21


class Tally:
    """The note beside the catalog at *path*."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.with_name(f"{path.name}-committed")
        self._fd = -1
        self._owing = False

    def begin(self, connection: sqlite3.Connection) -> None:
        """Take the note up: from here on it is about what *connection* writes.

        Where the last run owed something, what is believed of audiences is old from now on. Raises
        `sqlite3.Error` when that cannot be written.
        """
        with suppress(OSError, ValueError, IndexError):
            self._owing = bool(int(self._file.read_bytes().split()[1]))
        if self._owing:
            connection.executescript(_DOUBT)
            self._owing = False
        (number,) = connection.execute(_COUNTED).fetchone()
        self.note(number)

    def owe(self) -> None:
        """Note that something is held that the disk does not take."""
        if not self._owing:
            self._owing = True
            self._overwrite(b"1", _OWING_AT)

    def settle(self) -> None:
        """Note that nothing is held any more."""
        self._owing = False
        self._overwrite(b"0", _OWING_AT)

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
            self._overwrite(_FORM % (number, self._owing), 0)

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def holds(self) -> bool:
        """Whether the catalog has all that was noted; without a note it does not. Nobody may write it."""
        try:
            number = int(self._file.read_bytes().split()[0])
            with closing(sqlite3.connect(self._path)) as connection:
                (counted,) = connection.execute(_COUNTED).fetchone()
        except (OSError, ValueError, TypeError, IndexError, sqlite3.DatabaseError):
            return False
        return bool(counted >= number)

    def forget(self) -> None:
        """Take the note away, with the catalog that it is about."""
        self._file.unlink(missing_ok=True)

    def _overwrite(self, text: bytes, at: int) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                os.pwrite(self._fd, text, at)
