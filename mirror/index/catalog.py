"""The catalog: what must be remembered, in SQLite.

Why SQLite and not a cache library: facts hang together (a ref, its commit, that commit's entries, who may
see them), and they are looked up by more than one key. Why the standard library's synchronous module: a
look-up takes some microseconds, and the hop to another thread that an asynchronous wrapper makes a hundred.
"""

import sqlite3
import threading
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from mirror.digest import Digest
from mirror.errors import StoreCorruptError
from mirror.index import forgetting, recording, schema
from mirror.index.held import BOUND, Work
from mirror.index.overlay import Overlay
from mirror.index.tally import Tally
from mirror.index.writer import Writer
from mirror.leases import Leases
from mirror.names import (
    Alias,
    Entries,
    Fact,
    Ref,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)

_LAST_USE: Final = "SELECT coalesce(max(used), 0) FROM blobs"


class Catalog(Overlay):
    """What is known, readable at once on any thread and written by one.

    Made by `open`. Every method that writes returns a future, which ends once all readers can see what
    was written. While the disk takes nothing it is held in memory (`trouble`, `mirror.index.held`) and
    written when there is room again; the future ends with a `StoreError` where that cannot be, too.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        fresh: bool,
        last_use: int,
        bound: int,
        leases: Leases,
    ) -> None:
        super().__init__(path, bound)
        self._path = path
        self._leases = leases
        self._writer = Writer(
            connection,
            lambda error: schema.noted(path, error),
            Tally(path),
            self._held,
            leases,
            self._file.renew,
        )
        self._writer.start()
        self._fresh = fresh
        self._last_use = last_use  # moved by the writer's thread alone
        self._drops = 0
        self._forgets = threading.Lock()
        self._forgettings = 0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        killed: bool = False,
        bound: int = BOUND,
        leases: Leases | None = None,
    ) -> Self:
        """Open the catalog at *path*, or begin an empty one.

        A file that is damaged, of another version, or was never brought level (`finish`) is thrown away
        first, and after a run that was *killed* one that lacks what had been committed: look at `fresh`.
        *bound* is how many bytes of facts are held in memory at most while the disk takes none; *leases* on
        a repo, or on another name of content, break before what is known of it changes. Raises
        `StoreUnusableError` when no file can be made there. Opening takes the same time at any size.
        """
        connection, fresh = schema.open_for_writing(path, killed=killed)
        try:
            (last_use,) = connection.execute(_LAST_USE).fetchone()
        except sqlite3.Error as error:
            connection.close()
            trouble = schema.noted(path, error)
            if fresh or not isinstance(trouble, StoreCorruptError):
                raise trouble from error
            # Which now finds the mark of damage, and begins anew.
            return cls.open(path, leases=leases)
        leases = Leases() if leases is None else leases
        return cls(path, connection, fresh=fresh, last_use=last_use, bound=bound, leases=leases)

    @property
    def fresh(self) -> bool:
        """Whether it began empty, and is still to be brought level with the records and the journal."""
        return self._fresh

    @property
    def trouble(self) -> str:
        """Why what is learned is only held in memory: a sentence, or "" while the disk takes it."""
        return self._writer.trouble

    def finish(self) -> None:
        """Note that it is level with what is durable; without that the next `open` begins anew.

        Returns when all that was recorded is on the disk. Raises `StoreError` when it cannot get there.
        """
        self._writer.submit(lambda _connection: None).result()
        schema.finish(self._path)
        self._fresh = False

    def close(self) -> None:
        """Write what still waits, then close the file; may be called twice."""
        self._writer.close(self._file.stop)

    # ── what upstream said ─────────────────────────────────────────────────────────────────────

    def record(self, facts: Sequence[Fact], as_of: int | None = None) -> "Future[None]":
        """Write *facts* down, all of them or none.

        *as_of* is what `forgettings` was when what they build on was looked at; where that has changed, a
        complete list counts as begun. Leads and replies that are not lasting are passed over, and so are
        verdicts, for which `record_verdict` wants to know whose they are.
        """
        return self._writer.submit(
            lambda connection: recording.record(connection, self._as_of(facts, as_of)),
            lambda held: held.record(self._as_of(facts, as_of)),
            {repo for fact in facts for repo in _about(fact)},
        )

    def _as_of(self, facts: Sequence[Fact], as_of: int | None) -> Sequence[Fact]:
        if as_of is None or (as_of == self._forgettings and not as_of % 2):
            return facts
        return [
            replace(fact, state=SnapshotState.PENDING)
            if isinstance(fact, Snapshot) and fact.state is SnapshotState.COMPLETE
            else fact
            for fact in facts
        ]

    def record_verdict(self, fingerprint: str, verdict: Verdict) -> "Future[None]":
        """Write down what upstream said to the credential named *fingerprint*."""
        return self._writer.submit(
            lambda connection: recording.record_verdict(connection, fingerprint, verdict),
            lambda held: held.record_verdict(fingerprint, verdict),
        )

    # ── what the store holds ───────────────────────────────────────────────────────────────────

    def stored(
        self, blobs: Sequence[tuple[Digest, int]], links: Sequence[tuple[Digest, Digest]] = ()
    ) -> "Future[None]":
        """Note that *blobs* (sha256 and size in bytes) are here, used just now.

        *links* name each git sha1 that is now known to be one of them, as in `link`.
        """

        def work(connection: sqlite3.Connection) -> None:
            recording.link(connection, links)
            recording.store(connection, blobs, self._uses(len(blobs)))

        return self._writer.submit(
            work,
            lambda held: held.stored(blobs, links, self._uses(len(blobs))),
            {name for name, _ in links},
        )

    def dropped(self, digests: Sequence[Digest]) -> "Future[None]":
        """Note that the blobs of these sha256 are here no longer."""
        return self._dropping(
            self._writer.submit(
                lambda connection: recording.drop(connection, digests),
                lambda held: held.dropped(digests),
            )
        )

    @property
    def drops(self) -> int:
        """How often content was taken away: what was whole at the same number is whole still."""
        return self._drops

    def touch(self, digests: Sequence[Digest]) -> "Future[None]":
        """Note that the blobs of these sha256 were wanted, in this order; unknown ones are passed over."""
        return self._writer.submit(
            lambda connection: recording.touch(connection, digests, self._uses(len(digests))),
            lambda held: held.touch(digests, self._uses(len(digests))),
            quiet=True,
        )

    def link(self, name: Digest, sha256: Digest) -> "Future[None]":
        """Note that what *name* (a git sha1, a source) names is stored as *sha256*; the first word stands."""
        return self._writer.submit(
            lambda connection: recording.link(connection, [(name, sha256)]),
            lambda held: held.stored([], [(name, sha256)], 0),
            (name,),
        )

    @property
    def last_use(self) -> int:
        """The number of the last use of any blob."""
        return self._last_use

    # ── what the operator removes ──────────────────────────────────────────────────────────────

    def forget(self, repo: Repo, commit: str = "") -> None:
        """Forget *commit* of *repo* and the refs onto it; without it the repo, its audience, its names.

        Blocks until it is done, which takes as long as it took to record; nobody sees any of it from the
        start. Raises `StoreError` when the disk refuses: the three that forget are done there or not at all.
        """
        with self._forgetting():
            key = forgetting.hide(self._do, repo, commit)
        if key is not None:
            forgetting.take(self._do, key, whole=not commit)

    def forget_replies(self, keys: Sequence[str]) -> None:
        """Forget upstream's answers kept under *keys*."""
        with self._forgetting():
            self._do(lambda connection: forgetting.replies(connection, keys))

    def unlink(self, names: Sequence[Digest]) -> None:
        """Forget what each of *names* is stored as: the next word about it stands."""
        with self._forgetting():
            self._do(lambda connection: forgetting.links(connection, names))
        self._drops += 1

    def _dropping(self, done: "Future[None]") -> "Future[None]":
        """Count what takes content away, once readers see that it is gone."""

        def count(_done: "Future[None]") -> None:
            self._drops += 1

        done.add_done_callback(count)
        return done

    @property
    def forgettings(self) -> int:
        """A number that grows when forgetting begins, and once more when it is out of sight."""
        return self._forgettings

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        with self._forgets, self._leases.changing_all():
            self._forgettings += 1
            try:
                yield
            finally:
                self._forgettings += 1

    def _do(self, work: Work) -> None:
        self._writer.submit(work).result()

    def _uses(self, number: int) -> int:
        """Count *number* uses and return the first of them."""
        first = self._last_use + 1
        self._last_use += number
        return first


def _about(fact: Fact) -> Sequence[Hashable]:
    """The repos of which something else is known once *fact* is."""
    match fact:
        case Alias():
            return fact.asked, fact.repo
        case Ref() | Snapshot() | Entries() | Visibility():
            return (fact.repo,)
        case _:
            return ()
