"""What a hub must say about itself: five pure functions.

A hub never opens a socket or a file, never awaits, and keeps no state: it reads requests, says which
upstream requests are missing, turns responses into facts, and turns facts into answers. So its tests
are tables, and a new hub is one file.
"""

from collections.abc import Sequence
from typing import Protocol

from mirror.errors import MirrorError
from mirror.messages import Answer, RequestHead, Response
from mirror.names import Access, Entry, Fact, Need, Question, Ref, Reply, Repo, Snapshot, Visibility


class Facts(Protocol):
    """What is known, as one caller may use it for one question.

    A look-up returns `None` for what is unknown or no longer fresh enough. When upstream cannot be
    asked, the same look-ups also return what is stale.
    """

    @property
    def now(self) -> float:
        """Wall time, seconds since the epoch."""
        ...

    @property
    def offline(self) -> bool:
        """Whether upstream cannot be asked: stale facts are shown, and no need will be met."""
        ...

    @property
    def caller(self) -> str:
        """What tells this caller from others, for passes made out to them; empty for an anonymous one."""
        ...

    def canonical(self, repo: Repo) -> Repo:
        """The repo that *repo* is an alias of, or *repo* itself."""
        ...

    def visibility(self, repo: Repo) -> Visibility | None:
        """Who may see *repo*, as last seen."""
        ...

    def admitted(self, repo: Repo, access: Access) -> bool:
        """Whether this caller may be answered about *repo* at *access* without asking upstream."""
        ...

    def ref(self, repo: Repo, revision: str) -> Ref | None:
        """The commit that *revision* points at."""
        ...

    def refs(self, repo: Repo) -> Sequence[Ref]:
        """Every revision of *repo* seen so far, however old."""
        ...

    def snapshot(self, repo: Repo, commit: str) -> Snapshot | None:
        """The head of the file list of *commit*."""
        ...

    def entry(self, repo: Repo, commit: str, path: str) -> Entry | None:
        """One path of *commit*, if known to exist."""
        ...

    def absent(self, repo: Repo, commit: str, path: str) -> bool:
        """Whether *path* is proved not to exist at *commit*."""
        ...

    def listing(
        self, repo: Repo, commit: str, folder: str, *, recursive: bool, after: str, limit: int
    ) -> Sequence[Entry]:
        """Entries below *folder* ("" is the root) in path order after *after*, at most *limit*."""
        ...

    def by_digest(self, repo: Repo, hex_digest: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry whose content has this digest, sha256 or git sha1 in hex."""
        ...

    def by_xet(self, repo: Repo, xet_hash: str) -> tuple[str, Entry] | None:
        """A commit of *repo* and its entry with this Xet hash."""
        ...

    def reply(self, key: str) -> Reply | None:
        """Upstream's answer kept under *key*."""
        ...


class Hub(Protocol):
    """The grammar of one upstream family.

    The order of calls for one request: `recognise` once; then `needs` and `absorb` in rounds until
    nothing is missing; then `answer`. `refuse` words any error on the way.
    """

    @property
    def name(self) -> str:
        """The hub's name, as it stands in `Repo.hub` and in settings."""
        ...

    def recognise(self, head: RequestHead, body: bytes) -> Question | None:
        """Say what a request means, or `None` if it is not of this hub.

        *body* is at most `MAX_REQUEST_BODY` bytes. Raises `QuestionError` for a request that is this
        hub's by its form and cannot be answered: a write, a malformed name.
        """
        ...

    def needs(self, question: Question, facts: Facts) -> Sequence[Need]:
        """Name the upstream requests still missing; those of one round are independent."""
        ...

    def absorb(
        self, question: Question, need: Need, response: Response, now: float
    ) -> Sequence[Fact]:
        """Turn a response, of any status below 500 but 429, into facts seen at wall time *now*.

        A refusal that settles the question is raised as `UpstreamRefusedError`; what it teaches beyond
        that (a `Verdict`) travels in the error's ``facts``.
        """
        ...

    def answer(self, question: Question, facts: Facts, base_url: str) -> Answer:
        """Answer from facts alone; every URL in it begins with *base_url*.

        Raises `MirrorError` where the facts say no, `OfflineError` where they do not suffice.
        """
        ...

    def refuse(self, error: MirrorError) -> Answer:
        """Word an error for this hub's clients."""
        ...
