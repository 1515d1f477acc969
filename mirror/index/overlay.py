"""Look-ups over two layers: what the disk would not take wins over what it has.

While nothing is held, which is nearly always, each look-up is that of the file and one question more.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from mirror.digest import SHA256, Digest
from mirror.index import packing
from mirror.index.held import BOUND, Held
from mirror.index.lookups import Lookups
from mirror.index.protocol import RepoRow, StoredBlob, Totals
from mirror.index.shown import LOWER
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

_PAGE: Final = 1000


class Overlay:
    """What can be read of the catalog at *path* and of what is held, from any thread; as `Lookups`."""

    def __init__(self, path: Path, bound: int = BOUND) -> None:
        self._file = Lookups(path)
        self._held = Held(self._file, bound)

    # ── commits ────────────────────────────────────────────────────────────────────────────────

    def ref(self, repo: Repo, revision: str) -> Ref | None:
        """The commit that *revision* was last seen at."""
        return self._held.refs.get((repo, revision)) or self._file.ref(repo, revision)

    def refs(self, repo: Repo) -> Sequence[Ref]:
        """Every revision of *repo* ever seen, by name."""
        refs = self._file.refs(repo)
        if not self._held.something:
            return refs
        with self._held.lock:
            newer = {name: ref for (of, name), ref in self._held.refs.items() if of == repo}
        known = {ref.revision: ref for ref in refs} | newer
        return [known[name] for name in sorted(known)]

    def snapshot(self, repo: Repo, commit: str) -> Snapshot | None:
        """The head of the file list of *commit*; `None` while only entries of it were seen."""
        kept = self._held.commits.get((repo, commit))
        if kept is not None and kept.head is not None:
            return kept.head
        return self._file.snapshot(repo, commit)

    def commits(self, repo: Repo) -> Sequence[str]:
        """Every commit of *repo* of which something is known, in no order."""
        commits = self._file.commits(repo)
        if not self._held.something:
            return commits
        with self._held.lock:
            held = [commit for of, commit in self._held.commits if of == repo]
        return list(dict.fromkeys([*commits, *held]))

    def entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """One path of *commit*, if known to exist."""
        kept = self._held.commits.get((repo, commit))
        return (kept and kept.entries.get(path)) or self._file.entry(repo, commit, path)

    def absent(self, repo: Repo, commit: str, path: str) -> bool:
        """Whether *path* is proved not to exist: upstream said so, or the list is complete without it."""
        kept = self._held.commits.get((repo, commit))
        if kept is None:
            return self._file.absent(repo, commit, path)
        if self.entry(repo, commit, path) is not None:
            return False
        complete = kept.head is not None and kept.head.state is SnapshotState.COMPLETE
        return complete or path in kept.absent or self._file.absent(repo, commit, path)

    def absences(self, repo: Repo, commit: str) -> Sequence[str]:
        """The paths that upstream was asked for and does not have at *commit*, in path order."""
        absences = self._file.absences(repo, commit)
        kept = self._held.commits.get((repo, commit))
        if kept is None:
            return absences
        with self._held.lock:
            return sorted({path for path in absences if path not in kept.entries} | kept.absent)

    def listing(
        self, repo: Repo, commit: str, folder: str, *, recursive: bool, after: str, limit: int
    ) -> Sequence[Entry]:
        """Known entries below *folder* ("" is the root) in path order after *after*, at most *limit*."""
        page = self._file.listing(
            repo, commit, folder, recursive=recursive, after=after, limit=limit
        )
        kept = self._held.commits.get((repo, commit))
        if kept is None:
            return page
        prefix = f"{folder}/" if folder else ""
        with self._held.lock:
            newer = {
                path: entry
                for path, entry in kept.entries.items()
                if path.startswith(prefix)
                and path > after
                and (recursive or "/" not in path[len(prefix) :])
            }
        known = {entry.path: entry for entry in page} | newer
        return [known[path] for path in sorted(known)[:limit]]

    def by_digest(self, repo: Repo, hex_digest: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry whose content has this digest, sha256 or git sha1 in hex.

        A small file that upstream names by its git sha1 alone is found by its sha256 once it is linked.
        """
        found = self._file.by_digest(repo, hex_digest)
        if found is None and self._held.something:
            with self._held.lock:
                linked = [
                    git_sha1.hex
                    for git_sha1, sha256 in self._held.links.items()
                    if sha256.hex == hex_digest
                ]
            names = [hex_digest, *linked]
            found = next((hit for name in names if (hit := self._content(repo, name))), None)
            if found is None:
                hits = (self._file.by_digest(repo, name) for name in linked)
                found = next((hit for hit in hits if hit is not None), None)
        return found

    def by_xet(self, repo: Repo, xet_hash: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this Xet hash; a redacted hash finds nothing."""
        if xet_hash == packing.REDACTED:
            return None
        return self._file.by_xet(repo, xet_hash) or self._content(repo, xet_hash)

    def _content(self, repo: Repo, name: str) -> tuple[str, Entry] | None:
        with self._held.lock:
            commit, path = self._held.contents.get((repo, name), ("", ""))
            kept = self._held.commits.get((repo, commit))
            entry = None if kept is None else kept.entries.get(path)
        if entry is None or name not in {entry.xet, entry.digest and entry.digest.hex}:
            return None
        return commit, entry

    # ── repos and callers ──────────────────────────────────────────────────────────────────────

    def visibility(self, repo: Repo) -> Visibility | None:
        """Who may see *repo*, as last seen."""
        return self._held.audiences.get(repo) or self._file.visibility(repo)

    def alias(self, asked: Repo) -> Alias | None:
        """The repo that *asked* is another name of."""
        return self._held.aliases.get(asked) or self._file.alias(asked)

    def verdict(self, fingerprint: str, repo: Repo, access: Access) -> Verdict | None:
        """What upstream last said to the credential named *fingerprint* about *repo* at *access*."""
        held = self._held.verdicts.get((fingerprint, repo, access))
        return held or self._file.verdict(fingerprint, repo, access)

    def accepted_anywhere(self, fingerprint: str) -> bool:
        """Whether upstream took the credential named *fingerprint* for any repo, last it was asked.

        While something is held that may also be so of one that was refused meanwhile: a refusal too many
        is remembered then.
        """
        if self._file.accepted_anywhere(fingerprint):
            return True
        with self._held.lock:
            held = list(self._held.verdicts.items())
        return any(whose == fingerprint and seen.accepted for (whose, _, _), seen in held)

    def reply(self, key: str) -> Reply | None:
        """Upstream's lasting answer kept under *key*."""
        return self._held.replies.get(key) or self._file.reply(key)

    def reply_keys(self, after: str, limit: int) -> Sequence[str]:
        """The keys of at most *limit* lasting answers, in order, from the first beyond *after*."""
        page = self._file.reply_keys(after, limit)
        if not self._held.something:
            return page
        with self._held.lock:
            newer = [key for key in self._held.replies if key > after]
        return sorted({*page, *newer})[:limit]

    def forms(self, document: str, limit: int) -> int:
        """In how many forms *document* is kept, counted up to *limit*."""
        kept = self._file.forms(document, limit)
        if self._held.something and kept < limit:
            with self._held.lock:
                held = list(self._held.replies)
            begins = (f"{document}?", f"{document} ")
            kept += sum(
                1 for key in held if key.startswith(begins) and self._file.reply(key) is None
            )
        return min(kept, limit)

    def repos(self, *, public_only: bool) -> Sequence[RepoRow]:
        """Every repo that something is known of, by name; gated and unknown ones are not public.

        Of a repo that the file knows the counts are those of the file.
        """
        if not self._held.something:
            return self._file.repos(public_only=public_only)
        with self._held.lock:
            audiences = dict(self._held.audiences)
        rows = [
            replace(row, visibility=audiences.get(row.repo, row.visibility))
            for row in self._file.repos(public_only=False)
        ]
        rows = sorted([*rows, *self._held.rows({row.repo for row in rows})], key=_by_repo)
        return [row for row in rows if not public_only or _is_public(row.visibility)]

    def row(self, repo: Repo) -> RepoRow | None:
        """What `repos` says of *repo*."""
        if not self._held.something:
            return self._file.row(repo)
        return next((row for row in self.repos(public_only=False) if row.repo == repo), None)

    def shown(self, text: str, *, after: Repo | None, limit: int) -> Sequence[RepoRow]:
        """Public repos of which bytes are stored and whose name has *text* in it, at most *limit*."""
        if not self._held.something:
            return self._file.shown(text, after=after, limit=limit)
        found = text.translate(LOWER)
        rows = [
            row
            for row in self._shown()
            if (after is None or row.repo > after) and found in row.repo.name.translate(LOWER)
        ]
        return rows[:limit]

    def shown_counts(self) -> Mapping[tuple[str, str], int]:
        """How many repos `shown` could show, by hub and the first word of the name."""
        if not self._held.something:
            return self._file.shown_counts()
        return Counter(
            (row.repo.hub, row.repo.name.rpartition("/")[0].partition("/")[0])
            for row in self._shown()
        )

    def _shown(self) -> Iterator[RepoRow]:
        return (row for row in self.repos(public_only=True) if row.bytes_stored)

    def missing(self, repo: Repo, commit: str, *, after: str = "", limit: int) -> Sequence[str]:
        """Paths of *commit* whose content is known and not here, in order behind *after*, at most *limit*."""
        if not self._held.something:
            return self._file.missing(repo, commit, after=after, limit=limit)
        found: list[str] = []
        while len(found) < limit:
            page = self.listing(repo, commit, "", recursive=True, after=after, limit=_PAGE)
            found += [
                entry.path
                for entry in page
                if entry.digest is not None and self.size_of(entry.digest) is None
            ]
            if len(page) < _PAGE:
                break
            after = page[-1].path
        return found[:limit]

    def keys(self, begin: str, *, after: str, limit: int) -> Sequence[str]:
        """Keys of lasting replies that begin with *begin*, in order behind *after*, at most *limit*."""
        keys = self._file.keys(begin, after=after, limit=limit)
        if not self._held.something:
            return keys
        with self._held.lock:
            held = {key for key in self._held.replies if key.startswith(begin) and key > after}
        return sorted(held.union(keys))[:limit]

    # ── blobs ──────────────────────────────────────────────────────────────────────────────────

    def sha256_of(self, name: Digest) -> Digest | None:
        """The name in the store of what *name* (a git sha1, a source) names."""
        return self._file.sha256_of(name) or self._held.links.get(name)

    def size_of(self, name: Digest) -> int | None:
        """How many bytes the stored blob has that *name* names."""
        sha256 = name if name.algorithm == SHA256 else self.sha256_of(name)
        if sha256 is None:
            return None
        held = self._held.blobs.get(sha256)
        if held is not None:
            return held.size
        return None if sha256 in self._held.hidden else self._file.size_of(sha256)

    def names_of(self, sha256: Digest) -> Sequence[Digest]:
        """The other names (git sha1, sources) that the blob *sha256* is known by."""
        names = self._file.names_of(sha256)
        if not self._held.something:
            return names
        with self._held.lock:
            held = [name for name, known in self._held.links.items() if known == sha256]
        return list(dict.fromkeys([*names, *held]))

    def holders(self, sha256: Digest) -> Sequence[Repo]:
        """The repos that have a file with the content of the blob *sha256*, by name."""
        found = set(self._file.holders(sha256))
        if not self._held.something:
            return sorted(found)
        names = {sha256, *self.names_of(sha256)}
        with self._held.lock:
            found |= {
                repo
                for (repo, _), kept in self._held.commits.items()
                if any(entry.digest in names for entry in kept.entries.values())
            }
        return sorted(found)

    def blob(self, sha256: Digest) -> StoredBlob | None:
        """One stored blob."""
        held = self._held.blobs.get(sha256)
        if held is not None or sha256 in self._held.hidden:
            return held
        return self._file.blob(sha256)

    def contents(self) -> Iterator[tuple[Repo, StoredBlob]]:
        """Each distinct content of a repo that is stored, once for each of its names, by digest."""
        return self._file.contents()

    def totals(self) -> Totals:
        """What is stored, in all."""
        totals = self._file.totals()
        if not self._held.something:
            return totals
        with self._held.lock:
            new, gone = list(self._held.blobs.values()), list(self._held.hidden.values())
        return Totals(
            totals.blobs + len(new) - len(gone),
            totals.size + sum(blob.size for blob in new) - sum(gone),
        )

    def least_recent(self, *, after: int, limit: int) -> Sequence[StoredBlob]:
        """At most *limit* blobs in order of last use, from the first whose counter is beyond *after*."""
        page = self._file.least_recent(after=after, limit=limit)
        if not self._held.something:
            return page
        with self._held.lock:
            hidden = set(self._held.hidden)
            new = [blob for blob in self._held.blobs.values() if blob.used > after]
        found = [blob for blob in page if blob.digest not in hidden]
        while page and len(found) < limit:
            page = self._file.least_recent(after=page[-1].used, limit=limit)
            found += [blob for blob in page if blob.digest not in hidden]
        return sorted([*found, *new], key=lambda blob: blob.used)[:limit]


def _by_repo(row: RepoRow) -> Repo:
    return row.repo


def _is_public(seen: Visibility | None) -> bool:
    return seen is not None and not seen.private and not seen.gated
