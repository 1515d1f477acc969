"""Requests, responses and answers as values: what crosses the doors, without a socket.

Two doors exist: clients come in by one (`RequestHead`, `Answer`), upstream is asked through the other
(`UpstreamRequest`, `Response`). Between them everything is a value, so hubs can be pure functions.
"""

from collections.abc import AsyncIterator, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from mirror.credential import Credential
from mirror.digest import Check, Digest

# Nothing a read sends is larger: `paths-info` of 10 000 paths is 600 KiB, a git negotiation 200 KiB.
MAX_REQUEST_BODY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a client's request.

    *path* is the raw target's path, still percent-encoded, beginning with ``/``; *query* the raw query
    without its ``?``; *headers* have lower-case names and no ``authorization``, which is *credential*;
    *base_url* is how this client reaches the mirror, without a trailing slash. With *again* whoever asks
    could make use of the `Terms` on which the answer may be given again.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    credential: Credential | None
    base_url: str
    again: bool = False

    @property
    def only_stored(self) -> bool:
        """Whether upstream is not to be asked (RFC 9111 §5.2.1.7)."""
        return "only-if-cached" in self.headers.get("cache-control", "").lower()


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request the mirror makes, built from scratch and never copied from a client.

    *target* is a path (``/api/…``, with its query) on the hub's own upstreams, or an absolute URL on an
    allow-listed host; *others* are targets that have the same bytes, asked in order where the ones before
    fail or refuse. The credential is not part of it: the cache decides whose goes along.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """Upstream's whole answer to a metadata request.

    *base* is the upstream base URL that answered (no trailing slash) and *url* where redirects led;
    *headers* have lower-case names, repeated ones joined by ``, ``.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    base: str
    url: str


def doubt(source: UpstreamRequest, host: str) -> str:
    """What the operator can do where *source* of *host* has other bytes than came first from there."""
    at = source.target if "://" in source.target else f"https://{host}{source.target}"
    return f" If upstream changed it for good: modelmirror accept '{at}'"


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob an answer wants to send from: stored already, or to be filled.

    *digest* is the published digest (sha256 or git blob sha1), or where nothing is published the name of
    its source, under which the first download is believed and every later one must be the same; *checks*
    are what else is known of it; *size* in bytes; *source* is where its bytes come from; *hub* and *repo*
    say on whose account they are fetched, *path* which file of it that is. With *believed* the digest is
    what came first, and nothing is published.
    """

    digest: Digest
    size: int
    source: UpstreamRequest
    hub: str
    repo: str
    path: str = field(default="", compare=False)
    checks: tuple[Check, ...] = ()
    believed: bool = field(default=False, compare=False)

    @property
    def doubt(self) -> str:
        """What the operator can do about other bytes than those that are *believed*, in a sentence."""
        if not self.believed:
            return ""
        return doubt(self.source, self.repo)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes *start* up to but not including *end* of a blob."""

    blob: BlobRef
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Derived:
    """A whole body whose length is known only once it has been made; it is made once and kept.

    *name* is what it is known by (a source: what it is made of, and how); *transform* names what makes it
    of *made_of*, which may have to be made itself; without that it is what *source* sends, to its end.
    *hub* and *repo* are as in `BlobRef`.

    What is sent is held against *expected* and *checks*, where something is published of it, and against
    what came first; not with *regenerated*: then upstream makes it anew, of the same content, as it likes.
    """

    name: Digest
    source: UpstreamRequest
    hub: str
    repo: str
    made_of: "BlobRef | Derived | None" = None
    transform: str = ""
    expected: Digest | None = None
    checks: tuple[Check, ...] = ()
    regenerated: bool = False


Segment: TypeAlias = bytes | Span


@dataclass(frozen=True, slots=True)
class Terms:
    """On which an answer may be given again, to whoever sends the same request: what `Leases.grant` takes.

    It rests on *about* (repos, and the digests of blobs that are here) as they were after *as_of* changes,
    and is good from wall time *since* until *until* as long as they stay so.
    """

    about: frozenset[Hashable]
    as_of: int
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer to a client.

    *headers* do not hold Content-Length, Content-Range, ETag or Accept-Ranges: the door writes those
    from *body*, *etag* (strong, without quotes) and *ranges* (whether Range applies). A *derived*
    body is made before the door sees the answer. *found* is how the
    answer was found (RFC 9211: ``hit``, ``stale``, ``miss``, ``collapsed``; or ``bypass``). *credential*
    is what a fill of the body may borrow, in memory only; *hub* is whose answer it is, for the counters;
    *terms* are those on which everybody may be given it again, `None` where it is good for once.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: tuple[Segment, ...] = ()
    etag: str | None = None
    ranges: bool = False
    found: str = "hit"
    credential: Credential | None = field(default=None, repr=False)
    hub: str = ""
    derived: Derived | None = None
    terms: Terms | None = None

    @property
    def size(self) -> int:
        """The length of the whole body in bytes."""
        return sum(len(segment) for segment in self.body)


@dataclass(frozen=True, slots=True)
class Relay:
    """An answer passed through as it comes from upstream, stored nowhere.

    *size* is its length in bytes, `None` if upstream did not say; *chunks* ends normally only when
    upstream's body did, and raises otherwise; the door cuts the connection then.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    size: int | None
    chunks: AsyncIterator[bytes]
    hub: str = ""
