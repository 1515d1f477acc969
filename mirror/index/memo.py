"""The memo: what may be forgotten at any time.

Negative answers, search results and small documents of other hubs go here, each with its own lifetime,
within a bound of bytes. Nothing that grants access is read from it.

diskcache keeps it, for its expiry and its eviction; its serialisation does not. As published it unpickles
values *and keys*, and opens and deletes whatever path a row names, so that whoever can write its file runs
code in ours (CVE-2025-69872; its `JSONDisk` does not prevent it). Here keys and values are bytes in the
row, a row that says anything else is a miss, and settings are ours, never those found in the file.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NoReturn, Self

from diskcache import Cache, Disk, Timeout
from diskcache.core import DBNAME, MODE_RAW, UNKNOWN

from mirror.errors import StoreUnusableError
from mirror.index.schema import is_refusal

LIMIT: Final = 64 << 20

# A value that would push out a good part of all others is not worth keeping.
_LARGEST_SHARE: Final = 8

# The event loop asks, and nobody else writes: a lock that is not free at once is not worth waiting for.
_PATIENCE: Final = 0.05

_SETTINGS: Final = {
    "eviction_policy": "least-recently-stored",  # the one whose reads do not write
    "cull_limit": 10,
    "statistics": 0,
    "tag_index": 0,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 1 << 9,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # a file cut short under a mapping is a dead process, not an error
    "sqlite_synchronous": 1,
}


class MemoDisk(Disk):  # type: ignore[misc]  # diskcache is published without types
    """Keys and values as bytes in the row: never a file, never a pickle."""

    def put(self, key: Any) -> tuple[bytes, bool]:
        """Turn a key into its columns. Raises `TypeError` for anything but bytes."""
        return _only_bytes(key), True

    def get(self, key: Any, raw: Any) -> bytes:
        """Turn a key's columns back into the key; what was planted there is an empty one."""
        return key if raw == 1 and isinstance(key, bytes) else b""

    def store(self, value: Any, read: Any, key: Any = UNKNOWN) -> tuple[int, int, None, bytes]:
        """Turn a value into its columns: bytes in a file (none), mode, file name (none) and value.

        Raises `TypeError` for anything but bytes.
        """
        del read, key
        return 0, MODE_RAW, None, _only_bytes(value)

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes | None:
        """Turn a value's columns back into the value; `None` unless they are as `store` made them."""
        del read
        sound = mode == MODE_RAW and filename is None and isinstance(value, bytes)
        return value if sound else None

    def filename(self, key: Any = UNKNOWN, value: Any = UNKNOWN) -> NoReturn:
        """Refuse to name a file: no value is ever one."""
        del key, value
        raise TypeError("a memo keeps nothing in files")

    def remove(self, file_path: Any) -> None:
        """Remove nothing: no row has a file, whatever it says."""


class Memo:
    """Values that may be forgotten, in *folder*, of about *limit* bytes at most; made by `open`."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder.absolute()
        self._limit = limit
        self._cache: Any = None

    @classmethod
    def open(cls, folder: Path, limit: int = LIMIT) -> Self:
        """Open the memo in *folder*; one that is damaged begins anew.

        Raises `StoreUnusableError` when nothing can be kept there.
        """
        memo = cls(folder, limit)
        if os.path.expandvars(memo._folder) != str(memo._folder):
            # diskcache would expand it too, and keep the memo somewhere else.
            raise StoreUnusableError(
                f"{folder} reads like a path with a variable in it.",
                hint="Choose a data folder without a dollar sign in its name.",
            )
        try:
            memo._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                memo._begin()
            except sqlite3.DatabaseError:
                memo._discard()
                memo._begin()
        except (sqlite3.Error, OSError) as error:
            raise StoreUnusableError(f"The memo in {folder} cannot be used: {error}.") from error
        return memo

    def get(self, key: str) -> bytes | None:
        """The value kept under *key*; `None` if it never was, is expired or was forgotten."""
        if self._cache is None:
            return None
        try:
            value: bytes | None = self._cache.get(_packed(key))
        except Timeout:
            return None
        except sqlite3.Error:
            self._start_over()
            return None
        return value

    def set(self, key: str, value: bytes, lifetime: float) -> None:
        """Keep *value* under *key* for at most *lifetime* seconds; what is too large is not kept."""
        if self._cache is None or lifetime <= 0 or len(value) > self._limit // _LARGEST_SHARE:
            return
        try:
            self._cache.set(_packed(key), value, expire=lifetime)
        except Timeout:
            return
        except sqlite3.Error as error:
            if not is_refusal(error):  # a disk that takes nothing now keeps what it has
                self._start_over()

    def trim(self) -> None:
        """Remove all that is expired or beyond the bound; `set` removes a little each time."""
        if self._cache is None:
            return
        try:
            self._cache.cull()
        except Timeout:
            return
        except sqlite3.Error:
            self._start_over()

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    def _begin(self) -> None:
        self._forget_settings()
        self._cache = Cache(
            str(self._folder),
            timeout=_PATIENCE,
            disk=MemoDisk,
            size_limit=self._limit,
            **_SETTINGS,
        )

    def _forget_settings(self) -> None:
        """Empty the settings in the file: diskcache would make attributes and pragmas of them."""
        path = self._folder / DBNAME
        if path.exists():
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                found = "SELECT 1 FROM sqlite_schema WHERE name = 'Settings'"
                if connection.execute(found).fetchone():
                    connection.execute("DELETE FROM Settings")

    def _start_over(self) -> None:
        """The file is of no more use: begin an empty one, or go on without."""
        self.close()
        with suppress(sqlite3.Error, OSError):
            self._discard()
            self._begin()

    def _discard(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            (self._folder / f"{DBNAME}{suffix}").unlink(missing_ok=True)


def _packed(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _only_bytes(thing: Any) -> bytes:
    if not isinstance(thing, bytes):
        raise TypeError(f"a memo keeps bytes, not {type(thing).__name__}")
    return thing
