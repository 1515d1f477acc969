"""Forgetting as statements: what the operator removes is as if it had never been seen.

Unlike facts these must reach the disk, or fail: what is removed must not be there again at the next start.
"""

import sqlite3
from collections.abc import Iterable
from typing import Final

from mirror.digest import Digest
from mirror.index import packing
from mirror.names import Repo

_REPO: Final = "SELECT id FROM repos WHERE hub = ? AND name = ?"
_COMMIT: Final = "SELECT id FROM snapshots WHERE repo = ? AND commit_id = ?"
_COMMITS: Final = "SELECT id FROM snapshots WHERE repo = ?"

# An entry stands for a content, or a Xet hash, of its repo: with it goes what it stands for …
_CONTENTS: Final = """
    DELETE FROM contents WHERE (digest, repo) IN (
        SELECT c.digest, c.repo
        FROM entries e JOIN contents c ON c.digest = e.digest AND c.repo = ?2
        WHERE e.snapshot = ?1 AND c.entry = e.id
    )
"""
_XETS: Final = """
    DELETE FROM xets WHERE (xet, repo) IN (
        SELECT x.xet, x.repo
        FROM entries e JOIN xets x ON x.xet = e.xet AND x.repo = ?2
        WHERE e.snapshot = ?1 AND x.entry = e.id
    )
"""
# … and another commit's entry comes in its place.
_CONTENTS_AGAIN: Final = """
    INSERT OR IGNORE INTO contents (digest, repo, size, stored, entry)
    SELECT e.digest, s.repo, e.size,
        EXISTS (SELECT 1 FROM blobs WHERE sha256 = e.digest)
            OR EXISTS (SELECT 1 FROM links JOIN blobs USING (sha256) WHERE name = e.digest),
        e.id
    FROM snapshots s JOIN entries e ON e.snapshot = s.id
    WHERE s.repo = ? AND e.digest IS NOT NULL
"""
_XETS_AGAIN: Final = f"""
    INSERT OR IGNORE INTO xets (xet, repo, entry)
    SELECT e.xet, s.repo, e.id FROM snapshots s JOIN entries e ON e.snapshot = s.id
    WHERE s.repo = ? AND e.xet IS NOT NULL AND e.xet <> '{packing.REDACTED}'
"""


def commit(connection: sqlite3.Connection, repo: Repo, name: str) -> None:
    """Forget all that is known of the commit *name*, and the refs that point at it."""
    key = _key(connection, repo)
    if key is None:
        return
    packed = packing.pack(name)
    connection.execute("DELETE FROM refs WHERE repo = ? AND commit_id = ?", (key, packed))
    for (number,) in connection.execute(_COMMIT, (key, packed)).fetchall():
        _snapshot(connection, key, number)
    connection.execute(_CONTENTS_AGAIN, (key,))
    connection.execute(_XETS_AGAIN, (key,))


def repo(connection: sqlite3.Connection, which: Repo) -> None:
    """Forget a repo: its commits, refs and audience, its names, and what upstream said to whom of it."""
    names = (which.hub, packing.name(which.name))
    connection.execute("DELETE FROM aliases WHERE hub = ? AND name = ?", names)
    connection.execute("DELETE FROM aliases WHERE target_hub = ? AND target_name = ?", names)
    connection.execute("DELETE FROM verdicts WHERE hub = ? AND name = ?", names)
    key = _key(connection, which)
    if key is None:
        return
    connection.execute("DELETE FROM refs WHERE repo = ?", (key,))
    for (number,) in connection.execute(_COMMITS, (key,)).fetchall():
        _snapshot(connection, key, number)
    # Contents whose entry changed under them stay behind otherwise, and numbers of repos come again.
    connection.execute("DELETE FROM contents WHERE repo = ?", (key,))
    connection.execute("DELETE FROM xets WHERE repo = ?", (key,))
    connection.execute("DELETE FROM repos WHERE id = ?", (key,))


def replies(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Forget upstream's answers kept under *keys*."""
    connection.executemany(
        "DELETE FROM replies WHERE key = ?", [(packing.name(key),) for key in keys]
    )


def links(connection: sqlite3.Connection, names: Iterable[Digest]) -> None:
    """Forget what each of *names* is stored as."""
    packed = [(packing.linked(name),) for name in names]
    connection.executemany("UPDATE contents SET stored = 0 WHERE digest = ?", packed)
    connection.executemany("DELETE FROM links WHERE name = ?", packed)


def _key(connection: sqlite3.Connection, which: Repo) -> int | None:
    row = connection.execute(_REPO, (which.hub, packing.name(which.name))).fetchone()
    return None if row is None else int(row[0])


def _snapshot(connection: sqlite3.Connection, key: int, number: int) -> None:
    connection.execute(_CONTENTS, (number, key))
    connection.execute(_XETS, (number, key))
    connection.execute("DELETE FROM entries WHERE snapshot = ?", (number,))
    connection.execute("DELETE FROM absences WHERE snapshot = ?", (number,))
    connection.execute("DELETE FROM snapshots WHERE id = ?", (number,))
