"""Asking upstream: what a question still lacks, fetched once however many ask for it.

A need is one upstream request. Callers of one credential class share its flight; what comes back becomes
facts, recorded before anybody goes on. A listing of many pages is waited for a moment only and goes on
behind, one per repo at a time.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from weakref import WeakValueDictionary

from mirror.cache.facts import View
from mirror.cache.flights import Flights
from mirror.cache.learning import Learning
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import UpstreamRefusedError, UpstreamUnavailableError
from mirror.hubs.base import Hub
from mirror.index.protocol import Index
from mirror.messages import Response, UpstreamRequest
from mirror.names import (
    Access,
    Entries,
    Fact,
    Lead,
    Need,
    Question,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)
from mirror.upstream.contract import Asker

# How long a question waits for a file list of many pages before it is answered by its path alone.
PAGES_PATIENCE: Final = 2.0
PAGES_AT_HAND: Final = 5

# How long what a question can do without is waited for, in seconds.
OPTIONAL_PATIENCE: Final = 5.0

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_UNAVAILABLE: Final = 503

# How the Hub says that a caller may not know: a gated repo, and one that is hidden or gone.
_CLOSED: Final = frozenset({"GatedRepo", "RepoNotFound"})


@dataclass(slots=True)
class _Paging:
    """A listing being read page by page: *enough* is done once nobody should wait any longer."""

    enough: asyncio.Future[None]
    pages: int = 0
    entries: int = 0


@dataclass(frozen=True, slots=True)
class Voice:
    """Who asks upstream.

    *credential* goes along, *fingerprint* names it (empty: nobody in particular); *via* is the way the
    request came, this mirror included (RFC 9110 §7.6.3). One that is *silent* asks for nothing.
    """

    credential: Credential | None
    fingerprint: str
    via: str
    silent: bool = False

    def anyone(self) -> "Voice":
        """The same way, without a credential."""
        return Voice(None, "", self.via)

    def on_its_way(self, request: UpstreamRequest) -> UpstreamRequest:
        """*request* with the way it came."""
        return replace(request, headers=(*request.headers, ("Via", self.via)))


class Asking:
    """Meets needs and records what they teach.

    *limits* is, by hub name, how many entries a commit may have before its repo stays per path.
    """

    def __init__(
        self,
        *,
        upstream: Asker,
        catalog: Index,
        learning: Learning,
        clock: Clock,
        limits: dict[str, int],
    ) -> None:
        self._upstream = upstream
        self._catalog = catalog
        self._learning = learning
        self._clock = clock
        self._limits = limits
        self._flights: Flights[tuple[str, str, str], Sequence[Reply]] = Flights()
        self._paging: dict[tuple[str, str, str], _Paging] = {}
        self._listing: WeakValueDictionary[Repo, asyncio.Lock] = WeakValueDictionary()

    async def meet(
        self, hub: Hub, question: Question, needs: Sequence[Need], view: View, caller: Voice
    ) -> None:
        """Fetch *needs* and record them; raises what upstream refused or that it cannot be reached."""
        outcomes = await asyncio.gather(
            *(self._one(hub, question, need, view, caller) for need in needs),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def close(self) -> None:
        """Give up what is under way."""
        await self._flights.close()

    async def _one(
        self, hub: Hub, question: Question, need: Need, view: View, caller: Voice
    ) -> None:
        # Without the credential only a name is left, and nobody is asked for in another's name.
        known = caller.credential is not None
        voice = (
            caller if known and (need.as_caller or not self._public(question)) else caller.anyone()
        )
        try:
            await self._fly(hub, question, need, view, voice)
        except UpstreamRefusedError:
            # Public as last seen, and now refused to a stranger: it is gated or went private, and this
            # caller may still see it. What was recorded of its being public is already withdrawn.
            if voice is caller or not known or self._open(question):
                raise
            await self._fly(hub, question, need, view, caller)

    async def _fly(
        self, hub: Hub, question: Question, need: Need, view: View, voice: Voice
    ) -> None:
        key = (hub.name, need.key, voice.fingerprint)
        if not need.pages:
            replies = await self._flights.join(key, lambda: self._fetch(hub, question, need, voice))
        else:
            paging = self._paging.get(key)
            if paging is None:
                paging = self._paging[key] = _Paging(asyncio.get_running_loop().create_future())
            task, _ = self._flights.launch(
                key, lambda: self._fetch_pages(hub, question, need, voice, paging)
            )
            task.add_done_callback(lambda _: self._paged(key, paging))
            either: set[asyncio.Future[Any]] = {task, paging.enough}
            await asyncio.wait(
                either,
                timeout=PAGES_PATIENCE,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not task.done():
                view.waited.add((self._canonical(question), need.context["commit"]))
                return
            replies = task.result()
        for reply in replies:
            view.replies[reply.key] = reply

    def _paged(self, key: tuple[str, str, str], paging: _Paging) -> None:
        if self._paging.get(key) is paging:
            del self._paging[key]

    async def _fetch(
        self, hub: Hub, question: Question, need: Need, voice: Voice
    ) -> Sequence[Reply]:
        return await self._learning.learn(
            await self._ask(hub, question, need, need.request, voice), voice.fingerprint
        )

    async def _ask(
        self, hub: Hub, question: Question, need: Need, request: UpstreamRequest, voice: Voice
    ) -> Sequence[Fact]:
        response = await self._response(hub, need, voice.on_its_way(request), voice)
        now = self._clock.wall()
        try:
            return hub.absorb(question, need, response, now)
        except UpstreamRefusedError as error:
            lessons = [fact for fact in error.facts if isinstance(fact, (Verdict, Visibility))]
            if voice.credential is None and question.repo is not None:
                lessons += self._withdrawn(self._canonical(question), error, now)
            await self._learning.learn(lessons, voice.fingerprint)
            raise

    async def _response(
        self, hub: Hub, need: Need, request: UpstreamRequest, voice: Voice
    ) -> Response:
        patience = OPTIONAL_PATIENCE if need.optional else None
        try:
            async with asyncio.timeout(patience):
                return await self._upstream.ask(
                    hub.name, request, voice.credential, limit=need.limit
                )
        except (UpstreamUnavailableError, TimeoutError):
            if not need.optional:
                raise
            return Response(_UNAVAILABLE, {}, b"", "", "")

    async def refused(self, repo: Repo, error: UpstreamRefusedError, voice: Voice) -> bool:
        """Learn from a download that upstream refused; tells whether *repo* is less open than believed."""
        now = self._clock.wall()
        if voice.credential is None:
            withdrawn = self._withdrawn(repo, error, now)
            await self._learning.learn(withdrawn, "")
            return bool(withdrawn)
        code = error.headers.get("x-error-code")
        if code == "RepoNotFound" or error.status in (_UNAUTHORIZED, _FORBIDDEN):
            levels = (Access.READ,) if code == "GatedRepo" else (Access.LIST, Access.READ)
            verdicts = [Verdict(repo, level, accepted=False, seen_at=now) for level in levels]
            await self._learning.learn(verdicts, voice.fingerprint)
        return False

    def _withdrawn(self, repo: Repo, error: UpstreamRefusedError, now: float) -> list[Visibility]:
        """A repo seen as open that is refused to a stranger is open no longer."""
        seen = self._catalog.visibility(repo)
        if seen is None or seen.private:
            return []
        code = error.headers.get("x-error-code")
        if code == "RepoNotFound" or (error.status == _UNAUTHORIZED and code is None):
            return [Visibility(repo, private=True, gated=False, seen_at=now)]
        if code == "GatedRepo" and not seen.gated:
            return [Visibility(repo, private=False, gated=True, seen_at=now)]
        return []

    async def _fetch_pages(
        self, hub: Hub, question: Question, need: Need, voice: Voice, paging: _Paging
    ) -> Sequence[Reply]:
        repo = self._canonical(question)
        lock = self._listing.setdefault(repo, asyncio.Lock())  # Lives as long as somebody lists.
        replies: list[Reply] = []
        request: UpstreamRequest | None = need.request
        async with lock:
            as_of = self._catalog.forgettings
            while request is not None:
                facts = await self._ask(hub, question, need, request, voice)
                paging.pages += 1
                paging.entries += sum(len(f.entries) for f in facts if isinstance(f, Entries))
                request = next((f.request for f in facts if isinstance(f, Lead)), None)
                if request is not None and paging.entries > self._limits.get(
                    hub.name, paging.entries
                ):
                    facts = [*facts, self._large(repo, need)]
                    request = None
                replies.extend(await self._learning.learn(facts, voice.fingerprint, as_of))
                if paging.pages == PAGES_AT_HAND and request is not None:
                    paging.enough.set_result(None)
        return replies

    def _large(self, repo: Repo, need: Need) -> Snapshot:
        return Snapshot(
            repo, need.context["commit"], SnapshotState.LARGE, "full", b"", self._clock.wall()
        )

    def _canonical(self, question: Question) -> Repo:
        if question.repo is None:
            return Repo("", "")
        alias = self._catalog.alias(question.repo)
        return alias.repo if alias is not None else question.repo

    def _open(self, question: Question) -> bool:
        """Whether everybody may be answered, as far as is known."""
        if question.access is Access.READ and question.repo is not None:
            seen = self._catalog.visibility(self._canonical(question))
            if seen is not None and seen.gated:
                return False
        return self._public(question)

    def _public(self, question: Question) -> bool:
        if question.repo is None:
            return False
        seen = self._catalog.visibility(self._canonical(question))
        return seen is not None and not seen.private


def closed_to_caller(error: UpstreamRefusedError) -> bool:
    """Whether a refusal is about the caller, or a repo hidden from them, and not about a file."""
    code = error.headers.get("x-error-code")
    return code in _CLOSED or (error.status in (_UNAUTHORIZED, _FORBIDDEN) and code is None)
