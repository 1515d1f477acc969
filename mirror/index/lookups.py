"""Reading the catalog: every look-up is one or two probes of an index, on the caller's own thread.

The event loop asks these inline (5 to 20 µs each), since a hop to another thread costs ten times the
look-up itself. Every thread has a connection of its own that cannot write; WAL keeps it from ever
waiting for the writer. Nothing here knows how old is too old: facts come back with their ``seen_at``.

A question looks the same few rows up again and again, and so does the next: rows that were looked up one by
one are kept until the writer has committed anything that could be in one (`renew`).
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mirror.digest import SHA256, Digest
from mirror.errors import StoreUnusableError
from mirror.index import packing, schema
from mirror.index.codec import decode_reply
from mirror.index.protocol import RepoRow, StoredBlob, Totals
from mirror.index.shown import THIS_REPO, THIS_SNAPSHOT, Shown, key_of, repo_row
from mirror.names import (
    Access,
    Alias,
    Entry,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)

# Descriptions of datasets with 100 000 files are 10 MB and more, and a snapshot's head is read for every
# request: the last few are kept, and read again only when they changed.
_INFOS_KEPT: Final = 8

# Rows that are kept between two commits; one of an entry has 1 KB.
_ROWS_KEPT: Final = 2048

# Contents are told in pages of this many.
_PAGE: Final = 1000

_LEAST: Final = b""
_GREATEST: Final = b"\xff"  # begins no UTF-8 text

_COLUMNS: Final = "e.path, e.depth, e.kind, e.size, e.oid, e.digest, e.xet, e.raw"

_REF: Final = f"SELECT commit_id, seen_at FROM refs WHERE repo = {THIS_REPO} AND revision = ?"
_REFS: Final = (
    f"SELECT revision, commit_id, seen_at FROM refs WHERE repo = {THIS_REPO} ORDER BY revision"
)
_HEAD: Final = f"""
    SELECT id, state, view, seen_at, info_version FROM snapshots
    WHERE repo = {THIS_REPO} AND commit_id = ? AND state IS NOT NULL
"""
_INFO: Final = "SELECT info_version, info FROM snapshots WHERE id = ?"
_ENTRY: Final = (
    f"SELECT {_COLUMNS} FROM entries e WHERE e.snapshot = {THIS_SNAPSHOT} AND e.path = ?"
)
_ABSENT: Final = f"""
    SELECT EXISTS (SELECT 1 FROM absences WHERE snapshot = s.id AND path = ?1)
        OR s.state = '{SnapshotState.COMPLETE}'
            AND NOT EXISTS (SELECT 1 FROM entries WHERE snapshot = s.id AND path = ?1)
    FROM snapshots s WHERE s.repo = (SELECT id FROM repos WHERE hub = ?2 AND name = ?3)
        AND s.commit_id = ?4
"""
_ABSENCES: Final = f"SELECT path FROM absences WHERE snapshot = {THIS_SNAPSHOT} ORDER BY path"
_BELOW: Final = f"""
    SELECT {_COLUMNS} FROM entries e
    WHERE e.snapshot = {THIS_SNAPSHOT} AND e.path > ? AND e.path < ?
    ORDER BY e.path LIMIT ?
"""
_CHILDREN: Final = f"""
    SELECT {_COLUMNS} FROM entries e INDEXED BY entries_by_depth
    WHERE e.snapshot = {THIS_SNAPSHOT} AND e.depth = ? AND e.path > ? AND e.path < ?
    ORDER BY e.path LIMIT ?
"""
_BY_DIGEST: Final = f"""
    SELECT s.commit_id, {_COLUMNS}
    FROM contents c JOIN entries e ON e.id = c.entry JOIN snapshots s ON s.id = e.snapshot
    WHERE c.repo = {THIS_REPO} AND c.digest = ? AND e.digest = c.digest AND s.repo = c.repo
"""
_BY_XET: Final = f"""
    SELECT s.commit_id, {_COLUMNS}
    FROM xets x JOIN entries e ON e.id = x.entry JOIN snapshots s ON s.id = e.snapshot
    WHERE x.repo = {THIS_REPO} AND x.xet = ? AND e.xet = x.xet AND s.repo = x.repo
"""
_VISIBILITY: Final = """
    SELECT private, gated, visibility_at FROM repos
    WHERE hub = ? AND name = ? AND visibility_at IS NOT NULL
"""
_ALIAS: Final = """
    SELECT target_hub, target_name, upstream_id, seen_at FROM aliases WHERE hub = ? AND name = ?
"""
_VERDICT: Final = """
    SELECT accepted, seen_at FROM verdicts
    WHERE fingerprint = ? AND hub = ? AND name = ? AND access = ?
"""
_ACCEPTED: Final = "SELECT 1 FROM verdicts WHERE fingerprint = ? AND accepted LIMIT 1"
_BLOB: Final = "SELECT size, used FROM blobs WHERE sha256 = ?"
_REPLY: Final = "SELECT value FROM replies WHERE key = ?"
_FORMS: Final = "SELECT 1 FROM replies WHERE key >= ? AND key < ? LIMIT ?"
_LINK: Final = "SELECT sha256 FROM links WHERE name = ?"
_LINKED: Final = "SELECT name FROM links WHERE sha256 = ?"
_COMMITS: Final = f"SELECT commit_id FROM snapshots WHERE repo = {THIS_REPO}"
_HOLDERS: Final = """
    SELECT r.hub, r.name FROM contents c JOIN repos r ON r.id = c.repo WHERE c.digest = ?
"""
_KEYS: Final = "SELECT key FROM replies WHERE key > ? ORDER BY key LIMIT ?"
_CONTENTS: Final = """
    SELECT c.digest, c.repo, r.hub, r.name, coalesce(b.sha256, l.sha256),
        coalesce(b.size, d.size), coalesce(b.used, d.used)
    FROM contents c JOIN repos r ON r.id = c.repo
        LEFT JOIN blobs b ON b.sha256 = c.digest
        LEFT JOIN links l ON l.name = c.digest
        LEFT JOIN blobs d ON d.sha256 = l.sha256
    WHERE (c.digest, c.repo) > (?, ?) AND c.stored ORDER BY c.digest, c.repo LIMIT ?
"""
_LEAST_RECENT: Final = """
    SELECT sha256, size, used FROM blobs WHERE used > ? ORDER BY used LIMIT ?
"""
_REPOS: Final = """
    SELECT hub, name, commits, files, files_stored, bytes_stored,
        private, gated, visibility_at, seen_at
    FROM repos WHERE ? OR (private = 0 AND gated = 0) ORDER BY hub, name
"""


class Lookups(Shown):
    """What can be read of the catalog at *path*, from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        self._reading = True
        self._infos: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._kept: dict[tuple[object, ...], Any] = {}

    def renew(self) -> None:
        """Read every row anew from here on: the writer has committed something."""
        # A new table: who reads a row now, and may read what was so before, puts it into the old one.
        self._kept = {}

    # ── commits ────────────────────────────────────────────────────────────────────────────────

    def ref(self, repo: Repo, revision: str) -> Ref | None:
        """The commit that *revision* was last seen at."""
        row = self._kept_row(_REF, *key_of(repo), packing.name(revision))
        return None if row is None else Ref(repo, revision, packing.unpack(row[0]), row[1])

    def refs(self, repo: Repo) -> Sequence[Ref]:
        """Every revision of *repo* ever seen, by name."""
        return [
            Ref(repo, packing.unname(revision), packing.unpack(commit), seen_at)
            for revision, commit, seen_at in self._rows(_REFS, *key_of(repo))
        ]

    def snapshot(self, repo: Repo, commit: str) -> Snapshot | None:
        """The head of the file list of *commit*; `None` while only entries of it were seen."""
        row = self._kept_row(_HEAD, *key_of(repo), packing.pack(commit))
        if row is None:
            return None
        number, state, view, seen_at, version = row
        return Snapshot(
            repo, commit, SnapshotState(state), view, self._info(number, version), seen_at
        )

    def commits(self, repo: Repo) -> Sequence[str]:
        """Every commit of *repo* of which something is known, in no order."""
        return [packing.unpack(commit) for (commit,) in self._rows(_COMMITS, *key_of(repo))]

    def entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """One path of *commit*, if known to exist."""
        row = self._kept_row(_ENTRY, *key_of(repo), packing.pack(commit), packing.name(path))
        return None if row is None else packing.entry_of(row)

    def absent(self, repo: Repo, commit: str, path: str) -> bool:
        """Whether *path* is proved not to exist: upstream said so, or the list is complete without it."""
        row = self._row(_ABSENT, packing.name(path), *key_of(repo), packing.pack(commit))
        return row is not None and bool(row[0])

    def absences(self, repo: Repo, commit: str) -> Sequence[str]:
        """The paths that upstream was asked for and does not have at *commit*, in path order."""
        rows = self._rows(_ABSENCES, *key_of(repo), packing.pack(commit))
        return [packing.unname(path) for (path,) in rows]

    def listing(
        self, repo: Repo, commit: str, folder: str, *, recursive: bool, after: str, limit: int
    ) -> Sequence[Entry]:
        """Known entries below *folder* ("" is the root) in path order after *after*, at most *limit*."""
        low, high = _LEAST, _GREATEST
        depth = 0
        if folder:
            inside = packing.name(folder)
            low, high = inside + b"/", inside + b"0"  # 0 is what follows / in ASCII
            depth = folder.count("/") + 1
        low = max(low, packing.name(after))
        key = (*key_of(repo), packing.pack(commit))
        rows = (
            self._rows(_BELOW, *key, low, high, limit)
            if recursive
            else self._rows(_CHILDREN, *key, depth, low, high, limit)
        )
        return [packing.entry_of(row) for row in rows]

    def by_digest(self, repo: Repo, hex_digest: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry whose content has this digest, sha256 or git sha1 in hex.

        A small file that upstream names by its git sha1 alone is found by its sha256 once it is linked.
        """
        packed = packing.pack(hex_digest)
        if isinstance(packed, str) or len(packed) not in {20, 32}:
            return None
        found = self._found(_BY_DIGEST, repo, packed)
        if found is None and len(packed) == 32:
            for (name,) in self._rows(_LINKED, packed):
                found = found or self._found(_BY_DIGEST, repo, name)
        return found

    def by_xet(self, repo: Repo, xet_hash: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this Xet hash; a redacted hash finds nothing."""
        return self._found(_BY_XET, repo, packing.pack(xet_hash))

    # ── repos and callers ──────────────────────────────────────────────────────────────────────

    def visibility(self, repo: Repo) -> Visibility | None:
        """Who may see *repo*, as last seen."""
        row = self._kept_row(_VISIBILITY, *key_of(repo))
        return None if row is None else Visibility(repo, bool(row[0]), bool(row[1]), row[2])

    def alias(self, asked: Repo) -> Alias | None:
        """The repo that *asked* is another name of."""
        row = self._kept_row(_ALIAS, *key_of(asked))
        if row is None:
            return None
        hub, target, upstream_id, seen_at = row
        return Alias(asked, Repo(hub, packing.unname(target)), upstream_id, seen_at)

    def verdict(self, fingerprint: str, repo: Repo, access: Access) -> Verdict | None:
        """What upstream last said to the credential named *fingerprint* about *repo* at *access*."""
        row = self._kept_row(_VERDICT, fingerprint, *key_of(repo), int(access))
        return None if row is None else Verdict(repo, access, bool(row[0]), row[1])

    def accepted_anywhere(self, fingerprint: str) -> bool:
        """Whether upstream took the credential named *fingerprint* for any repo, last it was asked."""
        return self._row(_ACCEPTED, fingerprint) is not None

    def reply(self, key: str) -> Reply | None:
        """Upstream's lasting answer kept under *key*."""
        row = self._row(_REPLY, packing.name(key))
        return None if row is None else decode_reply(row[0])

    def reply_keys(self, after: str, limit: int) -> Sequence[str]:
        """The keys of at most *limit* lasting answers, in order, from the first beyond *after*."""
        return [packing.unname(key) for (key,) in self._rows(_KEYS, packing.name(after), limit)]

    def forms(self, document: str, limit: int) -> int:
        """In how many forms *document* (method and path) is kept, counted up to *limit*."""
        kept = 0
        for after, before in (
            ("?", "@"),
            (" ", "!"),
        ):  # a query, a body; each up to the next character
            ends = (packing.name(document + after), packing.name(document + before))
            kept += len(self._rows(_FORMS, *ends, limit))
        return min(kept, limit)

    def repos(self, *, public_only: bool) -> Sequence[RepoRow]:
        """Every repo that something is known of, by name; gated and unknown ones are not public."""
        return [repo_row(row) for row in self._rows(_REPOS, not public_only)]

    # ── blobs ──────────────────────────────────────────────────────────────────────────────────

    def sha256_of(self, name: Digest) -> Digest | None:
        """The name in the store of what *name* (a git sha1, a source) names."""
        row = self._kept_row(_LINK, packing.linked(name))
        return None if row is None else Digest(SHA256, row[0].hex())

    def names_of(self, sha256: Digest) -> Sequence[Digest]:
        """The other names (git sha1, sources) that the blob *sha256* is known by."""
        rows = self._rows(_LINKED, bytes.fromhex(sha256.hex))
        return [packing.unlinked(name) for (name,) in rows]

    def holders(self, sha256: Digest) -> Sequence[Repo]:
        """The repos that have a file with the content of the blob *sha256*, by name."""
        packed = bytes.fromhex(sha256.hex)
        names = [packed, *(name for (name,) in self._rows(_LINKED, packed))]
        rows = [row for name in names for row in self._rows(_HOLDERS, name)]
        return sorted({Repo(hub, packing.unname(name)) for hub, name in rows})

    def contents(self) -> Iterator[tuple[Repo, StoredBlob]]:
        """Each distinct content of a repo that is stored, once for each of its names, by digest."""
        rows = self._rows(_CONTENTS, b"", 0, _PAGE)
        while rows:
            for _, _, hub, name, sha256, size, used in rows:
                if sha256 is not None and size is not None:
                    blob = StoredBlob(packing.digest_of(sha256), size, used)
                    yield Repo(hub, packing.unname(name)), blob
            rows = self._rows(_CONTENTS, rows[-1][0], rows[-1][1], _PAGE)

    def blob(self, sha256: Digest) -> StoredBlob | None:
        """One stored blob."""
        row = self._row(_BLOB, bytes.fromhex(sha256.hex))
        return None if row is None else StoredBlob(sha256, *row)

    def size_of(self, name: Digest) -> int | None:
        """How many bytes the stored blob has that *name* names."""
        sha256 = name if name.algorithm == SHA256 else self.sha256_of(name)
        blob = None if sha256 is None else self.blob(sha256)
        return None if blob is None else blob.size

    def totals(self) -> Totals:
        """What is stored, in all."""
        (row,) = self._rows("SELECT blobs, size FROM totals")
        return Totals(*row)

    def least_recent(self, *, after: int, limit: int) -> Sequence[StoredBlob]:
        """At most *limit* blobs in order of last use, from the first whose counter is beyond *after*."""
        return [
            StoredBlob(packing.digest_of(digest), size, used)
            for digest, size, used in self._rows(_LEAST_RECENT, after, limit)
        ]

    # ── the connection ─────────────────────────────────────────────────────────────────────────

    def _found(self, query: str, repo: Repo, packed: packing.Packed) -> tuple[str, Entry] | None:
        row = self._row(query, *key_of(repo), packed)
        return None if row is None else (packing.unpack(row[0]), packing.entry_of(row[1:]))

    def _info(self, number: int, version: int) -> bytes:
        kept = self._infos.get(number)
        if kept is None or kept[0] != version:
            row = self._row(_INFO, number)
            kept = (version, b"") if row is None else (row[0], row[1])
            self._infos[number] = kept
            # Another thread may have emptied it further in the meantime.
            with suppress(KeyError):
                while len(self._infos) > _INFOS_KEPT:
                    self._infos.popitem(last=False)
        return kept[1]

    def _kept_row(self, *asked: Any) -> Any:
        """The same row as `_row`, which was looked up since the last commit or is now."""
        kept = self._kept
        if asked in kept:
            return kept[asked]
        row = self._row(*asked)
        if len(kept) >= _ROWS_KEPT:
            kept.clear()
        kept[asked] = row
        return row

    def _row(self, query: str, *values: Any) -> Any:
        try:
            # The cursor dies with this expression, and with it the read transaction it holds.
            return self._connection().execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise schema.noted(self._path, error) from error

    def _rows(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._connection().execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise schema.noted(self._path, error) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            with self._opening:
                if not self._reading:
                    raise StoreUnusableError("The index is closed.")
                connection = schema.open_for_reading(self._path)
                self._opened.append(connection)
            self._own.connection = connection
        return connection

    def stop(self) -> None:
        """Close every thread's connection; look-ups are refused from here on."""
        with self._opening:
            self._reading = False
            self.renew()
            for connection in self._opened:
                connection.close()
            self._opened.clear()
