"""Writing down what upstream told us, each fact where it belongs.

The catalog remembers what lasts, the memo what may be forgotten, the journal what no record will hold,
and a record each file list that is complete. Whoever learned something may read it right afterwards, also
while the disk takes nothing: catalog and arrears then hold it in memory.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

from mirror.cache.facts import own_key
from mirror.events import Alarm, Event, Observer
from mirror.index.arrears import Arrears
from mirror.index.codec import encode_reply
from mirror.index.lines import Line
from mirror.index.memo import Memo
from mirror.index.protocol import Index
from mirror.names import (
    Alias,
    Fact,
    Lead,
    Ref,
    Reply,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)

# A document is kept in so many forms (queries, lists of paths) for good. The queries are the callers' to
# make up, so there is no end of them; further forms are for the memo.
MAX_FORMS: Final = 256


def _unheard(_event: Event) -> None:
    """Tell nobody."""


class Learning:
    """Takes facts in; *observe* hears an `Alarm` of kind ``takeover`` for a name that changed hands."""

    def __init__(
        self, *, catalog: Index, memo: Memo, arrears: Arrears, observe: Observer = _unheard
    ) -> None:
        self._catalog = catalog
        self._observe = observe
        self._memo = memo
        self._arrears = arrears

    async def learn(
        self, facts: Sequence[Fact], fingerprint: str, as_of: int | None = None
    ) -> Sequence[Reply]:
        """Write *facts* down and wait until they can be read; returns the replies among them.

        *fingerprint* names the credential they were learned with, empty for none; *as_of* is what the
        index's `forgettings` was when the first page was asked for, of a list that has several.
        """
        as_of = self._catalog.forgettings if as_of is None else as_of
        for fact in facts:
            if isinstance(fact, Alias):
                self._look_for_takeover(fact)
        replies = [fact for fact in facts if isinstance(fact, Reply)]
        told = [
            more
            for fact in facts
            if not isinstance(fact, (Lead, Reply, Verdict))
            for more in self._merged(fact)
        ]
        kept = [reply for fact in replies if (reply := self._keep(fact, fingerprint)) is not None]
        lasting = [*kept, *told]
        whole = [fact for fact in lasting if isinstance(fact, Snapshot) and self._completes(fact)]
        lines: list[Line] = [
            fact
            for fact in told
            if isinstance(fact, (Alias, Ref, Visibility)) and self._is_news(fact)
        ]
        for fact in facts:
            if isinstance(fact, Verdict):
                await self._judge(fact, fingerprint)
        # The journal first: the index may be lost, and is brought level with it then.
        if lines:
            await asyncio.to_thread(self._arrears.append, lines)
        for reply in kept:
            await asyncio.to_thread(self._arrears.save_reply, reply)
        if lasting:
            await _done(self._catalog.record(lasting, as_of))
        # A record is made of the whole list, which the catalog has; what a kill comes before is made at
        # the next start (`mirror.index.rebuild.save_missing`).
        for snapshot in whole:
            known = self._catalog.snapshot(snapshot.repo, snapshot.commit)
            if known is not None and known.state is SnapshotState.COMPLETE:
                await asyncio.to_thread(self._arrears.save, snapshot.repo, snapshot.commit)
        return replies

    async def _judge(self, verdict: Verdict, fingerprint: str) -> None:
        """An anonymous caller is never accepted anywhere: being public is a fact of the repo.

        A refusal is worth a row only to a credential that was once accepted: nobody fills the index with
        tokens that he made up.
        """
        if fingerprint and (verdict.accepted or self._catalog.accepted_anywhere(fingerprint)):
            await _done(self._catalog.record_verdict(fingerprint, verdict))

    def _keep(self, reply: Reply, fingerprint: str) -> Reply | None:
        """Put a reply that may be forgotten into the memo; return one that must not be."""
        kept = replace(reply, key=own_key(fingerprint, reply.key)) if reply.private else reply
        if kept.lasting and not self._one_form_too_many(kept):
            return kept
        if kept.lifetime > 0:
            self._memo.set(kept.key, encode_reply(kept), kept.lifetime)
        return None

    def _one_form_too_many(self, reply: Reply) -> bool:
        """Whether its document is kept in so many forms already that this one may be forgotten."""
        method, _, rest = reply.key.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        document = f"{method} {path}"
        if reply.key == document or self._catalog.reply(reply.key) is not None:
            return False
        return self._catalog.forms(document, MAX_FORMS) >= MAX_FORMS

    def _look_for_takeover(self, fact: Alias) -> None:
        """Raise the alarm when upstream shows another repo under a name that is known here."""
        known = self._catalog.alias(fact.asked)
        if known is None or "" in (known.upstream_id, fact.upstream_id):
            return
        if known.upstream_id != fact.upstream_id:
            self._observe(
                Alarm(
                    "takeover",
                    f"{fact.asked} is another repo than it was: its id was {known.upstream_id!r} and is"
                    f" {fact.upstream_id!r}. Nothing stored of the former one is shown under that name;"
                    " look at what you load from it before you go on.",
                )
            )

    def _merged(self, fact: Fact) -> Sequence[Fact]:
        """*fact* as it goes with what is known already."""
        if isinstance(fact, Snapshot):
            return [self._never_less(fact)]
        if isinstance(fact, Alias) and fact.asked == fact.repo:
            return self._own_name(fact)
        if isinstance(fact, Alias) and not fact.upstream_id:
            known = self._catalog.alias(fact.asked)
            if known is not None and known.repo == fact.repo:
                return [replace(fact, upstream_id=known.upstream_id)]
        return [fact]

    def _never_less(self, fact: Snapshot) -> Snapshot:
        """What is already known of a commit's list is never forgotten by a fresh look at it."""
        known = self._catalog.snapshot(fact.repo, fact.commit)
        if known is None:
            return fact
        if known.state is not SnapshotState.PENDING:
            if fact.state is SnapshotState.PENDING:
                return replace(fact, state=known.state, view=known.view)
            return fact
        # One page with hidden hashes makes the whole list one.
        view = known.view if known.view == "redacted" else fact.view or known.view
        return replace(fact, view=view)

    def _own_name(self, fact: Alias) -> list[Fact]:
        """A repo that answers under its own name is nobody's alias any longer.

        The time beside its name is since when it is the repo it is: 0 for the first that was seen there,
        now for one with another id, whose owner must not be shown what was kept of the former one.
        """
        known = self._catalog.alias(fact.asked)
        if known is None or "" in (known.upstream_id, fact.upstream_id):
            if known is not None and known.repo == fact.repo and not fact.upstream_id:
                return []
            return [replace(fact, seen_at=0.0)]
        if known.upstream_id != fact.upstream_id:
            return [fact]
        return [] if known.repo == fact.repo else [replace(fact, seen_at=0.0)]

    def _completes(self, fact: Snapshot) -> bool:
        """Whether *fact* makes a list whole, or one whole that had its hashes hidden."""
        if fact.state is not SnapshotState.COMPLETE:
            return False
        known = self._catalog.snapshot(fact.repo, fact.commit)
        return known is None or known.state is not SnapshotState.COMPLETE or known.view != fact.view

    def _is_news(self, fact: Alias | Ref | Visibility) -> bool:
        """Whether *fact* differs from what is known and no record will hold it.

        A record is written once, when its list is complete: a ref that moves onto its commit later, a
        repo that turns private, another name of a repo are told by the journal alone.
        """
        match fact:
            case Alias():
                alias = self._catalog.alias(fact.asked)
                return alias is None or (alias.repo, alias.upstream_id) != (
                    fact.repo,
                    fact.upstream_id,
                )
            case Visibility():
                seen = self._catalog.visibility(fact.repo)
                return seen is not None and (seen.private, seen.gated) != (
                    fact.private,
                    fact.gated,
                )
            case _:
                ref = self._catalog.ref(fact.repo, fact.revision)
                snapshot = self._catalog.snapshot(fact.repo, fact.commit)
                return (
                    fact.revision != fact.commit
                    and (ref is None or ref.commit != fact.commit)
                    and snapshot is not None
                    and snapshot.state is SnapshotState.COMPLETE
                )


async def _done(future: Future[None]) -> None:
    await asyncio.wrap_future(future)
