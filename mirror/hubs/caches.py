"""What a client's own cache had of a hub: values for whoever takes such a cache over."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mirror.digest import Digest
from mirror.names import Fact


@dataclass(frozen=True, slots=True)
class CachedFile:
    """One file of a commit: its *path* there, its content's published *digest* and *size* in bytes.

    *oid* is git's object id of it, ``""`` where the cache does not tell. Of one that is not *here* it has the
    name alone.
    """

    path: str
    digest: Digest
    size: int
    oid: str = ""
    here: bool = True


@dataclass(frozen=True, slots=True)
class CachedCommit:
    """What a cache had of one commit, 40 hex digits, of the repo *name* (``acme/tiny-bert``).

    *kind* is how the hub calls repos of its sort (``models``). *files* are those that can be vouched for, and
    all others of the commit where the cache had kept the *whole* list. *absent* are paths that it had been
    told do not exist, *refs* each revision that pointed at the commit with the wall time it was last seen
    there. *seen_at* is the wall time at which the commit was last looked at.
    """

    kind: str
    name: str
    commit: str
    files: tuple[CachedFile, ...]
    seen_at: float
    whole: bool = False
    absent: tuple[str, ...] = ()
    refs: tuple[tuple[str, float], ...] = ()


@runtime_checkable
class Adopts(Protocol):
    """A hub whose clients keep caches of commits."""

    def adopt(self, found: CachedCommit) -> Sequence[Fact]:
        """Turn *found* into facts, none of which upstream has confirmed.

        Raises `QuestionError` for names that the hub does not give out.
        """
        ...
