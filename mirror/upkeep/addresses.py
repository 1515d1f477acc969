"""Files on other hosts, by their addresses: what is kept of one, and what its content is known by.

An address is read by the hub that serves it, with the same pure functions that answer requests for it, so
that nothing here knows any host.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from mirror.cache.facts import Lifetimes, View
from mirror.cache.making import made_anew
from mirror.clock import Clock
from mirror.digest import SHA256, SOURCE, Digest
from mirror.errors import MirrorError, QuestionError
from mirror.hubs.base import Hub
from mirror.messages import Answer, BlobRef, Derived, RequestHead, Span
from mirror.names import Artifact, Question, Reply
from mirror.patterns import spell
from mirror.upkeep.known import Known
from mirror.upkeep.naming import NamedAddress

_PAGE: Final = 1000
# What the heads of files are kept under; the address follows.
_HEADS: Final = ("HEAD https://", "PROBE https://")


@dataclass(frozen=True, slots=True)
class Address:
    """What is kept of one address.

    *question* is what its hub takes it for. *keys* are those of upstream's answers about the file, *asides*
    those of documents beside it, which it may share with others. *names* are what its content is known by
    in place of a published digest: what came first from there. *blobs* are its content, as far as it is
    known, stored or not.
    """

    text: str
    question: Question
    keys: tuple[str, ...] = ()
    asides: tuple[str, ...] = ()
    names: tuple[Digest, ...] = ()
    blobs: tuple[Digest, ...] = ()


@dataclass(slots=True)
class _Looking(View):
    """A view that notes which answers were looked for and found."""

    found: dict[str, None] = field(default_factory=dict)

    def reply(self, key: str) -> Reply | None:
        """Upstream's answer kept under *key*, noted."""
        reply = View.reply(self, key)
        if reply is not None:
            self.found[reply.key] = None
        return reply


class AddressBook:
    """The addresses that something is kept of in *index*, as *hubs* read them."""

    def __init__(self, index: Known, hubs: Sequence[Hub], clock: Clock) -> None:
        self._index = index
        self._hubs = hubs
        self._clock = clock

    def look(self, named: NamedAddress) -> Address:
        """What is kept of an address. Raises `QuestionError` for one that no hub serves."""
        head = RequestHead("GET", named.path, named.query, {}, None, "http://mirror")
        for hub in self._hubs:
            try:
                question = hub.recognise(head, b"")
            except MirrorError as error:
                raise QuestionError(f"{named}: {error.message}", hint=error.hint) from error
            if question is not None:
                return self._read(str(named), hub, question)
        raise QuestionError(
            f"No hub of this mirror serves {named}.",
            hint="docs/hubs.md lists the hosts.",
        )

    def contents(self, named: NamedAddress) -> tuple[Digest, ...]:
        """What an address has for content, as far as it is known; nothing for one that no hub serves."""
        try:
            return self.look(named).blobs
        except QuestionError:
            return ()

    def every(self) -> Iterator[Address]:
        """Every address of whose file a head is kept, in order; none twice."""
        seen: set[str] = set()
        for key in self.answers():
            if not key.startswith(_HEADS):
                continue
            url = key.split(" ")[1]
            if url in seen:
                continue
            seen.add(url)
            host, _, rest = url.removeprefix("https://").partition("/")
            path, _, query = rest.partition("?")
            try:
                yield self.look(NamedAddress(f"/-/host/{host}/{path}", query, url))
            except QuestionError:  # of a hub that is no more, or reads it otherwise by now
                yield Address(url, Question(), keys=(key,))

    def answers(self) -> Iterator[str]:
        """The keys of every lasting answer that is kept."""
        page = self._index.catalog.reply_keys("", _PAGE)
        while page:
            yield from page
            page = self._index.catalog.reply_keys(page[-1], _PAGE)

    def replies(self) -> Iterator[Reply]:
        """Every lasting answer that is kept, one at a time: documents may have some MiB."""
        for key in self.answers():
            reply = self._index.catalog.reply(key)
            if reply is not None:
                yield reply

    def _read(self, text: str, hub: Hub, question: Question) -> Address:
        if question.repo is not None:
            revision = question.revision if isinstance(question, Artifact) else ""
            at = f"@{revision}" if revision else ""
            raise QuestionError(
                f"{text} is of a repo.", hint=f"Name that: {spell(question.repo)}{at}."
            )
        now, index = self._clock.wall(), self._index
        lifetimes = Lifetimes(refs={}, audience=0.0, grace=0.0)
        view = _Looking(index.catalog, index.memo, lifetimes, "", now, now, offline=True)
        names: dict[Digest, None] = {}
        try:
            hub.needs(question, view)
            names = dict.fromkeys(self._contents(hub.answer(question, view, "")))
        except MirrorError:
            pass  # not enough is known of it
        asides = tuple(key for key in view.found if key.startswith("ASIDE "))
        known = {name: self._sha256(name) for name in names}
        return Address(
            text,
            question,
            keys=tuple(key for key in view.found if key not in asides),
            asides=asides,
            names=tuple(name for name in names if name.algorithm == SOURCE),
            blobs=tuple(dict.fromkeys(blob for blob in known.values() if blob is not None)),
        )

    def _contents(self, answer: Answer) -> Iterator[Digest]:
        for segment in answer.body:
            if isinstance(segment, Span):
                yield segment.blob.digest
        if answer.derived is not None:
            yield from self._derived(answer.derived)

    def _derived(self, wanted: Derived) -> Iterator[Digest]:
        """What a body that has to be made is known by, and what it is made of."""
        name = wanted.name
        yield name
        while wanted.regenerated and self._sha256(name := made_anew(name)) is not None:
            yield name
        if wanted.expected is not None:
            yield wanted.expected
        match wanted.made_of:
            case Derived() as made_of:
                yield from self._derived(made_of)
            case BlobRef(digest=digest):
                yield digest
            case None:
                pass

    def _sha256(self, name: Digest) -> Digest | None:
        if name.algorithm == SHA256:
            return name
        return self._index.catalog.sha256_of(name)
