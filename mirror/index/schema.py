"""The tables of the catalog, and how its file is opened, marked and thrown away.

::

    repos ──┬─< refs                        a revision pointed at a commit
            ├─< snapshots ──┬─< entries     one path of one commit
            │               └─< absences    a path that a commit was proved not to have
            ├─< contents ─── entries        one distinct content of a repo, and one entry that has it
            │      :
            │    links ───── blobs          git blob sha1 → sha256; what is stored, and when last used
            └─< xets ─────── entries        the same by its Xet hash, if that was ever shown
    aliases   verdicts   replies            each by its own key
    totals   shown                          counts, kept by triggers

The catalog is a cache of the records and the journal. A file of another version, or a damaged one, is
thrown away and rebuilt from them; nothing is ever migrated, so no migration can be wrong. Until a rebuild
has come to its end a mark lies beside the file (``index.sqlite3-unfinished``), and whoever finds it there
begins anew: a catalog that a crash left half filled is never taken for a whole one.

How the columns are packed (`mirror.index.packing`): names that come from outside are BLOBs of UTF-8, so
that they sort like their code points and any request can be looked up; hexadecimal is kept as its bytes.
"""

import sqlite3
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from mirror.errors import MirrorError, StoreCorruptError, StoreFullError, StoreUnusableError
from mirror.index.tally import Tally
from mirror.index.triggers import TRIGGERS

# The number of the packing: to be raised when the same columns come to mean something else.
_PACKING: Final = 1

_TABLES: Final = """
-- commits … bytes_stored are kept by the triggers below, so a status page reads one row a repo.
-- files counts distinct contents: a file that a hundred commits share is one.
CREATE TABLE repos (
    id INTEGER PRIMARY KEY,
    hub TEXT NOT NULL,
    name BLOB NOT NULL,
    private INTEGER, gated INTEGER, visibility_at REAL,     -- NULL: not yet known
    seen_at REAL NOT NULL DEFAULT 0,
    commits INTEGER NOT NULL DEFAULT 0,
    files INTEGER NOT NULL DEFAULT 0,
    files_stored INTEGER NOT NULL DEFAULT 0,
    bytes_stored INTEGER NOT NULL DEFAULT 0,
    UNIQUE (hub, name)
) STRICT;
-- What pages show to everybody, in the order in which they show it.
CREATE INDEX repos_shown ON repos (hub, name) WHERE private = 0 AND gated = 0 AND bytes_stored > 0;

-- How many those are, by hub and first word of the name: probes ask often, and counting takes a while.
CREATE TABLE shown (
    hub TEXT NOT NULL, kind BLOB NOT NULL, repos INTEGER NOT NULL, PRIMARY KEY (hub, kind)
) WITHOUT ROWID, STRICT;

CREATE TABLE refs (
    repo INTEGER NOT NULL,
    revision BLOB NOT NULL,
    commit_id ANY NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (repo, revision)
) WITHOUT ROWID, STRICT;

-- state is NULL while only entries of the commit were seen, never its head.
-- info is last: SQLite reads the overflow pages of a large one only when it is asked for.
-- A number is never given twice: descriptions that readers keep are known by it. repo is below zero for
-- one that is being forgotten (mirror.index.forgetting).
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repo INTEGER NOT NULL,
    commit_id ANY NOT NULL,
    state TEXT,
    view TEXT,
    seen_at REAL NOT NULL DEFAULT 0,
    info_view TEXT,                                         -- the view that info was seen with
    info_version INTEGER NOT NULL DEFAULT 0,                -- grows with every change of info
    info BLOB NOT NULL DEFAULT x'',
    UNIQUE (repo, commit_id)
) STRICT;

-- raw is NULL when the other columns predict it to the byte (mirror.index.packing).
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    snapshot INTEGER NOT NULL,
    path BLOB NOT NULL,
    depth INTEGER NOT NULL,                                 -- how many slashes path has
    kind ANY NOT NULL,                                      -- 0 file, 1 directory, else its name
    size INTEGER NOT NULL,
    oid ANY NOT NULL,
    digest BLOB,                                            -- 32 bytes sha256, 20 git sha1
    xet ANY,                                                -- bytes, or the text of a redaction
    raw BLOB,
    UNIQUE (snapshot, path)
) STRICT;
-- The children of a folder are one run of this index: same depth, same prefix. A column with the parent
-- would find them too, and keep every folder's name once more for every entry.
CREATE INDEX entries_by_depth ON entries (snapshot, depth, path);

CREATE TABLE absences (
    snapshot INTEGER NOT NULL,
    path BLOB NOT NULL,
    PRIMARY KEY (snapshot, path)
) WITHOUT ROWID, STRICT;

CREATE TABLE contents (
    digest BLOB NOT NULL,
    repo INTEGER NOT NULL,
    size INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (digest, repo)                              -- by digest alone when a blob comes or goes
) WITHOUT ROWID, STRICT;

CREATE TABLE xets (
    xet ANY NOT NULL,
    repo INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (xet, repo)
) WITHOUT ROWID, STRICT;

CREATE TABLE links (
    name BLOB PRIMARY KEY,                                  -- mirror.index.packing.linked
    sha256 BLOB NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX links_by_sha256 ON links (sha256);

CREATE TABLE blobs (
    sha256 BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    used INTEGER NOT NULL                                   -- a counter: clocks go back, it does not
) WITHOUT ROWID, STRICT;
CREATE INDEX blobs_by_use ON blobs (used);

CREATE TABLE totals (
    blobs INTEGER NOT NULL,
    size INTEGER NOT NULL,
    transactions INTEGER NOT NULL                           -- mirror.index.tally
) STRICT;
INSERT INTO totals VALUES (0, 0, 0);

CREATE TABLE aliases (
    hub TEXT NOT NULL,
    name BLOB NOT NULL,
    target_hub TEXT NOT NULL,
    target_name BLOB NOT NULL,
    upstream_id TEXT NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (hub, name)
) WITHOUT ROWID, STRICT;

-- By name, not by repos.id: a refusal for a repo that does not exist must not make one.
CREATE TABLE verdicts (
    fingerprint TEXT NOT NULL,
    hub TEXT NOT NULL,
    name BLOB NOT NULL,
    access INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (fingerprint, hub, name, access)
) WITHOUT ROWID, STRICT;

CREATE TABLE replies (
    key BLOB PRIMARY KEY,
    value BLOB NOT NULL                                     -- mirror.index.codec
) WITHOUT ROWID, STRICT;
"""

# The version is the sum of what is written, so a change of tables or triggers cannot forget to raise it.
SCHEMA_VERSION: Final = zlib.crc32(f"{_PACKING}{_TABLES}{TRIGGERS}".encode()) & 0x7FFFFFFF

# What a writer and a reader keep of the file in memory, in KiB. An unsorted tree of 100 000 entries
# dirties some 40 MiB of index pages; with the default of 2 MiB each of them is written many times.
_WRITER_CACHE: Final = 32 << 10
_READER_CACHE: Final = 8 << 10

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# What a disk says that takes nothing now, and may later: full, failing, read-only, out of descriptors.
_REFUSAL: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
    }
)


def open_for_writing(path: Path, *, killed: bool) -> tuple[sqlite3.Connection, bool]:
    """Open the catalog's file at *path*, throwing away one that is damaged, unfinished or another version's.

    After a run that was *killed* it must have all that was committed, too. Returns the connection
    (autocommit; WAL, so that readers never wait) and whether the file is new, empty and marked as
    unfinished. Raises `StoreUnusableError` when no file can be made there.
    """
    try:
        sound = not _mark(path).exists() and path.exists()
        # SQLite takes a log that was cut short for a whole one: the count of transactions tells.
        sound = sound and (not killed or Tally(path).holds())
        fresh = not (sound and _is_current(path))
        if fresh:
            _mark(path).touch()
            discard(path)
        return _connect(path, create=fresh), fresh
    except (sqlite3.Error, OSError) as error:
        raise translate(error) from error


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the same file for look-ups alone; a connection may be closed from another thread."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute(f"PRAGMA cache_size = -{_READER_CACHE}")
    return connection


def discard(path: Path) -> None:
    """Throw the catalog's file away, with what SQLite keeps beside it; a mark stays."""
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        file.unlink(missing_ok=True)
    Tally(path).forget()


def finish(path: Path) -> None:
    """Bring all that was committed to the disk, and then take the mark away."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        _mark(path).unlink(missing_ok=True)
    except (sqlite3.Error, OSError) as error:
        raise noted(path, error) from error


def examine(path: Path) -> tuple[str, bool] | None:
    """Why the catalog at *path* would not be believed: a sentence, and whether that is damage.

    `None` when it is sound. Missing, unfinished or another version's it is no damage: the next start
    rebuilds it. Reads the whole file; nobody may be writing it.
    """
    if not path.exists():
        return "There is none.", False
    if _mark(path).exists():
        return "It was never brought level with the records.", False
    try:
        with closing(open_for_reading(path)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                return "It is of another version.", False
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return f"It cannot be read: {error}.", True
    return None if verdict == "ok" else (f"Its pages do not agree: {verdict}.", True)


def _is_damage(error: Exception) -> bool:
    """Whether *error* says that the file is no longer a sound database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def is_refusal(error: Exception) -> bool:
    """Whether *error* says that the disk takes nothing now, and may take it later."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSAL


def noted(path: Path, error: Exception) -> MirrorError:
    """Say what SQLite refused; damage leaves a mark, so that the next start throws the file away."""
    if _is_damage(error):
        with suppress(OSError):
            _mark(path).touch()
    return translate(error)


def translate(error: Exception) -> MirrorError:
    """Say what SQLite or the file system refused in the words of the mirror."""
    if _is_damage(error):
        return StoreCorruptError(
            f"The index is damaged: {error}.", hint="Start the mirror again: it rebuilds the index."
        )
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return StoreFullError("The disk of the index is full.", needed=0, free=0)
    return StoreUnusableError(f"The index cannot be used: {error}.")


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}-unfinished")


def _is_current(path: Path) -> bool:
    """Whether the file is a database of this version, as far as its first page and schema tell."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if _is_damage(error):
            return False
        raise
    return bool(version == SCHEMA_VERSION and tables)


def _connect(path: Path, *, create: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE}")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        if create:
            connection.executescript(
                f"BEGIN; {_TABLES} {TRIGGERS} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
    except BaseException:
        connection.close()
        raise
    return connection
