"""What targets need of a mirror: the files that it serves, for what is done without laying them out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mirror.bundle.choosing import chosen
from mirror.bundle.endpoint import Endpoint
from mirror.bundle.outcome import Wanted
from mirror.bundle.places import Places
from mirror.bundle.plan import Plan
from mirror.bundle.planning import Planner
from mirror.digest import Digest
from mirror.targets import REPOS

_COMMIT: Final = re.compile(r"/resolve/([0-9a-f]{40})/")
# Plans have places; this one is taken off again.
_AT: Final = "at/"


@dataclass(frozen=True, slots=True)
class Need:
    """One file: *source* is path and query at the mirror, *name* what people know it by, *of* its target.

    *size* is in bytes; it and *digest* are `None` where they are not known. What has no length before it has
    been made, an archive, is *made*. With *moving* the mirror is to look whether it has changed.
    """

    source: str
    name: str
    of: str
    size: int | None = None
    digest: Digest | None = None
    made: bool = False
    moving: bool = False
    restricted: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """A target and all that it needs; *commit* is that of a repo, else ``""``."""

    wanted: Wanted
    needs: Sequence[Need]
    commit: str = ""


def goal_of(wanted: Wanted, endpoint: Endpoint) -> Goal:
    """Have the mirror at *endpoint* tell what a target needs. Raises `MirrorError`."""
    planner = Planner(endpoint, Places({}, "/"), chosen, real=True)
    plan = planner.plan(wanted.target, _AT)
    moving = wanted.target.kind not in REPOS and not wanted.target.pinned
    needs = _needs(plan, str(wanted.target), moving=moving)
    commit = _COMMIT.search(needs[0].source) if wanted.target.kind in REPOS and needs else None
    return Goal(wanted, needs, commit[1] if commit else "")


def _needs(plan: Plan, of: str, *, moving: bool) -> Sequence[Need]:
    files = [
        Need(
            source=file.source,
            name=file.paths[0].removeprefix(_AT),
            of=of,
            size=file.size,
            digest=file.digest,
            moving=moving and file.digest is None,
            restricted=file.restricted,
        )
        for file in plan.files
    ]
    archives = [
        Need(
            source=archive.source,
            name=archive.source.removeprefix("/-/"),
            of=of,
            digest=archive.digest,
            made=True,
        )
        for archive in plan.archives
    ]
    return [*files, *archives]
