"""What clients have fetched from a mirror, as a lock: `modelmirror lock --from-use`."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from mirror.bundle.endpoint import Endpoint
from mirror.bundle.lockfile import PREFIXES, Locked
from mirror.bundle.needs import Goal, Need
from mirror.bundle.outcome import Wanted
from mirror.bundle.warming import goals
from mirror.cli.ordering import give
from mirror.cli.wanting import endpoint_of
from mirror.digest import Digest
from mirror.errors import MirrorError
from mirror.targets import Target

# The name of a branch that a target needs not name.
_MAIN: Final = "main"


def used(
    data: Path | None,
    file: Path | None,
    since: float | None,
    known: Callable[[Endpoint, list[Goal]], list[Goal]],
) -> tuple[list[Locked], list[tuple[Wanted, MirrorError]]]:
    """What has been used within *since* seconds, ever where that is `None`; and what of it cannot be locked.

    Of repos the files that were used, by the newest revision that has them. *known* adds the digests that a
    mirror knows. Raises `MirrorError`.
    """
    told = _Told(data, file, None if since is None else time.time() - since)
    locked = list(told.repos())
    wanted = [Wanted(target) for target in told.addresses()]
    if not wanted:
        return locked, []
    with endpoint_of(None, data, file, offline=True) as endpoint:
        good, bad = goals(wanted, endpoint)
        return [*locked, *map(Locked, known(endpoint, good))], bad


class _Told:
    """What the operator's list tells; *begin* is a wall time."""

    def __init__(self, data: Path | None, file: Path | None, begin: float | None) -> None:
        self._data = data
        self._file = file
        self._begin = begin
        self._all = self._ls("")

    def repos(self) -> Iterator[Locked]:
        """Each revision with the files of it that count, a file once."""
        for repo in self._all["repos"]:
            if not self._counts(repo):
                continue
            revisions = [row for row in self._ls(repo["name"])["revisions"] if self._counts(row)]
            revisions.sort(key=lambda row: row["seen"] or 0.0, reverse=True)
            told: set[tuple[str, str]] = set()
            for row in revisions:
                locked = self._revision(repo["name"], row, told)
                if locked is not None:
                    yield locked

    def addresses(self) -> Iterator[Target]:
        """What counts of other hosts."""
        for row in self._all["addresses"]:
            if self._counts(row) and row["stored"]:
                try:
                    yield Target.parse(row["address"])
                except MirrorError:
                    continue  # A page or an index: no file that somebody loads.

    def _revision(
        self, name: str, row: Mapping[str, Any], told: set[tuple[str, str]]
    ) -> Locked | None:
        commit = row["commit"]
        names = row["revision"] or [commit]
        target = Target.parse(name if _MAIN in names else f"{name}@{names[0]}")
        needs = []
        for file in self._ls(f"{name}@{commit}")["files"]:
            # A file of several revisions is one: it is known by its bytes when each was asked for.
            key = (file["path"], file["digest"])
            if self._counts(file) and file["stored"] and key not in told:
                told.add(key)
                needs.append(_need(target, commit, file))
        return Locked(Goal(Wanted(target), needs, commit)) if needs else None

    def _ls(self, target: str) -> Mapping[str, Any]:
        return give(self._data, self._file, "ls", {"target": target, "files": False})

    def _counts(self, row: Mapping[str, Any]) -> bool:
        when = row["last_used"]
        return when is not None and (self._begin is None or when >= self._begin)


def _need(target: Target, commit: str, file: Mapping[str, Any]) -> Need:
    digest = Digest.parse(file["digest"])
    return Need(
        source=f"/{PREFIXES[target.kind]}{target.name}/resolve/{commit}/{quote(file['path'])}",
        name=file["path"],
        of=str(target),
        size=file["size"],
        digest=digest if digest.proves else None,
        restricted=True,
    )
