"""Who may read what by the operator's word, whatever upstream says of it.

A grant is a note of kind ``grant`` in the journal: its subject is a pattern over repos, its value names the
readers. All of them are held in memory, for every question about a closed repo looks at them.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mirror.index.journal import Journal
from mirror.index.lines import Note
from mirror.names import Repo
from mirror.patterns import RepoPattern

GRANT: Final = "grant"

# The reader that stands for whoever can reach the mirror.
EVERYONE: Final = "everyone"


def _unheard() -> None:
    """Tell nobody."""


class Grants:
    """The grants of one data folder, as *journal* has them; may be used from several threads.

    *changed* is told after each change, before anybody hears that it was made.
    """

    def __init__(self, journal: Journal, changed: Callable[[], object] = _unheard) -> None:
        self._journal = journal
        self._changed = changed
        self._lock = threading.Lock()
        self._held: dict[RepoPattern, frozenset[str]] = {}
        for subject, value in journal.notes(GRANT).items():
            readers = value.get("readers")
            try:
                pattern = RepoPattern.parse(subject)
            except ValueError:
                continue  # A later version's word, or damage: what cannot be read admits nobody.
            if isinstance(readers, list):
                self._held[pattern] = frozenset(name for name in readers if isinstance(name, str))

    def admits(self, repo: Repo, reader: str = "") -> bool:
        """Whether *reader* (a user of local access control; empty: anybody) was granted *repo*."""
        return any(
            (EVERYONE in readers or (reader and reader in readers)) and pattern.matches(repo)
            for pattern, readers in self._held.items()
        )

    def held(self) -> Mapping[str, tuple[str, ...]]:
        """Who was granted what: readers by pattern, both in order."""
        pairs = sorted((pattern.text, readers) for pattern, readers in self._held.items())
        return {pattern: tuple(sorted(readers)) for pattern, readers in pairs}

    def give(self, pattern: RepoPattern, readers: Iterable[str]) -> None:
        """Let *readers* read what *pattern* matches, beside those who already may.

        It is on the disk when this returns. Raises `StoreError` when it cannot be brought there.
        """
        with self._lock:
            self._put(pattern, self._held.get(pattern, frozenset()) | set(readers))

    def withdraw(self, pattern: RepoPattern, readers: Iterable[str] = ()) -> bool:
        """Take the grant of *pattern* back from *readers*, or from all of them; tells whether it was held.

        Raises `StoreError` when that cannot be brought to the disk; it counts at once all the same.
        """
        with self._lock:
            held = self._held.get(pattern)
            if held is None:
                return False
            gone = set(readers) or held
            if not gone & held:
                return False
            # Whoever lost it must not read on because a disk is full.
            self._held = {**self._held, pattern: held - gone}
            self._changed()
            self._put(pattern, held - gone)
            return True

    def _put(self, pattern: RepoPattern, readers: frozenset[str]) -> None:
        value = {"readers": sorted(readers)} if readers else None
        self._journal.note(Note(GRANT, pattern.text, value))
        # A new table, for those who read it meanwhile do not wait.
        held = {**self._held, pattern: readers}
        self._held = {pattern: names for pattern, names in held.items() if names}
        self._changed()
