"""Files and documents of other hosts, as they were found: said as if upstream had answered with them.

Each is put to the hub of its address as a request would be; the hub says what it lacks, and is told that
upstream's answer is what the cache has. What the hub then makes of it, a digest, a check or nothing but a
source, says how far the file can be believed.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from mirror.bundle.adoptarchive import tar_of, zip_of
from mirror.bundle.adoptplan import (
    NOT_ALLOWED,
    Conclude,
    Conclusion,
    Planned,
    Planning,
    Wanted,
)
from mirror.bundle.adoptreport import Outcome
from mirror.bundle.found import Content, FoundAddress, FoundDocument
from mirror.bundle.foundtree import Tree
from mirror.bundle.parts import Asked, earlier
from mirror.cache.facts import View
from mirror.digest import SHA256, Digest
from mirror.errors import MirrorError, QuestionError
from mirror.hubs.base import Hub
from mirror.index.lines import Note
from mirror.messages import Answer, BlobRef, Derived, RequestHead, Response, Span
from mirror.names import Fact, Need, Question, Reply
from mirror.patterns import spell
from mirror.store.blobs import Blob

FIRST_USE: Final = "first-use"
"""The kind of a note: what was believed without proof, since when, and where it came from."""

_BASE: Final = "http://mirror"
# A head, and a document beside the file that the hub cannot do without.
_ROUNDS: Final = 4


class Addresses:
    """Plans what lies at addresses."""

    def __init__(self, planning: Planning) -> None:
        self._planning = planning
        self._parts = planning.parts

    def plan(self, cache: str, tree: Tree, found: FoundAddress) -> Planned | None:
        """Plan one file or archive; `None` where it cannot be taken."""
        asked = self._asked(cache, found, found.content.source, found.content.size)
        if asked is None:
            return None
        hub, question = asked
        if found.archive:
            return self._archive(cache, tree, found, hub, question)
        content = found.content
        known = not hub.needs(question, self._parts.view())
        told = self._told(hub, question, found, content.size)
        blob = None if told is None else _blob(told[0])
        if told is None or blob is None or blob.size != content.size:
            size = "" if blob is None else f" of {blob.size} bytes"
            self._planning.refuse(cache, content, f"Upstream has another file there{size}.")
            return None
        if content.digest is not None and blob.digest not in (content.digest, *_unknown(blob)):
            self._planning.refuse(cache, content, f"It should be {blob.digest} at that address.")
            return None
        first = self._parts.catalog.sha256_of(blob.digest) if _unknown(blob) else None
        expected = first or content.digest or blob.digest
        outcome = _outcome(expected if content.digest else blob.digest, blob)
        here = self._parts.here(expected)
        if not self._allowed(cache, content, outcome, here):
            return None
        conclude: Conclude = partial(self._conclude, found, blob.digest, told[1], outcome)
        if first is not None and not told[1]:
            conclude = _nothing  # It was written down by an earlier run.
        wanted = Wanted(
            content, expected, outcome, blob.checks, sure=found.sure, here=here, known=known
        )
        return Planned(cache, tree, [wanted], conclude)

    def document(self, cache: str, tree: Tree, found: FoundDocument, path: str) -> Planned | None:
        """Plan one document, which the index keeps whole."""
        asked = self._asked(cache, found, path, len(found.body))
        if asked is None:
            return None
        hub, question = asked
        told = self._told(hub, question, found, len(found.body))
        replies = [] if told is None else told[1]
        return Planned(cache, tree, [], lambda _blobs: Conclusion(facts=list(replies)))

    # ── the hub's word ─────────────────────────────────────────────────────────────────────────

    def _asked(
        self, cache: str, found: FoundAddress | FoundDocument, path: str, size: int
    ) -> tuple[Hub, Question] | None:
        """The hub of an address and what a request for it means, if everybody may have it."""
        report = self._planning.report
        try:
            hub, question = self._question(found)
        except QuestionError as error:
            report.remark(cache, Outcome.SKIPPED, path, str(error), size)
            return None
        ask = isinstance(found, FoundAddress) and found.ask
        asked = Asked.SILENT
        if (ask or not found.public) and self._planning.asks:
            asked = self._parts.ask(hub, question)
            self._planning.silent = asked is Asked.SILENT
        granted = any(pattern.matches(found.about) for pattern in self._planning.options.grants)
        if asked is Asked.REFUSED and not granted:
            report.remark(cache, Outcome.SKIPPED, path, f"{found.host} has no such file.", size)
            return None
        if not found.public and asked is not Asked.TOLD and not granted:
            why = f"Whether everybody may read it is not known: --grant '{spell(found.about)}' takes it."
            report.remark(cache, Outcome.SKIPPED, path, why, size)
            return None
        return hub, question

    def _question(self, found: FoundAddress | FoundDocument) -> tuple[Hub, Question]:
        post = found.post if isinstance(found, FoundDocument) else b""
        method = "POST" if post else "GET"
        path = f"/-/host/{found.host}{found.path}"
        head = RequestHead(method, path, found.query, {}, None, _BASE)
        for hub in self._parts.hubs:
            question = hub.recognise(head, post)
            if question is not None:
                return hub, question
        raise QuestionError(f"This mirror serves nothing of {found.host}.")

    def _told(
        self, hub: Hub, question: Question, found: FoundAddress | FoundDocument, size: int
    ) -> tuple[Answer, list[Fact]] | None:
        """What *hub* answers once it believes that upstream has what was found, and what it learned so.

        `None` where that does not do.
        """
        view = self._parts.view()
        learned: list[Fact] = []
        try:
            for _ in range(_ROUNDS):
                needs = hub.needs(question, view)
                if not needs:
                    return hub.answer(question, view, _BASE), learned
                learned += self._learn(hub, question, needs[0], view, found, size)
        except MirrorError:
            return None
        return None

    def _learn(
        self,
        hub: Hub,
        question: Question,
        need: Need,
        view: View,
        found: FoundAddress | FoundDocument,
        size: int,
    ) -> list[Fact]:
        body = found.body if isinstance(found, FoundDocument) else b""
        headers = {"content-length": str(size), "content-type": found.content_type}
        now = self._parts.clock.wall()
        seen_at = found.content.mtime if isinstance(found, FoundAddress) else found.seen_at
        response = Response(200, headers, body, f"https://{found.host}", "")
        facts = list(hub.absorb(question, need, response, earlier(seen_at, now)))
        for fact in facts:
            if isinstance(fact, Reply):
                view.replies[fact.key] = fact
        return facts

    # ── archives ───────────────────────────────────────────────────────────────────────────────

    def _archive(
        self, cache: str, tree: Tree, found: FoundAddress, hub: Hub, question: Question
    ) -> Planned | None:
        """Plan an archive, whose length and name are known once it is made."""
        content = found.content
        view = self._parts.view()
        if not hub.needs(question, view):
            name = _name(hub.answer(question, view, _BASE))
            here = self._parts.here(name)
            if here is None:
                why = (
                    "Upstream was asked, and may have another by now. To have that one here:"
                    f" modelmirror warm https://{found.host}{found.path}"
                )
                self._planning.skip(cache, content, why)
                return None
            wanted = Wanted(content, name, Outcome.UNVERIFIED, here=here, known=True)
            return Planned(cache, tree, [wanted], _nothing)
        if not self._allowed(cache, content, Outcome.UNVERIFIED, None):
            return None

        def chunks() -> Iterator[bytes]:
            if found.archive == "zip":
                return zip_of(tree, content.source, found.top)
            return tar_of(tree, content.source)

        def conclude(blobs: Mapping[str, Blob]) -> Conclusion:
            blob = blobs.get(content.source)
            told = None if blob is None else self._told(hub, question, found, blob.size)
            name = None if told is None else _name(told[0])
            if told is None or name is None:
                return Conclusion()
            return self._conclude(found, name, told[1], Outcome.UNVERIFIED, blobs)

        wanted = Wanted(content, None, Outcome.UNVERIFIED, chunks=chunks)
        return Planned(cache, tree, [wanted], conclude)

    # ── what is written down ───────────────────────────────────────────────────────────────────

    def _conclude(
        self,
        found: FoundAddress,
        name: Digest,
        facts: list[Fact],
        outcome: Outcome,
        blobs: Mapping[str, Blob],
    ) -> Conclusion:
        blob = blobs.get(found.content.source)
        if blob is None:
            return Conclusion()
        links = [] if name.algorithm == SHA256 else [(name, blob.digest)]
        url = f"https://{found.host}{found.path}"
        said = {"sha256": blob.digest.hex, "class": outcome.value, "seen_at": found.content.mtime}
        proven = outcome is Outcome.PROVEN
        lines = [] if proven else [Note(FIRST_USE, url, said)]
        return Conclusion(facts=facts, links=links, lines=list(lines))

    def _allowed(self, cache: str, content: Content, outcome: Outcome, here: Blob | None) -> bool:
        if outcome is not Outcome.UNVERIFIED or self._planning.options.unverified or here:
            return True
        self._planning.skip(cache, content, NOT_ALLOWED)
        return False


def _nothing(_blobs: Mapping[str, Blob]) -> Conclusion:
    """Nothing is to be written down."""
    return Conclusion()


def _blob(answer: Answer) -> BlobRef | None:
    """The blob that an answer is made of."""
    if answer.derived is not None:
        made_of = answer.derived.made_of
        return made_of if isinstance(made_of, BlobRef) else None
    return next((part.blob for part in answer.body if isinstance(part, Span)), None)


def _name(answer: Answer) -> Digest | None:
    """What the bytes of an answer, or what they are made of, are known by."""
    blob = _blob(answer)
    if blob is not None:
        return blob.digest
    derived = answer.derived
    if derived is not None and isinstance(derived.made_of, Derived):
        derived = derived.made_of
    return None if derived is None else derived.name


def _unknown(blob: BlobRef) -> tuple[Digest, ...]:
    """The blob's own name where that proves nothing."""
    return () if blob.digest.proves else (blob.digest,)


def _outcome(expected: Digest, blob: BlobRef) -> Outcome:
    if expected.proves:
        return Outcome.PROVEN
    return Outcome.PREFIX if blob.checks else Outcome.UNVERIFIED
