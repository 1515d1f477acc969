"""What a hub of hosted files says of addresses: places, and the routes that they are.

A family's own file needs no more than this; `mirror.hubs.hosted` makes a hub of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from mirror.digest import Check, Digest
from mirror.names import Artifact, Document


class Kind(StrEnum):
    """What may become of the content of an address."""

    PROVEN = "proven"
    """Its digest is published: it is that, or nothing."""
    PINNED = "pinned"
    """It has a version in its name and no digest: the first download is believed."""
    MOVING = "moving"
    """It changes: each version is recorded, and looked for again when its lifetime is over."""
    REGENERATED = "regenerated"
    """It is made anew for each request, of content that never changes: other bytes of it are noted."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address below a host: *path* still percent-encoded, beginning with ``/``; *query* raw."""

    host: str
    path: str
    query: str = ""

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def url(self) -> str:
        """The address as clients know it."""
        return f"https://{self.host}{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a document says of a file.

    *digest* and *checks* are of its content, *size* in bytes, `None` where it is not told. *sources* are
    where the bytes come from, in order, if not from where the file was asked for.
    """

    digest: Digest | None = None
    checks: tuple[Check, ...] = ()
    size: int | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A document that may tell more of a file than its own head does.

    *target* is where it is; *read* makes of *file* (what the file is called in it) and its body what it says
    of the file, `None` where it says nothing.
    It is asked for only if the file is shorter than *below* bytes, where that is set. With *needed* nothing
    is served without it; else the file is served without what it says where it cannot be had.
    """

    target: str
    file: str
    read: Callable[[str, bytes], Told | None]
    below: int | None = None
    needed: bool = False

    @property
    def key(self) -> str:
        """What it is kept under: several files may share it."""
        return f"ASIDE {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a hub says of one address.

    *target* is what upstream is asked for: a path on the hub's own upstreams, or an absolute URL on an
    allow-listed host. *digest* (where it is proven) and *checks* are what is published of the content. A
    *document* is small and kept whole. *probe* is the method that a head is asked for with: ``GET`` for
    what redirects to addresses that are signed for it. *transform* names what is made of the content before
    it is served. *aside* may tell more of it. With *presence* a document is only asked whether it is there,
    and is empty. With *collect* the length of a file is not believed: it is taken to its end before it is
    served, and may come with other bytes the next time. *accept* is the type that a document is wanted in;
    one with *post* is asked for by a POST of this JSON.
    """

    target: str
    kind: Kind
    digest: Digest | None = None
    checks: tuple[Check, ...] = ()
    document: bool = False
    probe: str = "HEAD"
    transform: str = ""
    aside: Aside | None = None
    presence: bool = False
    collect: bool = False
    accept: str = ""
    post: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedFile(Artifact):
    """A file at *place*, which is what *route* says."""

    place: Place
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedDocument(Document):
    """A small document at *place*, which is what *route* says."""

    place: Place
    route: Route


Router: TypeAlias = Callable[[Place], Route]
"""Says what a place is; raises `QuestionError` for what the hub does not serve."""

ShortForm: TypeAlias = Callable[[str, str], Place]
"""Reads what follows a short form's prefix, and the query, as a place."""


def _all(_place: Place) -> bool:
    """Every place of the hosts."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One hub.

    *name* stands in settings and counters. Of the *hosts* that it answers for, the first *upstreams* many
    are asked, in that order. *router* says what each place is. *sources* are hosts that it asks besides, and
    answers nothing for.

    *takes* tells which places of shared hosts are its own. *short* are the forms that people can type, by
    what they begin with.
    """

    name: str
    hosts: tuple[str, ...]
    router: Router
    upstreams: int = 1
    sources: tuple[str, ...] = ()
    takes: Callable[[Place], bool] = _all
    short: Mapping[str, ShortForm] = field(default_factory=dict)
