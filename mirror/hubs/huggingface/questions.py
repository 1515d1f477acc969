"""What requests to the Hub mean: one small type per kind of answer.

`RepoFile` is the artifact; the rest are documents, and git's own protocol is a tunnel. A *chained*
question comes from another mirror, which may see Xet hashes because it serves its own CAS from them.
"""

from dataclasses import dataclass

from mirror.names import Artifact, Document


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoFile(Artifact):
    """A file to resolve. With *raw*, LFS files are their pointer text.

    *alternates* are tried in order where *path* does not exist.
    """

    alternates: tuple[str, ...] = ()
    raw: bool = False
    chained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoInfo(Document):
    """The description of a repo at a revision; *blobs* adds sizes and digests to its siblings.

    *query* is not empty where the client wants more than a plain call gives (``expand``, security
    status): upstream is then asked with that query, and *expand* narrows what is composed offline.
    """

    revision: str
    blobs: bool = False
    query: str = ""
    expand: tuple[str, ...] = ()
    chained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoTree(Document):
    """A page of a file listing below *folder* ("" is the root), after *cursor*, of *limit* entries.

    *foreign* tells a cursor that upstream gave out; *query* is the client's, verbatim.
    """

    revision: str
    folder: str = ""
    recursive: bool = False
    expand: bool = False
    limit: int = 1000
    after: str = ""
    foreign: bool = False
    query: str = ""
    chained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PathsInfo(Document):
    """The entries of some *paths*; with *expand*, their last commit too."""

    revision: str
    paths: tuple[str, ...]
    expand: bool = False
    chained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoRefs(Document):
    """The branches, tags, conversions and, with *prs*, pull requests of a repo."""

    prs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoPage(Document):
    """An API call below a repo that upstream alone can answer: commits, discussions, parquet lists.

    *tail* is what follows the repo in the target, query included.
    """

    tail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed(Document):
    """Any other API call, passed on as the caller; *lifetime* in seconds, 0 for this request alone."""

    target: str
    lifetime: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthCheck(Document):
    """Whether the caller may read a repo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed(Document):
    """What is answered without asking anyone."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByToken(Document):
    """A document whose *caller* is the one a token of ours was made out to.

    *caller* is `None` where no token was shown; *expires* is wall time, `None` for never.
    """

    expires: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LfsBatch(Document):
    """A git-lfs request to download *objects* (sha256 hex and size), checked out at *revision*."""

    revision: str
    objects: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject(ByToken):
    """Content asked for by its digest alone.

    *revision* is whose files are looked through when no stored snapshot knows it. With *oci* the name is
    a layer of a registry image: the Hub makes small ones up, and clients want a Location.
    """

    sha256: str
    revision: str = "main"
    oci: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OciManifest(Document):
    """A registry manifest; *agent* is the User-Agent upstream must see, since its answer depends on it."""

    tag: str
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class XetToken(Document):
    """A token for the mirror's own CAS."""

    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction(ByToken):
    """How to put together the file with *xet_hash*: *version* of the answer's shape, asked *span*."""

    commit: str
    xet_hash: str
    version: int
    span: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Xorb(ByToken):
    """The *index*-th xorb of the file with *digest* (``algorithm:hex``) of *size* bytes."""

    commit: str
    digest: str
    size: int
    index: int
