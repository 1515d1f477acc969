"""Every way the mirror can say no.

::

    MirrorError
    ├─ QuestionError                  the caller's fault
    │  ├─ MalformedQuestionError      not a request this hub's grammar knows
    │  ├─ MethodRefusedError          a write, or a method that has no meaning here
    │  └─ TooLargeError               a body or header beyond its bound
    ├─ LoopError                      the request has been through this mirror already
    ├─ NotAdmittedError               the caller may not read this repo, as far as is known
    │  └─ NotAllowedError             this mirror's operator does not allow it
    ├─ UpstreamError                  upstream answered, and the answer is no
    │  └─ UpstreamRefusedError        its status, code and message are kept
    ├─ UpstreamUnavailableError       upstream gave no usable answer
    │  ├─ UpstreamUnreachableError    no connection, a time-out, a broken one, a 5xx
    │  ├─ UpstreamBusyError           429: it said when to come back
    │  ├─ TruncatedBodyError          fewer bytes than it promised
    │  └─ ForbiddenTargetError        a redirect or an address that may not be followed
    ├─ OfflineError                   not here, and upstream cannot be asked
    ├─ StoreError                     the disk's fault
    │  ├─ DigestMismatchError         the bytes are not what their name says
    │  ├─ StoreFullError              no room, and nothing may go
    │  ├─ StoreCorruptError           a stored blob is no longer what it was
    │  └─ StoreUnusableError          the data folder cannot be used at all
    └─ ConfigError                    a setting that cannot be

Each carries its facts as attributes and a *hint*: what the reader can do now. Statuses live at the
door (``web/refusals.py``) and in each hub's own words (``Hub.refuse``), not here.
"""

from collections.abc import Mapping
from typing import Final

from mirror.digest import Digest


class MirrorError(Exception):
    """Something the mirror refuses or cannot do.

    *message* is a sentence for people: what happened, to what. *hint* says what to do next.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class QuestionError(MirrorError):
    """The request itself cannot be answered."""


class MalformedQuestionError(QuestionError):
    """The target, a header or the body is not something the hub's grammar knows."""


class MethodRefusedError(QuestionError):
    """The method has no meaning here; *allowed* lists those that have."""

    def __init__(
        self, message: str, *, allowed: tuple[str, ...] = ("GET", "HEAD"), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.allowed = allowed


class TooLargeError(QuestionError):
    """A request body is larger than anything a read needs."""


class NotServedError(MirrorError):
    """The request is well formed, and its answer cannot come by way of a mirror."""


class LoopError(MirrorError):
    """The request has been through this mirror already: two mirrors are each other's upstream."""


class NotAdmittedError(MirrorError):
    """The caller may not read this repo, as far as is known here.

    *repo* is its name; *gated* tells a gated repo (its existence is public) from a private one;
    *anonymous* tells whether the caller showed a credential at all.
    """

    def __init__(
        self, message: str, *, repo: str, gated: bool, anonymous: bool, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.repo = repo
        self.gated = gated
        self.anonymous = anonymous


class NotAllowedError(NotAdmittedError):
    """This mirror's operator does not allow it, whatever the hub says.

    *repo* is its name as people write it, empty where none is meant; *anonymous* tells whether it helps
    to say who one is.
    """

    def __init__(self, message: str, *, repo: str, anonymous: bool, hint: str = "") -> None:
        super().__init__(message, repo=repo, gated=False, anonymous=anonymous, hint=hint)


class UpstreamError(MirrorError):
    """Upstream answered, and the answer is no."""


class UpstreamRefusedError(UpstreamError):
    """Upstream's own refusal, passed on.

    *status* is its HTTP status, *headers* the ones worth passing on (lower-case names), *body* its
    text, cut to a bound by the client; *facts* what the refusal taught (a `mirror.names.Verdict`).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        headers: Mapping[str, str],
        body: bytes = b"",
        facts: tuple[object, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = body
        self.facts = facts


class UpstreamUnavailableError(MirrorError):
    """Upstream gave no usable answer; asking again later may help."""


class UpstreamUnreachableError(UpstreamUnavailableError):
    """No connection, a time-out, a broken connection, or a 5xx.

    *passing* tells what one more try may mend at once (a broken connection, a 5xx) from what it will not
    (nobody listens, no route, silence); *retry_after* is in seconds, `None` if upstream did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        passing: bool = False,
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.passing = passing
        self.retry_after = retry_after


class UpstreamBusyError(UpstreamUnavailableError):
    """Upstream answered 429; *retry_after* is in seconds, `None` if it did not say."""

    def __init__(self, message: str, *, retry_after: float | None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TruncatedBodyError(UpstreamUnavailableError):
    """Upstream sent fewer bytes than it promised; *expected* and *got* are bytes."""

    def __init__(self, message: str, *, expected: int | None, got: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.got = got


class ForbiddenTargetError(UpstreamUnavailableError):
    """A redirect or a resolved address that the mirror must not follow."""


class OfflineError(MirrorError):
    """The answer is not here, and upstream cannot be asked."""


class StoreError(MirrorError):
    """The disk's fault."""


class DigestMismatchError(StoreError):
    """The bytes are not what their name says; nothing was published."""

    def __init__(self, message: str, *, expected: Digest, got: Digest) -> None:
        super().__init__(message)
        self.expected = expected
        self.got = got


class StoreFullError(StoreError):
    """There is no room for *needed* more bytes (*free* are left), and nothing may go."""

    def __init__(self, message: str, *, needed: int, free: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.needed = needed
        self.free = free


class StoreCorruptError(StoreError):
    """A stored blob is no longer what it was when it was published."""


class StoreUnusableError(StoreError):
    """The data folder cannot be used: not writable, held by another process, or of another version."""


class ConfigError(MirrorError):
    """A setting that cannot be; the message names it and where it came from."""


# Their sentences are made for whoever asked: of what was sent and of what upstream said. All others are
# faults of this machine and may name its folders and settings: those are for its operator alone.
FOR_CALLERS: Final = (
    QuestionError,
    NotServedError,
    LoopError,
    NotAdmittedError,
    UpstreamError,
    UpstreamUnavailableError,
    OfflineError,
)
