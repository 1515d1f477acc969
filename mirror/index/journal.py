"""The journal: what only we know, in a file that only grows until it is compacted.

Upstream can be asked again for its facts, and records keep them; nobody can be asked which sha256 a git
sha1 turned out to be, which repo another name led to, or what the operator pinned. That is written here,
one JSON object a line (`mirror.index.lines`).

One batch is one write and one sync. A crash may leave a torn end: it is cut off when the file is opened,
and any other line that cannot be read is passed over and reported. Later lines overrule earlier ones about
the same thing, but for links, where the first word stands until it is taken back.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from mirror.digest import Digest
from mirror.errors import StoreUnusableError
from mirror.index.lines import Holding, Line, Link, Note, Unknown, decode, encode
from mirror.names import Alias, Ref, Visibility

Write: TypeAlias = Callable[[Path, bytes], None]
Sync: TypeAlias = Callable[[int, Path], None]

# How far back the torn end of a crash is looked for; a batch is much smaller than that.
_TAIL: Final = 1 << 20

# Rewriting the file costs as much as reading it, so it waits until it pays.
REDUNDANT: Final = 10_000


def _ignore(_sentence: str) -> None:
    """Say nothing of damage."""


class Journal:
    """The journal at *path*; made by `open`.

    *write* puts a whole file in place durably, *sync* brings an open one to the disk: both are the
    store's. *damaged* is told, in a sentence, of each line that cannot be read.
    """

    def __init__(
        self, path: Path, write: Write, sync: Sync, damaged: Callable[[str], None] = _ignore
    ) -> None:
        self._path = path
        self._write = write
        self._sync = sync
        self._damaged = damaged
        self._lock = threading.Lock()
        self._fd = -1

    @classmethod
    def open(
        cls, path: Path, write: Write, sync: Sync, damaged: Callable[[str], None] = _ignore
    ) -> Self:
        """Open the journal at *path*, beginning one if there is none, and cut off a torn end.

        Raises `StoreUnusableError` when it can be neither read nor made.
        """
        journal = cls(path, write, sync, damaged)
        try:
            if not path.exists():
                write(path, b"")
            journal._reopen()
            journal._cut()
        except OSError as error:
            journal.close()
            raise _unusable(path, error) from error
        return journal

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    # ── writing ────────────────────────────────────────────────────────────────────────────────

    def append(self, lines: Sequence[Line]) -> None:
        """Add *lines* with one write and one sync; they are on the disk when this returns.

        Raises `StoreError` when they cannot be brought there; the file is then as it was.
        """
        if not lines:
            return
        batch = b"".join(encode(line) for line in lines)
        with self._lock:
            if self._fd < 0:
                raise StoreUnusableError("The journal is closed.")
            end = os.fstat(self._fd).st_size
            done = False
            try:
                rest = memoryview(batch)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
                self._sync(self._fd, self._path)
                done = True
            except OSError as error:
                raise _unusable(self._path, error) from error
            finally:
                if not done:
                    # A disk that took nothing may refuse this as well; a torn end is cut at the start.
                    with suppress(OSError):
                        os.ftruncate(self._fd, end)

    def link(self, links: Sequence[tuple[Digest, Digest]]) -> None:
        """Write down which sha256 each other name is of."""
        self.append([Link(name, sha256) for name, sha256 in links])

    def ref(self, fact: Ref) -> None:
        """Write down that a revision moved onto a commit that was known before."""
        self.append([fact])

    def alias(self, fact: Alias) -> None:
        """Write down another name of a repo."""
        self.append([fact])

    def visibility(self, fact: Visibility) -> None:
        """Write down that the audience of a repo changed after its records were written."""
        self.append([fact])

    def note(self, note: Note) -> None:
        """Write down the operator's word, or withdraw it."""
        self.append([note])

    def compact(self, redundant: int = REDUNDANT) -> int:
        """Rewrite the file if at least *redundant* of its lines no longer count; returns how many went.

        Appends wait meanwhile. Raises `StoreError` when the new file cannot be put in place.
        """
        with self._lock:
            live, lines = self._live()
            gone = lines - len(live)
            if not gone or gone < redundant:
                return 0
            try:
                self._write(self._path, b"".join(text for _, text in live.values()))
                os.close(self._fd)
                self._fd = -1
                self._reopen()
            except OSError as error:
                raise _unusable(self._path, error) from error
            return gone

    def redundant(self) -> int:
        """How many of its lines no longer count; reads all of it."""
        with self._lock:
            live, lines = self._live()
        return lines - len(live)

    # ── reading ────────────────────────────────────────────────────────────────────────────────

    def replay(self) -> Iterator[Line]:
        """Read back what holds, in the order in which it was last said; withdrawn notes are not told."""
        with self._lock:
            live, _ = self._live()
        for line, _ in live.values():
            if not isinstance(line, Unknown):
                yield line

    def notes(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """The values of the notes of *kind* that hold, by subject."""
        return {
            line.subject: line.value
            for line in self.replay()
            if isinstance(line, Note) and line.kind == kind and line.value is not None
        }

    def _live(self) -> tuple[dict[object, tuple[Line | Unknown, bytes]], int]:
        """The lines that hold, by what they are about, and how many lines there are in all."""
        holding, number = Holding(), 0
        with self._path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                line = decode(text)
                if line is None:
                    self._damaged(f"Line {number} of {self._path.name} cannot be read: skipped.")
                    continue
                holding.take(line, text)
        return holding.live, number

    def _reopen(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)

    def _cut(self) -> None:
        """Cut off what a crash left at the end: half a line, or blocks that never reached the disk."""
        size = os.fstat(self._fd).st_size
        reach, start, end = _TAIL, size, 0
        while start and not end:
            start = max(0, size - reach)
            tail = os.pread(self._fd, size - start, start)
            end = tail.rfind(b"\n") + 1
            while end and decode(tail[tail.rfind(b"\n", 0, end - 1) + 1 : end]) is None:
                end = tail.rfind(b"\n", 0, end - 1) + 1
            reach *= 2
        if start + end < size:
            self._damaged(
                f"The last {size - start - end} bytes of {self._path.name} were torn off."
            )
            os.ftruncate(self._fd, start + end)


def _unusable(path: Path, error: OSError) -> StoreUnusableError:
    return StoreUnusableError(f"The journal {path} cannot be used: {error}.")
