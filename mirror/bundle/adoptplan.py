"""What is to be done about each thing that was found: which bytes must be what, what is said then."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mirror.bundle.adoptoptions import Options
from mirror.bundle.adoptreport import Outcome, Report
from mirror.bundle.found import Content
from mirror.bundle.foundtree import Tree
from mirror.bundle.parts import Parts
from mirror.digest import Check, Digest
from mirror.index.lines import Line
from mirror.names import Fact, Repo
from mirror.store.blobs import Blob

NOT_ALLOWED: Final = (
    "Unverified: nothing is published of what it must be. --allow-unverified takes it all the same."
)


@dataclass(slots=True)
class Wanted:
    """Bytes to be taken: *content* must be *expected* and pass *checks*, and is then *outcome*.

    *chunks* makes an archive whose name is known afterwards: *expected* is `None` then. A *loose* file is
    measured first, for its name is what it is. Other bytes are refused if it is *sure* what they should be,
    else left alone. *here* is the blob where it is stored already: unless it is *known* that this is where it
    came from, the file is read all the same, for whoever writes a digest on it need not have the content.
    """

    content: Content
    expected: Digest | None
    outcome: Outcome
    checks: tuple[Check, ...] = ()
    chunks: Callable[[], Iterator[bytes]] | None = None
    loose: bool = False
    sure: bool = True
    here: Blob | None = None
    known: bool = False


@dataclass(slots=True)
class Conclusion:
    """What is to be written down once the bytes are in the store.

    *links* name blobs by what they were expected to be, *lines* go to the journal, and the *commit* of a
    repo, if any, into a record.
    """

    facts: list[Fact] = field(default_factory=list)
    links: list[tuple[Digest, Digest]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    commit: tuple[Repo, str] | None = None


Conclude = Callable[[Mapping[str, Blob]], Conclusion]
"""Says what is known of the blobs that are there, by the source of each."""


@dataclass(slots=True)
class Planned:
    """One thing that was found in a *cache*, with all bytes of it that are *wanted*.

    *proves* tells of a loose file whether a list that is known names one of its digests.
    """

    cache: str
    tree: Tree
    wanted: Sequence[Wanted]
    conclude: Conclude
    proves: Callable[[tuple[Digest, ...]], bool] | None = None


@dataclass(slots=True)
class Planning:
    """What the planners of the kinds of things share; they say to *report* what is left alone."""

    parts: Parts
    options: Options
    report: Report
    silent: bool = False
    """Whether upstream turned out not to answer: it is not asked again."""

    @property
    def asks(self) -> bool:
        """Whether upstream is to be asked."""
        return self.options.ask and not self.silent

    def refuse(self, cache: str, content: Content, why: str) -> None:
        """Note that a file is not what it claims to be."""
        self.report.remark(cache, Outcome.REFUSED, content.source, why, content.size)

    def skip(self, cache: str, content: Content, why: str) -> None:
        """Note that a file is left alone."""
        self.report.remark(cache, Outcome.SKIPPED, content.source, why, content.size)
