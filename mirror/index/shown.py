"""What pages and probes read of the catalog: public repos, what they lack, and counts that are kept."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mirror.index import packing
from mirror.index.protocol import RepoRow
from mirror.names import Repo, Visibility

# As SQLite's lower(): the letters of ASCII and no others.
LOWER: Final = {upper: upper + 32 for upper in range(65, 91)}

THIS_REPO: Final = "(SELECT id FROM repos WHERE hub = ? AND name = ?)"
THIS_SNAPSHOT: Final = f"(SELECT id FROM snapshots WHERE repo = {THIS_REPO} AND commit_id = ?)"

_LEAST: Final = b""
_GREATEST: Final = b"\xff"  # begins no UTF-8 text

_ROW: Final = """
    SELECT hub, name, commits, files, files_stored, bytes_stored,
        private, gated, visibility_at, seen_at
    FROM repos WHERE hub = ? AND name = ?
"""
_SHOWN: Final = """
    SELECT hub, name, commits, files, files_stored, bytes_stored,
        private, gated, visibility_at, seen_at
    FROM repos INDEXED BY repos_shown
    WHERE private = 0 AND gated = 0 AND bytes_stored > 0
        AND (hub, name) > (?, ?) AND (? = '' OR instr(lower(CAST(name AS TEXT)), ?))
    ORDER BY hub, name LIMIT ?
"""
_SHOWN_COUNTS: Final = "SELECT hub, kind, repos FROM shown WHERE repos > 0"
_MISSING: Final = f"""
    SELECT e.path FROM entries e
    WHERE e.snapshot = {THIS_SNAPSHOT} AND e.path > ? AND e.digest IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM contents c WHERE c.digest = e.digest AND c.repo = {THIS_REPO} AND c.stored
    )
    ORDER BY e.path LIMIT ?
"""
_KEYS: Final = "SELECT key FROM replies WHERE key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"


class Shown:
    """A part of `mirror.index.lookups.Lookups`, which reads rows."""

    def _row(self, query: str, *values: Any) -> Any:
        raise NotImplementedError

    def _rows(self, query: str, *values: Any) -> list[Any]:
        raise NotImplementedError

    def row(self, repo: Repo) -> RepoRow | None:
        """What `repos` says of *repo*."""
        row = self._row(_ROW, *key_of(repo))
        return None if row is None else repo_row(row)

    def shown(self, text: str, *, after: Repo | None, limit: int) -> Sequence[RepoRow]:
        """Public repos of which bytes are stored and whose name has *text* in it, at most *limit*."""
        begin = ("", _LEAST) if after is None else key_of(after)
        found = text.translate(LOWER).replace("\0", "\ufffd")  # no name has one: SQLite ends there
        return [repo_row(row) for row in self._rows(_SHOWN, *begin, found, found, limit)]

    def shown_counts(self) -> Mapping[tuple[str, str], int]:
        """How many repos `shown` could show, by hub and the first word of the name."""
        rows = self._rows(_SHOWN_COUNTS)
        return {(hub, packing.unname(kind)): repos for hub, kind, repos in rows}

    def missing(self, repo: Repo, commit: str, *, after: str, limit: int) -> Sequence[str]:
        """Paths of *commit* whose content is known and not stored, in order behind *after*."""
        key = (*key_of(repo), packing.pack(commit), packing.name(after), *key_of(repo))
        rows = self._rows(_MISSING, *key, limit)
        return [packing.unname(path) for (path,) in rows]

    def keys(self, begin: str, *, after: str, limit: int) -> Sequence[str]:
        """Keys of lasting replies that begin with *begin*, in order behind *after*, at most *limit*."""
        low = packing.name(begin)
        rows = self._rows(_KEYS, packing.name(after), low, low + _GREATEST, limit)
        return [packing.unname(key) for (key,) in rows]


def key_of(repo: Repo) -> tuple[str, bytes]:
    """The columns that a repo is found by."""
    return repo.hub, packing.name(repo.name)


def repo_row(row: Any) -> RepoRow:
    """A row of ``repos``: hub, name, the counts, the audience, and when it was seen."""
    hub, name, commits, files, files_stored, bytes_stored, private, gated, seen, last = row
    repo = Repo(hub, packing.unname(name))
    visibility = None if seen is None else Visibility(repo, bool(private), bool(gated), seen)
    return RepoRow(repo, commits, files, files_stored, bytes_stored, visibility, last)
