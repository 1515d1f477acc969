"""The records: what upstream answered, one file per snapshot, so that the catalog may be thrown away.

``records/ab/<hex>.json`` is named by the sha256 of hub, canonical repo and commit, never by a repo's own
name. It holds upstream's answers unaltered: the description of the repo, every element of its tree, the
audience as last seen and the refs that were seen to point at the commit. Upstream's lasting replies to
other questions lie beside them in the same form. Each file is whole or not there at all.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from mirror.digest import Digest
from mirror.index.codec import decode_reply, encode_reply, moment, typed
from mirror.index.protocol import Index
from mirror.names import Entry, Ref, Reply, Repo, Snapshot, SnapshotState, Visibility

Write: TypeAlias = Callable[[Path, bytes], None]

_FORM: Final = 1

# Entries are read from the catalog, and handed back to it, in pages of this many.
PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """All that was known of one commit when it was written down."""

    snapshot: Snapshot
    visibility: Visibility | None
    refs: tuple[Ref, ...]
    entries: tuple[Entry, ...]
    absent: tuple[str, ...]


Record: TypeAlias = SnapshotRecord | Reply


def _ignore(_sentence: str) -> None:
    """Say nothing of damage."""


class Records:
    """The records in *folder*.

    *write* puts a file in place durably; it is the store's. *damaged* is told, in a sentence, of each
    file that cannot be read.
    """

    def __init__(
        self, folder: Path, write: Write, damaged: Callable[[str], None] = _ignore
    ) -> None:
        self._folder = folder
        self._write = write
        self._damaged = damaged

    def path(self, repo: Repo, commit: str) -> Path:
        """Where the record of *commit* is; *repo* is the canonical one."""
        return self._path("snapshot", repo.hub, repo.name, commit)

    def save(self, catalog: Index, repo: Repo, commit: str) -> Path:
        """Write down what *catalog* knows of *commit*, in place of an earlier record of it.

        Made for complete snapshots; what is known of a large one is kept just as well. Raises
        `LookupError` for a commit of which no snapshot is known, `StoreError` when the disk refuses.
        """
        return self._put(self.path(repo, commit), rendered(catalog, repo, commit))

    def save_reply(self, reply: Reply) -> Path:
        """Write down a lasting reply, in place of an earlier one to the same question."""
        return self._put(self._path("reply", reply.key), encode_reply(reply))

    def reply_path(self, key: str) -> Path:
        """Where the lasting reply kept under *key* is."""
        return self._path("reply", key)

    def forget(self, repo: Repo, commit: str) -> None:
        """Remove the record of *commit*, if there is one."""
        self.path(repo, commit).unlink(missing_ok=True)

    def walk(self) -> Iterator[Record]:
        """Read every record, one at a time; one that is damaged is skipped and told of."""
        for path in self.files():
            record = self.read(path)
            if record is None:
                self._damaged(f"The record {path.parent.name}/{path.name} cannot be read: skipped.")
            else:
                yield record

    def files(self) -> list[Path]:
        """The files of all records, in order."""
        return sorted(self._folder.glob("??/*.json"))

    def read(self, path: Path) -> Record | None:
        """Read one of `files`; `None` when it is damaged or is not the record that its name says."""
        try:
            data = path.read_bytes()
        except OSError:
            return None
        reply = decode_reply(data)
        if reply is not None:
            return reply if path == self._path("reply", reply.key) else None
        record = _decode(data)
        if record is None or path != self.path(record.snapshot.repo, record.snapshot.commit):
            return None
        return record

    def _put(self, path: Path, data: bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write(path, data)
        return path

    def _path(self, *names: str) -> Path:
        # JSON keeps ("a", "b/c") and ("a/b", "c") apart, whatever characters the names have.
        text = json.dumps(names, separators=(",", ":")).encode("ascii")
        stem = hashlib.sha256(text).hexdigest()
        return self._folder / stem[:2] / f"{stem}.json"


def rendered(catalog: Index, repo: Repo, commit: str) -> bytes:
    """The record of what *catalog* knows of *commit*. Raises `LookupError` where none is."""
    snapshot = catalog.snapshot(repo, commit)
    if snapshot is None:
        raise LookupError(f"no snapshot of {repo} at {commit} is known")
    record = SnapshotRecord(
        snapshot,
        catalog.visibility(repo),
        tuple(ref for ref in catalog.refs(repo) if ref.commit == commit),
        (),
        tuple(catalog.absences(repo, commit)),
    )
    # Entry by entry: as objects, those of 100 000 paths take 64 MiB, and written at once 100 more.
    return _encode(record, _every_entry(catalog, repo, commit))


def read_record(data: bytes) -> Record | None:
    """Read what a record holds; `None` where *data* is none."""
    return decode_reply(data) or _decode(data)


def _every_entry(catalog: Index, repo: Repo, commit: str) -> Iterator[Entry]:
    after = ""
    while True:
        page = catalog.listing(repo, commit, "", recursive=True, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].path


# ── the form ───────────────────────────────────────────────────────────────────────────────────


def _encode(record: SnapshotRecord, entries: Iterable[Entry] | None = None) -> bytes:
    """Write *record* as JSON, one entry a line, so that a person can read it and a tool compare two.

    *entries* stand for those of the record where they are given.
    """
    snapshot, seen = record.snapshot, record.visibility
    head = {
        "form": _FORM,
        "hub": snapshot.repo.hub,
        "repo": snapshot.repo.name,
        "commit": snapshot.commit,
        "state": snapshot.state.value,
        "view": snapshot.view,
        "seen_at": snapshot.seen_at,
        "visibility": None
        if seen is None
        else {"private": seen.private, "gated": seen.gated, "seen_at": seen.seen_at},
        "refs": [[ref.revision, ref.seen_at] for ref in record.refs],
        "absent": record.absent,
        "info": _text(snapshot.info),
    }
    start = json.dumps(head, separators=(",", ":"))[:-1]
    data = bytearray(f'{start},"entries":['.encode("ascii"))
    between = "\n"
    for entry in record.entries if entries is None else entries:
        data += f"{between}{json.dumps(_fields(entry), separators=(',', ':'))}".encode("ascii")
        between = ",\n"
    data += b"\n]}\n"
    return bytes(data)


def _decode(data: bytes) -> SnapshotRecord | None:
    try:
        head = json.loads(data)
        if head["form"] != _FORM:
            return None
        repo = Repo(typed(str, head["hub"]), typed(str, head["repo"]))
        commit, seen = typed(str, head["commit"]), head["visibility"]
        return SnapshotRecord(
            Snapshot(
                repo,
                commit,
                SnapshotState(head["state"]),
                typed(str, head["view"]),
                _bytes(head["info"]),
                moment(head["seen_at"]),
            ),
            None
            if seen is None
            else Visibility(
                repo,
                typed(bool, seen["private"]),
                typed(bool, seen["gated"]),
                moment(seen["seen_at"]),
            ),
            tuple(
                Ref(repo, typed(str, revision), commit, moment(seen_at))
                for revision, seen_at in head["refs"]
            ),
            tuple(_entry(fields) for fields in head["entries"]),
            tuple(typed(str, path) for path in head["absent"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _fields(entry: Entry) -> list[Any]:
    digest = None if entry.digest is None else str(entry.digest)
    return [entry.path, entry.kind, entry.size, digest, entry.oid, entry.xet, _text(entry.raw)]


def _entry(fields: list[Any]) -> Entry:
    path, kind, size, digest, oid, xet, raw = fields
    named = None if digest is None else Digest.parse(digest)
    if not 0 <= typed(int, size) < 1 << 63:
        raise ValueError("a size is impossible")
    for text in (path, kind, oid, "" if xet is None else xet):
        typed(str, text)
    return Entry(path, kind, size, named, oid, xet, _bytes(raw))


def _text(answer: bytes) -> str:
    """Upstream's bytes as a string that gives them back exactly, even if they are not UTF-8."""
    return answer.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
