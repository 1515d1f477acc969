"""Facts as statements: what each of them changes in the tables.

Two rules keep what is known from shrinking. A complete file list stays complete, whatever a later look at
its head says. And what was seen through a redacted view never replaces what a fuller one showed.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from mirror.digest import SHA256, Digest
from mirror.index import packing
from mirror.index.codec import encode_reply
from mirror.names import (
    Alias,
    Entries,
    Fact,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)

_REPO: Final = """
    INSERT INTO repos (hub, name, seen_at) VALUES (?, ?, ?)
    ON CONFLICT (hub, name) DO UPDATE SET seen_at = max(seen_at, excluded.seen_at) RETURNING id
"""
_VISIBILITY: Final = "UPDATE repos SET private = ?, gated = ?, visibility_at = ? WHERE id = ?"
_REF: Final = """
    INSERT INTO refs (repo, revision, commit_id, seen_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (repo, revision) DO UPDATE
    SET commit_id = excluded.commit_id, seen_at = excluded.seen_at
"""
_COMMIT: Final = """
    INSERT INTO snapshots (repo, commit_id) VALUES (?, ?) ON CONFLICT (repo, commit_id) DO NOTHING
"""
_SNAPSHOT: Final = """
    SELECT id, state, view, info_view, length(info) FROM snapshots WHERE repo = ? AND commit_id = ?
"""
_HEAD: Final = "UPDATE snapshots SET state = ?, view = ?, seen_at = ? WHERE id = ?"
_INFO: Final = """
    UPDATE snapshots SET info = ?2, info_view = ?3, info_version = info_version + 1
    WHERE id = ?1 AND info IS NOT ?2
"""
# An element seen again unchanged costs no write; one whose hash was hidden yields to what is known.
_ENTRY: Final = f"""
    INSERT INTO entries (snapshot, path, depth, kind, size, oid, digest, xet, raw)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (snapshot, path) DO UPDATE SET
        kind = excluded.kind, size = excluded.size, oid = excluded.oid, digest = excluded.digest,
        xet = excluded.xet, raw = excluded.raw
    WHERE NOT (
        excluded.xet IS '{packing.REDACTED}'
        AND entries.xet IS NOT NULL AND entries.xet IS NOT '{packing.REDACTED}'
    ) AND (entries.kind, entries.size, entries.oid, entries.digest, entries.xet, entries.raw)
        IS NOT (excluded.kind, excluded.size, excluded.oid, excluded.digest, excluded.xet, excluded.raw)
"""
_PRESENT: Final = "DELETE FROM absences WHERE snapshot = ? AND path = ?"
_ABSENT: Final = """
    INSERT OR IGNORE INTO absences (snapshot, path)
    SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM entries WHERE snapshot = ?1 AND path = ?2)
"""
_ABSENCES: Final = "SELECT count(*) FROM (SELECT 1 FROM absences WHERE snapshot = ? LIMIT ?)"

# Paths that a commit does not have are the callers' to make up: beyond so many what is known of them is let
# go, for upstream can be asked again. It is counted for one path in so many, for counting takes a while.
MAX_ABSENCES: Final = 1 << 16
_LOOK: Final = 256

_ALIAS: Final = """
    INSERT OR REPLACE INTO aliases (hub, name, target_hub, target_name, upstream_id, seen_at)
    VALUES (?, ?, ?, ?, ?, ?)
"""
_VERDICT: Final = """
    INSERT OR REPLACE INTO verdicts (fingerprint, hub, name, access, accepted, seen_at)
    VALUES (?, ?, ?, ?, ?, ?)
"""
_REPLY: Final = "INSERT OR REPLACE INTO replies (key, value) VALUES (?, ?)"
_BLOB: Final = """
    INSERT INTO blobs (sha256, size, used) VALUES (?, ?, ?)
    ON CONFLICT (sha256) DO UPDATE SET size = excluded.size, used = excluded.used
"""
_LINK: Final = """
    INSERT INTO links (name, sha256) VALUES (?, ?) ON CONFLICT (name) DO NOTHING
"""


def record(connection: sqlite3.Connection, facts: Iterable[Fact]) -> None:
    """Write *facts* down, in order; what is not for the catalog is passed over."""
    for fact in facts:
        match fact:
            case Ref():
                key = _repo(connection, fact.repo, fact.seen_at)
                commit = packing.pack(fact.commit)
                connection.execute(_REF, (key, packing.name(fact.revision), commit, fact.seen_at))
            case Snapshot():
                _snapshot(connection, fact)
            case Entries():
                _entries(connection, fact)
            case Visibility():
                key = _repo(connection, fact.repo, fact.seen_at)
                connection.execute(_VISIBILITY, (fact.private, fact.gated, fact.seen_at, key))
            case Alias():
                _alias(connection, fact)
            case Reply() if fact.lasting:
                connection.execute(_REPLY, (packing.name(fact.key), encode_reply(fact)))
            case _:  # a lead; a passing reply; a verdict, which lacks whose it is
                pass


def record_verdict(connection: sqlite3.Connection, fingerprint: str, verdict: Verdict) -> None:
    """Write down what upstream said to the credential named *fingerprint*."""
    repo = verdict.repo
    connection.execute(
        _VERDICT,
        (
            fingerprint,
            repo.hub,
            packing.name(repo.name),
            int(verdict.access),
            verdict.accepted,
            verdict.seen_at,
        ),
    )


def store(
    connection: sqlite3.Connection, blobs: Sequence[tuple[Digest, int]], first_use: int
) -> None:
    """Note that *blobs* (name and size in bytes) are here; the first gets the use *first_use*."""
    connection.executemany(
        _BLOB,
        [
            (named(digest, SHA256), size, used)
            for used, (digest, size) in enumerate(blobs, start=first_use)
        ],
    )


def link(connection: sqlite3.Connection, links: Iterable[tuple[Digest, Digest]]) -> None:
    """Note which sha256 each other name is of; what is known of one never changes."""
    connection.executemany(
        _LINK, [(packing.linked(name), named(sha256, SHA256)) for name, sha256 in links]
    )


def drop(connection: sqlite3.Connection, digests: Iterable[Digest]) -> None:
    """Note that these blobs are here no longer."""
    connection.executemany(
        "DELETE FROM blobs WHERE sha256 = ?", [(named(digest, SHA256),) for digest in digests]
    )


def touch(connection: sqlite3.Connection, digests: Sequence[Digest], first_use: int) -> None:
    """Note that these blobs were wanted, in this order; the first gets the use *first_use*."""
    connection.executemany(
        "UPDATE blobs SET used = ? WHERE sha256 = ?",
        [(used, named(digest, SHA256)) for used, digest in enumerate(digests, start=first_use)],
    )


def _repo(connection: sqlite3.Connection, repo: Repo, seen_at: float) -> int:
    (key,) = connection.execute(_REPO, (repo.hub, packing.name(repo.name), seen_at)).fetchone()
    return int(key)


def _snapshot(connection: sqlite3.Connection, fact: Snapshot) -> None:
    repo = _repo(connection, fact.repo, fact.seen_at)
    key, state, view, info_view, info_size = _commit(connection, repo, fact.commit)
    if state != SnapshotState.COMPLETE:
        state, view = fact.state, fact.view
    elif fact.state is SnapshotState.COMPLETE and view != "full":
        view = fact.view
    connection.execute(_HEAD, (state, view, fact.seen_at, key))
    if fact.info and not (info_size and info_view == "full" and fact.view != "full"):
        connection.execute(_INFO, (key, fact.info, fact.view))


def _entries(connection: sqlite3.Connection, fact: Entries) -> None:
    repo = _repo(connection, fact.repo, 0.0)
    key, *_ = _commit(connection, repo, fact.commit)
    rows = [(key, *packing.entry_row(entry)) for entry in fact.entries]
    connection.executemany(_ENTRY, rows)
    if connection.execute("SELECT 1 FROM absences WHERE snapshot = ? LIMIT 1", (key,)).fetchone():
        connection.executemany(_PRESENT, [(key, row[1]) for row in rows])
    absent = [packing.name(path) for path in fact.absent]
    if any(zlib.crc32(path) % _LOOK == 0 for path in absent):
        (kept,) = connection.execute(_ABSENCES, (key, MAX_ABSENCES)).fetchone()
        if kept >= MAX_ABSENCES:
            connection.execute("DELETE FROM absences WHERE snapshot = ?", (key,))
    connection.executemany(_ABSENT, [(key, path) for path in absent])


def _commit(
    connection: sqlite3.Connection, repo: int, commit: str
) -> tuple[int, str | None, str | None, str | None, int]:
    """The row of *commit*, made if need be: number, state, view, view of its info, bytes of its info."""
    packed = packing.pack(commit)
    connection.execute(_COMMIT, (repo, packed))
    row: tuple[int, str | None, str | None, str | None, int]
    row = connection.execute(_SNAPSHOT, (repo, packed)).fetchone()
    return row


def _alias(connection: sqlite3.Connection, fact: Alias) -> None:
    asked, repo = fact.asked, fact.repo
    connection.execute(
        _ALIAS,
        (
            asked.hub,
            packing.name(asked.name),
            repo.hub,
            packing.name(repo.name),
            fact.upstream_id,
            fact.seen_at,
        ),
    )


def named(digest: Digest, algorithm: str) -> bytes:
    """The bytes of a digest that must be of *algorithm*. Raises `ValueError` for another."""
    if digest.algorithm != algorithm:
        raise ValueError(f"{digest} is not a {algorithm}")
    return bytes.fromhex(digest.hex)
