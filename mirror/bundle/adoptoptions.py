"""What the operator wants of an adoption."""

from dataclasses import dataclass

from mirror.bundle.adopttake import Link
from mirror.patterns import RepoPattern


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator wants.

    With *unverified* content is taken of which nothing is published; *grants* open repos to everyone;
    with *dry_run* nothing is taken; with *ask* upstream is asked about what was found, where it can be.
    """

    link: Link = Link.REFLINK
    dry_run: bool = False
    unverified: bool = False
    ask: bool = True
    grants: tuple[RepoPattern, ...] = ()
