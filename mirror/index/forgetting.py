"""Forgetting as statements: what the operator removes is as if it had never been seen.

Unlike facts these must reach the disk, or fail: what is removed must not be there again at the next start.
A commit may have 100 000 entries, and everybody who learns something waits for the one writer: so it is
hidden first, in a moment, and then goes a piece at a time.
"""

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeAlias, TypeVar

from mirror.digest import Digest
from mirror.index import packing
from mirror.names import Repo

T = TypeVar("T")
Do: TypeAlias = Callable[[Callable[[sqlite3.Connection], None]], None]
"""Has a piece of work done on the disk, in a transaction of its own; raises when it could not be."""

# Entries per transaction: 0.1 s, as long as three pages of a tree that is being learned.
_PIECE: Final = 3000

_REPO: Final = "SELECT id FROM repos WHERE hub = ? AND name = ?"

# No repo has a number below zero. The name of a hidden commit is free for whoever learns of it anew.
_HIDE: Final = """
    UPDATE snapshots SET repo = -repo, commit_id = 'forgotten ' || id, state = NULL WHERE repo = ?
"""
_HIDDEN: Final = "SELECT id FROM snapshots WHERE repo = ?"
_COUNT: Final = """
    UPDATE repos SET commits = (SELECT count(*) FROM snapshots WHERE repo = repos.id) WHERE id = ?
"""
_CLOSE: Final = """
    UPDATE repos SET private = NULL, gated = NULL, visibility_at = NULL, seen_at = 0 WHERE id = ?
"""
_ENTRIES: Final = "SELECT id, digest, xet FROM entries WHERE snapshot = ? LIMIT ?"
# An entry stands for a content, or a Xet hash, of its repo: with it goes what it stands for …
_CONTENT: Final = "DELETE FROM contents WHERE digest = ? AND repo = ? AND entry = ?"
_XET: Final = "DELETE FROM xets WHERE xet = ? AND repo = ? AND entry = ?"
# … and another commit's entry comes in its place.
_PATHS: Final = "SELECT path FROM entries WHERE snapshot = ? AND path > ? ORDER BY path LIMIT ?"
_CONTENTS_AGAIN: Final = """
    INSERT OR IGNORE INTO contents (digest, repo, size, stored, entry)
    SELECT digest, ?1, size,
        EXISTS (SELECT 1 FROM blobs WHERE sha256 = digest)
            OR EXISTS (SELECT 1 FROM links JOIN blobs USING (sha256) WHERE name = digest),
        id
    FROM entries WHERE snapshot = ?2 AND path > ?3 AND path <= ?4 AND digest IS NOT NULL
"""
_XETS_AGAIN: Final = f"""
    INSERT OR IGNORE INTO xets (xet, repo, entry)
    SELECT xet, ?1, id FROM entries
    WHERE snapshot = ?2 AND path > ?3 AND path <= ?4
        AND xet IS NOT NULL AND xet <> '{packing.REDACTED}'
"""
_IS_EMPTY: Final = """
    SELECT NOT EXISTS (SELECT 1 FROM snapshots WHERE repo = ?1)
        AND NOT EXISTS (SELECT 1 FROM refs WHERE repo = ?1)
        AND (SELECT visibility_at IS NULL FROM repos WHERE id = ?1)
"""


def hide(do: Do, repo: Repo, commit: str) -> int | None:
    """Take *commit* of *repo* out of sight, and the refs onto it; where it is empty, the repo and its names.

    Returns the number of the repo, `None` where it is not known.
    """
    return _ask(do, partial(_hide, repo=repo, commit=commit))


def take(do: Do, key: int, *, whole: bool) -> None:
    """Delete all that is hidden of the repo with the number *key*, and with *whole* that there was one.

    What a kill leaves over goes with the next call.
    """
    for number in _ask(do, partial(_numbers, key=-key)):
        while _ask(do, partial(_take_some, key=key, number=number)):
            pass
    for number in _ask(do, partial(_numbers, key=key)):
        after: bytes | None = b""
        while after is not None:
            after = _ask(do, partial(_stand_in, key=key, number=number, after=after))
    if whole:
        do(partial(_end, key=key))


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


def _ask(do: Do, work: Callable[[sqlite3.Connection], T]) -> T:
    """Have *work* done, and return what it found."""
    found: list[T] = []
    do(lambda connection: found.append(work(connection)))
    return found[-1]


def _hide(connection: sqlite3.Connection, repo: Repo, commit: str) -> int | None:
    names = (repo.hub, packing.name(repo.name))
    row = connection.execute(_REPO, names).fetchone()
    key = None if row is None else int(row[0])
    if commit and key is not None:
        packed = packing.pack(commit)
        connection.execute("DELETE FROM refs WHERE repo = ? AND commit_id = ?", (key, packed))
        connection.execute(f"{_HIDE} AND commit_id = ?", (key, packed))
    elif not commit:
        connection.execute("DELETE FROM aliases WHERE hub = ? AND name = ?", names)
        connection.execute("DELETE FROM aliases WHERE target_hub = ? AND target_name = ?", names)
        connection.execute("DELETE FROM verdicts WHERE hub = ? AND name = ?", names)
        connection.execute("DELETE FROM refs WHERE repo = ?", (key,))
        connection.execute(_HIDE, (key,))
        connection.execute(_CLOSE, (key,))
    connection.execute(_COUNT, (key,))
    return key


def _numbers(connection: sqlite3.Connection, key: int) -> list[int]:
    return [number for (number,) in connection.execute(_HIDDEN, (key,))]


def _take_some(connection: sqlite3.Connection, key: int, number: int) -> bool:
    """Delete some entries of a hidden commit, or what is left without any; tells whether more may be."""
    rows = connection.execute(_ENTRIES, (number, _PIECE)).fetchall()
    connection.executemany(_CONTENT, [(digest, key, entry) for entry, digest, _ in rows])
    connection.executemany(_XET, [(xet, key, entry) for entry, _, xet in rows])
    connection.executemany("DELETE FROM entries WHERE id = ?", [(row[0],) for row in rows])
    if not rows:
        connection.execute("DELETE FROM absences WHERE snapshot = ?", (number,))
        connection.execute("DELETE FROM snapshots WHERE id = ?", (number,))
    return bool(rows)


def _stand_in(connection: sqlite3.Connection, key: int, number: int, after: bytes) -> bytes | None:
    """Let entries of another commit stand for what was taken; returns the path to go on after."""
    paths = connection.execute(_PATHS, (number, after, _PIECE)).fetchall()
    if not paths:
        return None
    last: bytes = paths[-1][0]
    connection.execute(_CONTENTS_AGAIN, (key, number, after, last))
    connection.execute(_XETS_AGAIN, (key, number, after, last))
    return last


def _end(connection: sqlite3.Connection, key: int) -> None:
    """Forget that there ever was such a repo, unless it has been learned of anew by now."""
    (empty,) = connection.execute(_IS_EMPTY, (key,)).fetchone()
    if empty:
        # Contents whose entry changed under them stay behind otherwise, and numbers of repos come again.
        connection.execute("DELETE FROM contents WHERE repo = ?", (key,))
        connection.execute("DELETE FROM xets WHERE repo = ?", (key,))
        connection.execute("DELETE FROM repos WHERE id = ?", (key,))
