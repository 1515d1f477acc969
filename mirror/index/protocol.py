"""What an index must be able to do, whatever keeps it.

The catalog is the one that serves; a double in memory passes the same suite, so that a test of the layers
above may use either and mean both.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from mirror.digest import Digest
from mirror.names import (
    Access,
    Alias,
    Entry,
    Fact,
    Ref,
    Reply,
    Repo,
    Snapshot,
    Verdict,
    Visibility,
)


@dataclass(frozen=True, slots=True)
class Totals:
    """How many blobs are stored, and how many bytes they have."""

    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A stored blob of *size* bytes; *used* is a counter that grows with every use of any blob."""

    digest: Digest
    size: int
    used: int


@dataclass(frozen=True, slots=True)
class RepoRow:
    """One repo as status and home page show it.

    *commits* of it are known with *files* distinct contents, of which *files_stored* are here with
    *bytes_stored* bytes; *visibility* is `None` while unknown, which counts as private; *seen_at* is
    when upstream last told something of it.
    """

    repo: Repo
    commits: int
    files: int
    files_stored: int
    bytes_stored: int
    visibility: Visibility | None
    seen_at: float


class Index(Protocol):
    """What upstream told us, by every key that it is looked up by.

    Look-ups answer at once, on any thread, with what was last recorded and when it was seen: how old is
    too old is for the cache to say. What writes returns a future, which ends once every look-up sees it.
    """

    # ── what upstream said ─────────────────────────────────────────────────────────────────────

    def record(self, facts: Sequence[Fact], as_of: int | None = None) -> "Future[None]":
        """Write *facts* down, all of them or none.

        *as_of* is what `forgettings` was when what they build on was looked at. Where that has changed, a
        complete list may lack its first pages by now: it counts as begun.

        Leads and replies that are not lasting are passed over, and so are verdicts, for which
        `record_verdict` wants to know whose they are. A complete snapshot stays complete; an empty
        ``info`` keeps the known one; a redacted view never replaces what a full one showed.
        """
        ...

    def record_verdict(self, fingerprint: str, verdict: Verdict) -> "Future[None]":
        """Write down what upstream said to the credential named *fingerprint*."""
        ...

    def ref(self, repo: Repo, revision: str) -> Ref | None:
        """The commit that *revision* was last seen at."""
        ...

    def refs(self, repo: Repo) -> Sequence[Ref]:
        """Every revision of *repo* ever seen, by name."""
        ...

    def snapshot(self, repo: Repo, commit: str) -> Snapshot | None:
        """The head of the file list of *commit*; `None` while only entries of it were seen."""
        ...

    def commits(self, repo: Repo) -> Sequence[str]:
        """Every commit of *repo* of which something is known, in no order."""
        ...

    def entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """One path of *commit*, if known to exist."""
        ...

    def absent(self, repo: Repo, commit: str, path: str) -> bool:
        """Whether *path* is proved not to exist: upstream said so, or the list is complete without it."""
        ...

    def absences(self, repo: Repo, commit: str) -> Sequence[str]:
        """The paths that upstream was asked for and does not have at *commit*, in path order."""
        ...

    def listing(
        self, repo: Repo, commit: str, folder: str, *, recursive: bool, after: str, limit: int
    ) -> Sequence[Entry]:
        """Known entries below *folder* ("" is the root) in path order after *after*, at most *limit*."""
        ...

    def by_digest(self, repo: Repo, hex_digest: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry whose content has this digest, sha256 or git sha1 in hex.

        A small file that upstream names by its git sha1 alone is found by its sha256 once it is linked.
        """
        ...

    def by_xet(self, repo: Repo, xet_hash: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this Xet hash; a redacted hash finds nothing."""
        ...

    def visibility(self, repo: Repo) -> Visibility | None:
        """Who may see *repo*, as last seen."""
        ...

    def alias(self, asked: Repo) -> Alias | None:
        """The repo that *asked* is another name of."""
        ...

    def verdict(self, fingerprint: str, repo: Repo, access: Access) -> Verdict | None:
        """What upstream last said to the credential named *fingerprint* about *repo* at *access*."""
        ...

    def accepted_anywhere(self, fingerprint: str) -> bool:
        """Whether upstream took the credential named *fingerprint* for any repo, last it was asked."""
        ...

    def reply(self, key: str) -> Reply | None:
        """Upstream's lasting answer kept under *key*."""
        ...

    def reply_keys(self, after: str, limit: int) -> Sequence[str]:
        """The keys of at most *limit* lasting answers, in order, from the first beyond *after*."""
        ...

    def forms(self, document: str, limit: int) -> int:
        """In how many forms *document* is kept, counted up to *limit*.

        A form is a reply whose key is the document's method and path, then ``?`` or a space and more.
        """
        ...

    def repos(self, *, public_only: bool) -> Sequence[RepoRow]:
        """Every repo that something is known of, by name; gated and unknown ones are not public."""
        ...

    def row(self, repo: Repo) -> RepoRow | None:
        """What `repos` says of *repo*."""
        ...

    def shown(self, text: str, *, after: Repo | None, limit: int) -> Sequence[RepoRow]:
        """Public repos of which bytes are stored and whose name has *text* in it, at most *limit*.

        By name, from the first behind *after*. *text* is found in either case of ASCII letters.
        """
        ...

    def shown_counts(self) -> Mapping[tuple[str, str], int]:
        """How many repos `shown` could show: by hub and the first word of the name (``models``)."""
        ...

    def missing(self, repo: Repo, commit: str, *, after: str = "", limit: int) -> Sequence[str]:
        """Paths of *commit* whose content is known and not here, in order behind *after*, at most *limit*."""
        ...

    def keys(self, begin: str, *, after: str, limit: int) -> Sequence[str]:
        """Keys of lasting replies that begin with *begin*, in order behind *after*, at most *limit*."""
        ...

    # ── what the store holds ───────────────────────────────────────────────────────────────────

    def stored(
        self, blobs: Sequence[tuple[Digest, int]], links: Sequence[tuple[Digest, Digest]] = ()
    ) -> "Future[None]":
        """Note that *blobs* (sha256 and size in bytes) are here, used just now.

        *links* name each git sha1 that is now known to be one of them, as in `link`.
        """
        ...

    def dropped(self, digests: Sequence[Digest]) -> "Future[None]":
        """Note that the blobs of these sha256 are here no longer."""
        ...

    def touch(self, digests: Sequence[Digest]) -> "Future[None]":
        """Note that the blobs of these sha256 were wanted, in this order; unknown ones are passed over."""
        ...

    def link(self, name: Digest, sha256: Digest) -> "Future[None]":
        """Note that what *name* (a git sha1, a source) names is stored as *sha256*; the first word stands."""
        ...

    def sha256_of(self, name: Digest) -> Digest | None:
        """The name in the store of what *name* (a git sha1, a source) names."""
        ...

    @property
    def drops(self) -> int:
        """How often content was taken away: what was whole at the same number is whole still."""
        ...

    def size_of(self, name: Digest) -> int | None:
        """How many bytes the stored blob has that *name* (any digest, a source) names; `None` without one."""
        ...

    def names_of(self, sha256: Digest) -> Sequence[Digest]:
        """The other names (git sha1, sources) that the blob *sha256* is known by."""
        ...

    def holders(self, sha256: Digest) -> Sequence[Repo]:
        """The repos that have a file with the content of the blob *sha256*, by name."""
        ...

    def blob(self, sha256: Digest) -> StoredBlob | None:
        """One stored blob."""
        ...

    @property
    def last_use(self) -> int:
        """The number of the last use of any blob."""
        ...

    def contents(self) -> Iterator[tuple[Repo, StoredBlob]]:
        """Each distinct content of a repo that is stored, once for each of its names, by digest.

        What the disk does not take yet is not among them.
        """
        ...

    def totals(self) -> Totals:
        """What is stored, in all."""
        ...

    def least_recent(self, *, after: int, limit: int) -> Sequence[StoredBlob]:
        """At most *limit* blobs in order of last use, from the first whose counter is beyond *after*."""
        ...

    # ── what the operator removes ──────────────────────────────────────────────────────────────

    def forget(self, repo: Repo, commit: str = "") -> None:
        """Forget *commit* of *repo* and the refs onto it; without it the repo, its audience, its names.

        Blocks until it is done, which takes as long as it took to record; nobody sees any of it from the
        start. Raises `StoreError` when the disk refuses: the three that forget are done there or not at all.
        """
        ...

    @property
    def forgettings(self) -> int:
        """A number that grows when forgetting begins, and once more when it is out of sight.

        What was looked up while it changed, or was odd, may be half of what was known.
        """
        ...

    def forget_replies(self, keys: Sequence[str]) -> None:
        """Forget upstream's answers kept under *keys*."""
        ...

    def unlink(self, names: Sequence[Digest]) -> None:
        """Forget what each of *names* is stored as: the next word about it stands."""
        ...

    @property
    def trouble(self) -> str:
        """Why what is learned is only held in memory: a sentence, or "" while the disk takes it."""
        ...

    def finish(self) -> None:
        """Note that it is level with what is durable, once all that was recorded is on the disk."""
        ...

    def close(self) -> None:
        """Write what still waits, then let go; may be called twice."""
        ...
