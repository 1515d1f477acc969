"""What a client asks for, and what upstream told us about it: questions and facts.

A **question** is what a request means to its hub. **Facts** are what upstream told us, each with the
wall time it was seen. Hubs turn requests into questions and responses into facts; the cache keeps the
facts and says which of them are still good enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, TypeAlias

from mirror.digest import Digest
from mirror.messages import Response, UpstreamRequest


class Access(IntEnum):
    """What a caller must be allowed before a question about a repo is answered."""

    NONE = 0
    """Nothing: no repo's name or content is in the answer, or upstream itself decides on each call."""
    LIST = 1
    """Names, sizes and cards. The Hub lists gated repos to everyone, private ones to their readers."""
    READ = 2
    """Bytes."""


@dataclass(frozen=True, slots=True, order=True)
class Repo:
    """A repo of a hub: *name* is in the hub's own form, for the Hub ``models/acme/tiny-bert``."""

    hub: str
    name: str

    def __str__(self) -> str:
        return f"{self.hub}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one request means to its hub.

    *repo* is the repo whose audience must admit the caller at *access*, `None` with `Access.NONE`; *about*
    is then the repo that the request names, if any, of whose readers upstream itself decides.
    *caller* is whom a token signed by the mirror was made out to (`Facts.caller`), in place of the
    request's own credential; `None` where the request speaks for itself. *anonymous* means that no
    credential goes upstream, whoever asks: the hub has none. *title* is what sentences call it, where that is
    not its path in its repo. Hubs subclass the three kinds below with what they need to answer.
    """

    repo: Repo | None = None
    access: Access = Access.NONE
    caller: str | None = None
    about: Repo | None = None
    anonymous: bool = False
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(Question):
    """One file of one revision of one repo. *path* is decoded, without a leading slash."""

    revision: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Question):
    """A small composed answer: listing, API reply, manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel(Question):
    """A request passed through to upstream as a stream, never stored; *request* is what to send."""

    request: UpstreamRequest


# ── facts ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Ref:
    """A revision of *repo* pointed at *commit* (40 hex) at wall time *seen_at*."""

    repo: Repo
    revision: str
    commit: str
    seen_at: float


class SnapshotState(StrEnum):
    """How much of a commit's file list is known."""

    PENDING = "pending"
    """Being read behind the request at hand, or interrupted: entries are partial, absence unproven."""
    COMPLETE = "complete"
    """Every path is known; what is not in it does not exist."""
    LARGE = "large"
    """More entries than `tree_limit`: the repo stays per path."""


ADOPTED: Final = "adopted"
"""The view of a snapshot of which a client's cache told some files."""
ADOPTED_WHOLE: Final = "adopted-whole"
"""The same, where the cache had the whole list, if not all of the files."""
LISTED: Final = "listed"
"""The kind of an entry that stands in such a list alone, without a digest: the cache had no such file."""


def adopted(commit: str) -> str:
    """What *commit* is called where a client's cache told of it: upstream's own word stays apart."""
    return f"~{commit}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The head of one commit's file list.

    *view* tells whose eyes it was seen with: ``full``, or ``redacted`` where upstream hid hashes; a client's
    (`ADOPTED`, `ADOPTED_WHOLE`) under the name alone that `adopted` gives its commit.
    *info* is upstream's JSON description of the repo at that commit, unaltered, b"" if not yet known.
    """

    repo: Repo
    commit: str
    state: SnapshotState
    view: str
    info: bytes
    seen_at: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of one commit.

    *kind* is ``file`` or ``directory`` (or `LISTED`); *size* in bytes (0 for a directory); *digest* is the
    published digest of the content, `None` for a directory; *oid* is git's object id; *xet* the Xet hash or
    `None`; *raw* is upstream's JSON element, unaltered.
    """

    path: str
    kind: str
    size: int
    digest: Digest | None
    oid: str
    xet: str | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries seen for one commit: a page of its tree, or a few paths that were asked for.

    *absent* are the paths that upstream was asked for and does not have at that commit.
    """

    repo: Repo
    commit: str
    entries: tuple[Entry, ...]
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Visibility:
    """Who may see *repo*: *private* hides its existence, *gated* closes its content."""

    repo: Repo
    private: bool
    gated: bool
    seen_at: float


@dataclass(frozen=True, slots=True)
class Alias:
    """*asked* is another name (an old one, another case) of *repo*, whose upstream id is *upstream_id*."""

    asked: Repo
    repo: Repo
    upstream_id: str
    seen_at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Upstream took (*accepted*) or refused this caller's credential for *repo* at *access*.

    It says nothing of whose credential: the cache knows that and adds its fingerprint.
    """

    repo: Repo
    access: Access
    accepted: bool
    seen_at: float


@dataclass(frozen=True, slots=True)
class Reply:
    """Upstream's whole answer to a document request, kept under *key*.

    *lifetime* is in seconds: how long it may be used without asking again. With *lasting* it goes to the
    catalog and may be shown, as stale, when upstream cannot be asked; otherwise it lives in the memo or,
    at a lifetime of 0, only as long as the request at hand. *private* keeps it to the caller's own
    credential.
    """

    key: str
    response: Response
    seen_at: float
    lifetime: float = 0.0
    lasting: bool = False
    private: bool = False


@dataclass(frozen=True, slots=True)
class Lead:
    """Another upstream request that the same need calls for: the next page of a listing."""

    request: UpstreamRequest


Fact: TypeAlias = Ref | Snapshot | Entries | Visibility | Alias | Verdict | Reply | Lead


@dataclass(frozen=True, slots=True)
class Need:
    """One upstream request that a question still lacks.

    *key* is what two callers with the same credential class share. *limit* bounds the response body in
    bytes; with 0 the head alone is wanted, however long the body. With *pages*, absorbing a response may
    lead on to the next page; the cache then waits at most 2 s or 5 pages and lets the rest go on behind.
    With *as_caller* the caller's own credential goes along even for a public repo (the answer is about
    the caller). With *optional* the question can do without: where upstream gives no usable answer in
    time, the hub absorbs a 503 of its own.
    """

    key: str
    request: UpstreamRequest
    limit: int = 32 << 20
    pages: bool = False
    as_caller: bool = False
    optional: bool = False
    context: Mapping[str, str] = field(default_factory=dict)
