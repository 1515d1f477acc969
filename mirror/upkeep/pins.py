"""What the operator wants to keep, whatever room is wanted for.

A pin is a note of kind ``pin`` in the journal. Its subject is what was named (`mirror.upkeep.naming`), its
value who it is for, and where it leads: ``{"hub": …, "repo": …, "revision": …}``, every file of the commit
that the revision was last seen at, or of every commit where it is empty; or ``{"path": …, "query": …}``, an
address on another host. A subject of ``sha256:<hex>`` is that blob. Pins are resolved when room is made and
not when they are set, so that a pinned branch keeps what it points at now.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mirror.digest import SHA256, Digest
from mirror.errors import QuestionError
from mirror.index.journal import Journal
from mirror.index.lines import Note
from mirror.index.protocol import Index
from mirror.names import Repo, adopted
from mirror.upkeep.naming import Named, NamedAddress, NamedBlob, NamedRepo

PIN: Final = "pin"

_PAGE: Final = 1000
_MOST: Final = 100  # names that one pin may be for
_LONGEST: Final = 100


@dataclass(frozen=True, slots=True)
class Pin:
    """What is *named* is kept, for those who are *owners*: people or projects."""

    named: Named
    owners: tuple[str, ...]


class Pins:
    """The pins in *journal*, whose blobs *catalog* knows; may be used from several threads.

    *contents* tells what an address on another host has for content, as far as it is known.
    """

    def __init__(
        self,
        journal: Journal,
        catalog: Index,
        contents: Callable[[NamedAddress], Iterable[Digest]],
    ) -> None:
        self._journal = journal
        self._catalog = catalog
        self._contents = contents
        self._lock = threading.Lock()

    def held(self) -> tuple[Pin, ...]:
        """Every pin, by what it names."""
        notes = self._journal.notes(PIN)
        pins = (_read(subject, notes[subject]) for subject in sorted(notes))
        return tuple(pin for pin in pins if pin is not None)

    def give(self, named: Named, owner: str) -> None:
        """Keep what is *named* for *owner*, beside those that it is kept for already.

        It is on the disk when this returns. Raises `QuestionError`, `StoreError`.
        """
        if not owner or len(owner) > _LONGEST or not owner.isprintable():
            raise QuestionError(f"{owner!r} is no name to keep something for.")
        with self._lock:
            owners = dict.fromkeys([*self._owners(named), owner])
            if len(owners) > _MOST:
                raise QuestionError(f"{named} is kept for {_MOST} already.")
            value = {**_leading(named), "for": list(owners)}
            self._journal.note(Note(PIN, str(named), value))

    def withdraw(self, named: Named, owner: str = "") -> bool:
        """Keep it no longer for *owner*, or for nobody; tells whether it was. Raises `StoreError`."""
        with self._lock:
            owners = self._owners(named)
            rest = [name for name in owners if owner and name != owner]
            if len(rest) == len(owners):
                return False
            value = {**_leading(named), "for": rest} if rest else None
            self._journal.note(Note(PIN, str(named), value))
            return True

    def digests(self) -> frozenset[Digest]:
        """The sha256 of every blob that is pinned and known; reads the whole journal."""
        return frozenset(digest for pin in self.held() for digest in self.digests_of(pin))

    def digests_of(self, pin: Pin) -> Iterator[Digest]:
        """The sha256 of each blob that *pin* keeps, as far as they are known."""
        catalog = self._catalog
        match pin.named:
            case NamedBlob(digest):
                yield digest
            case NamedRepo(repo, ""):
                for commit in catalog.commits(repo):
                    yield from files(catalog, repo, commit)
            case NamedRepo(repo, revision):
                ref = catalog.ref(repo, revision)
                yield from files(catalog, repo, revision if ref is None else ref.commit)
            case NamedAddress() as address:
                yield from self._contents(address)

    def _owners(self, named: Named) -> tuple[str, ...]:
        return next((pin.owners for pin in self.held() if str(pin.named) == str(named)), ())


def files(index: Index, repo: Repo, commit: str) -> Iterator[Digest]:
    """The sha256 of each file of *commit*, as far as it is known, a client's cache included."""
    for name in (commit, adopted(commit)):
        after = ""
        while True:
            page = index.listing(repo, name, "", recursive=True, after=after, limit=_PAGE)
            for entry in page:
                digest = entry.digest
                if digest is not None and digest.algorithm != SHA256:
                    digest = index.sha256_of(digest)
                if digest is not None:
                    yield digest
            if len(page) < _PAGE:
                break
            after = page[-1].path


def _leading(named: Named) -> dict[str, str]:
    match named:
        case NamedRepo(repo, revision):
            return {"hub": repo.hub, "repo": repo.name, "revision": revision}
        case NamedAddress(path, query):
            return {"path": path, "query": query}
        case NamedBlob():
            return {}


def _read(subject: str, value: Mapping[str, Any]) -> Pin | None:
    """The pin of a note; `None` for a later version's, or damage."""
    said = value.get("for", [])
    owners = tuple(map(str, said)) if isinstance(said, list) else ()
    hub, repo, revision, path, query = (
        value.get(key) for key in ("hub", "repo", "revision", "path", "query")
    )
    if isinstance(hub, str) and isinstance(repo, str) and isinstance(revision, str):
        return Pin(NamedRepo(Repo(hub, repo), revision), owners)
    if isinstance(path, str) and isinstance(query, str):
        return Pin(NamedAddress(path, query, subject), owners)
    try:
        return Pin(NamedBlob(Digest.parse(subject)), owners)
    except ValueError:
        return None
