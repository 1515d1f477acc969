"""Journal and records, written when the disk takes them: at once, or later.

What is learned counts for callers as soon as the catalog has it. Journal and records are there for the day
the catalog is lost, so a disk that takes nothing now delays them and refuses nobody: what they lack is
remembered here and written before anything else once the disk takes it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from mirror.digest import Digest
from mirror.errors import StoreError
from mirror.index.journal import Journal
from mirror.index.lines import Line, Link, Note, subject
from mirror.index.protocol import Index
from mirror.index.records import Records
from mirror.names import Alias, Ref, Reply, Repo

# Lines, records and replies that are remembered, each: more come in a long time only. Beyond that the
# oldest are left out of what a rebuild would find, but never one that says who may read what.
BOUND: Final = 50_000


def _ignore(_sentence: str) -> None:
    """Say nothing."""


class Arrears:
    """Writes *journal* and *records* of what *catalog* knows.

    *say* hears, in a sentence, when the disk begins to refuse anything of these three, and when it takes
    everything again.
    """

    def __init__(
        self,
        catalog: Index,
        journal: Journal,
        records: Records,
        say: Callable[[str], None] = _ignore,
    ) -> None:
        self._catalog = catalog
        self._journal = journal
        self._records = records
        self._say = say
        self._lock = threading.Lock()
        self._lines: dict[object, Line] = {}
        self._commits: dict[tuple[Repo, str], None] = {}
        self._replies: dict[str, None] = {}
        self._why = ""
        self._said = False

    @property
    def trouble(self) -> str:
        """Why something is not on the disk yet: a sentence for the log, or "" when all of it is."""
        return self._catalog.trouble or self._why

    def append(self, lines: Sequence[Line]) -> None:
        """Write *lines* into the journal, now or later. Blocks on the disk."""
        with self._lock:
            for line in lines:
                about = subject(line)
                if not (isinstance(line, Link) and about in self._lines):
                    self._lines.pop(about, None)
                    self._lines[about] = line
            self._settle()

    def lines(self) -> Sequence[Line]:
        """All lines that hold, those that are owed last. Reads the whole journal."""
        with self._lock:
            return [*self._journal.replay(), *self._lines.values()]

    def notes(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """The values of the notes of *kind* that hold, by subject. Reads the whole journal."""
        with self._lock:
            found = dict(self._journal.notes(kind))
            for line in self._lines.values():
                if isinstance(line, Note) and line.kind == kind:
                    found.pop(line.subject, None)
                    if line.value is not None:
                        found[line.subject] = line.value
            return found

    def link(self, links: Sequence[tuple[Digest, Digest]]) -> None:
        """Write down, now or later, which sha256 each other name is of."""
        self.append([Link(name, sha256) for name, sha256 in links])

    def save(self, repo: Repo, commit: str) -> None:
        """Write the record of *commit*, now or later. Blocks on the disk."""
        with self._lock:
            self._commits[repo, commit] = None
            self._settle()

    def save_reply(self, reply: Reply) -> None:
        """Write down a lasting reply, now or, as the catalog knows it by then, later. Blocks on the disk."""
        with self._lock:
            try:
                self._records.save_reply(reply)
                self._replies.pop(reply.key, None)
            except (StoreError, OSError) as error:
                self._replies[reply.key] = None
                self._why = str(error)
            else:
                self._settle()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing is written by it meanwhile, and what was being written is there."""
        with self._lock:
            yield

    def settle(self) -> None:
        """Try to write what is owed; to be called now and then."""
        with self._lock:
            self._settle()
        trouble = self.trouble
        if bool(trouble) is not self._said:
            self._said = bool(trouble)
            self._say(
                f"{trouble} What is learned is held in memory meanwhile."
                if trouble
                else "The index is written again."
            )

    def _settle(self) -> None:
        try:
            if self._lines:
                self._journal.append(list(self._lines.values()))
                self._lines.clear()
            for repo, commit in list(self._commits):
                with suppress(LookupError):  # let go of meanwhile: it will be learned again
                    self._records.save(self._catalog, repo, commit)
                del self._commits[repo, commit]
            for key in list(self._replies):
                reply = self._catalog.reply(key)
                if reply is not None:
                    self._records.save_reply(reply)
                del self._replies[key]
            self._why = ""
        except (StoreError, OSError) as error:
            self._why = str(error)
            self._shed()

    def _shed(self) -> None:
        for about, line in list(self._lines.items()):
            if len(self._lines) <= BOUND:
                break
            if isinstance(line, (Link, Ref)) or (isinstance(line, Alias) and not line.seen_at):
                del self._lines[about]
        while len(self._commits) > BOUND:
            del self._commits[next(iter(self._commits))]
        while len(self._replies) > BOUND:
            del self._replies[next(iter(self._replies))]
