"""A catalog of a million entries, written in half a minute: what triggers keep is written at once at the end.

Row by row it would take several minutes.
"""

import hashlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mirror.index import schema
from mirror.index.catalog import Catalog
from mirror.names import SnapshotState

LARGE: Final = 100_000
SMALL: Final = 100
_COMMIT: Final = bytes.fromhex("c0ffee00" * 5)
_SEEN: Final = datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()
_TRIGGERS: Final = ("entry_known", "xet_known", "content_known", "blob_stored")
# The last of a large one is missing: the whole list is looked through before that is known.
_STORED: Final = """
INSERT INTO blobs SELECT digest, 10, 1 FROM entries
    WHERE path <> CAST('data/part-099/file-099999.bin' AS BLOB) ORDER BY digest
"""
_KEPT_BY_TRIGGERS: Final = (
    """
INSERT INTO contents SELECT digest, snapshot, size, digest IN (SELECT sha256 FROM blobs), id
    FROM entries ORDER BY digest
""",
    "UPDATE totals SET (blobs, size) = (SELECT count(*), coalesce(sum(size), 0) FROM blobs)",
    """
UPDATE repos SET files = held.files, files_stored = held.stored, bytes_stored = held.bytes FROM (
    SELECT repo, count(*) AS files, sum(stored) AS stored, sum(size * stored) AS bytes
    FROM contents GROUP BY repo
) AS held WHERE held.repo = repos.id
""",
)


def write_entries(path: Path, *, large_repos: int, small_repos: int, stored: bool) -> None:
    """Write a catalog at *path*: repos of 100 000 entries, and repos of 100.

    With *stored* all of it is there but one file of each large repo, else nothing is.
    """
    Catalog.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -600000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    triggers = dict(
        connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    )
    for trigger in _TRIGGERS:
        connection.execute(f"DROP TRIGGER {trigger}")
    for number, size in enumerate([LARGE] * large_repos + [SMALL] * small_repos, start=1):
        _write_repo(connection, number, size)
    for statement in (*((_STORED,) if stored else ()), *_KEPT_BY_TRIGGERS):
        connection.execute(statement)
    for trigger in _TRIGGERS:
        connection.execute(triggers[trigger])
    connection.execute("COMMIT")
    connection.close()
    schema.finish(path)


def _write_repo(connection: sqlite3.Connection, number: int, size: int) -> None:
    name = f"models/acme/model-{number:05}".encode()
    connection.execute(
        "INSERT INTO repos (id, hub, name, private, gated, visibility_at)"
        " VALUES (?, 'huggingface', ?, 0, 0, ?)",
        (number, name, _SEEN),
    )
    connection.execute("INSERT INTO refs VALUES (?, ?, ?, ?)", (number, b"main", _COMMIT, _SEEN))
    connection.execute(
        "INSERT INTO snapshots (id, repo, commit_id, state, view, seen_at)"
        " VALUES (?, ?, ?, ?, 'full', ?)",
        (number, number, _COMMIT, SnapshotState.COMPLETE, _SEEN),
    )
    connection.executemany(
        "INSERT INTO entries (snapshot, path, depth, kind, size, oid, digest)"
        " VALUES (?, ?, 2, 0, 10, '', ?)",
        [
            (
                number,
                b"data/part-%03d/file-%06d.bin" % (place // 1000, place),
                hashlib.sha256(b"%d %d" % (number, place)).digest(),
            )
            for place in range(size)
        ],
    )
