"""A data folder with repos that share files, opened as orders open it."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from mirror.clock import SystemClock
from mirror.digest import Digest, sha256_of
from mirror.hubs import registry
from mirror.names import Entries, Entry, Ref, Repo, Snapshot, SnapshotState, Visibility
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.upkeep.desk import AtRest, Desk

REPO = "acme/one"
OTHER = "acme/two"
OLD, NEW = "a" * 40, "b" * 40
NOON = 1_750_000_000.0

SHARED, OWN, FORMER = b"shared" * 1000, b"own" * 1000, b"former" * 1000


@contextlib.contextmanager
def at_rest(data: Path, said: list[str] | None = None) -> Iterator[Desk]:
    """The desk of the data folder *data*, whose lock is taken; *said* hears of damage."""
    layout = Layout(data)
    layout.prepare()
    lock = durable.StoreLock(layout.lock)
    lock.acquire()
    heard: list[str] = [] if said is None else said
    try:
        rest = AtRest(
            layout,
            lambda secret: registry.hubs(secret=secret, tree_limit=1000, ref_lifetime=60.0),
            SystemClock(),
            heard.append,
            quota=None,
            min_free=0,
        )
        with rest as desk:
            yield desk
    finally:
        lock.release()


def repo(text: str) -> Repo:
    """A model of the Hub."""
    return Repo("huggingface", f"models/{text}")


def put(desk: Desk, content: bytes) -> Digest:
    """Store *content*."""
    digest = sha256_of(content)
    if desk.store.find(digest) is None:
        partial = desk.partials.begin(digest, len(content))
        partial.append(content)
        partial.finish()
        desk.store.put([partial])
        partial.close()
    desk.index.catalog.stored([(digest, len(content))]).result()
    return digest


def commit(desk: Desk, name: str, revision: str, oid: str, files: Mapping[str, bytes]) -> None:
    """Have *name* at *revision* consist of *files*, known and stored, with its record."""
    which = repo(name)
    entries = tuple(
        Entry(path, "file", len(content), put(desk, content), "", None, b"{}")
        for path, content in sorted(files.items())
    )
    desk.index.catalog.record(
        [
            Entries(which, oid, entries),
            Snapshot(which, oid, SnapshotState.COMPLETE, "full", b"{}", NOON),
            Ref(which, revision, oid, NOON),
            Visibility(which, private=False, gated=False, seen_at=NOON),
        ]
    ).result()
    desk.index.arrears.save(which, oid)


def fill(data: Path) -> None:
    """A repo of two commits, and another that shares a file with it; a branch moved after its record."""
    with at_rest(data) as desk:
        commit(desk, REPO, "main", OLD, {"model.bin": SHARED, "own.bin": FORMER})
        commit(desk, REPO, "main", NEW, {"model.bin": SHARED, "own.bin": OWN})
        commit(desk, OTHER, "main", OLD, {"model.bin": SHARED})
        moved = Ref(repo(REPO), "v1", OLD, NOON)
        desk.index.catalog.record([moved]).result()
        desk.index.arrears.append(
            [moved, Visibility(repo(REPO), private=False, gated=True, seen_at=NOON)]
        )
