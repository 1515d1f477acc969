"""One question, asked of what is known first and of upstream second.

The life of a question: its hub recognises it; what its answer needs is looked for among the facts; what
is missing is asked of upstream; the caller's right to it is checked, once, here, whatever the hub said;
then the hub answers from facts, and a body that is not in the store starts to come in.
"""

import asyncio
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from math import inf
from typing import Final

from mirror.cache import admission
from mirror.cache.asking import Asking, Voice, closed_to_caller
from mirror.cache.bodies import Bodies, NoLongerOpenError, asked_for
from mirror.cache.facts import Lifetimes, View
from mirror.cache.flights import Flights
from mirror.cache.gate import Gate
from mirror.cache.outage import Outages
from mirror.cache.users import User
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import (
    FOR_CALLERS,
    LoopError,
    MalformedQuestionError,
    MirrorError,
    OfflineError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.hubs.base import Hub
from mirror.index.memo import Memo
from mirror.index.protocol import Index
from mirror.leases import Leases
from mirror.messages import Answer, Relay, RequestHead, Terms
from mirror.names import Access, Question, Tunnel

# No answer that exists here waits longer for upstream, so that no client has it more than 2 s later: a
# quarter of a second is for all that is not waiting.
PATIENCE: Final = 1.75

# Rounds of needs before a question is given up: the longest walk (alias, revision, tree, redacted tree,
# audience, path) takes six.
MAX_ROUNDS: Final = 12

# Mirrors that a request may have come through; more are a mistake or an attack.
MAX_HOPS: Final = 16

_HOP: Final = re.compile(r"1\.1 modelmirror \(mm-[0-9a-f]{16}\)")

# Credentials lent to questions that carry a token of ours instead (CAS): enough for a large site.
MAX_LENT: Final = 4096

# How often, and after how many seconds, a question is looked at anew that a removal came between: a removal
# is out of sight within milliseconds, and nobody removes for ever.
_TURNS: Final = 100
_TURN: Final = 0.01


class PullThrough:
    """The hubs' engine.

    *offline* means never to ask upstream; *secret* keys the fingerprints of credentials; *gate* is the
    operator's; *granted* tells whether the operator's word opens a repo to everybody, or to a *reader*;
    *leases* count the changes of what is known.
    """

    def __init__(  # noqa: PLR0913 -- the composition root names each part once
        self,
        *,
        hubs: Sequence[Hub],
        asking: Asking,
        bodies: Bodies,
        catalog: Index,
        memo: Memo,
        lifetimes: Lifetimes,
        clock: Clock,
        secret: bytes,
        offline: bool,
        outages: Outages,
        granted: Callable[..., bool],
        gate: Gate | None = None,
        leases: Leases | None = None,
    ) -> None:
        self._hubs = hubs
        self._asking = asking
        self._bodies = bodies
        self._catalog = catalog
        self._memo = memo
        self._lifetimes = lifetimes
        self._clock = clock
        self._secret = secret
        # The comment is one that no other mirror writes, and no key to anything (RFC 9110 §7.6.3).
        self._hop = f"1.1 modelmirror (mm-{hmac.new(secret, b'via', sha256).hexdigest()[:16]})"
        self._offline = offline
        self._outages = outages
        self._granted = granted
        self._gate = gate or Gate()
        self._leases = leases or Leases()
        self._lent: OrderedDict[str, Credential] = OrderedDict()
        self._settling: Flights[int, None] = Flights()
        self._count = 0

    async def ask(self, head: RequestHead, body: bytes) -> Answer | Relay:
        """Answer one request; what cannot be answered is refused in the hub's own words.

        Raises what is this machine's fault and no hub's to word.
        """
        hops = _HOP.findall(head.headers.get("via", ""))
        if self._hop in hops or len(hops) >= MAX_HOPS:
            raise LoopError(
                "This request has been through this mirror before: it is, by way of others, its own "
                "upstream.",
                hint="Set huggingface.upstreams of one of them to the Hub.",
            )
        for hub in self._hubs:
            try:
                question = hub.recognise(head, body)
                if question is not None:
                    return replace(await self._answer(hub, question, head), hub=hub.name)
            except FOR_CALLERS as error:
                return replace(hub.refuse(error), hub=hub.name, found="refused")
        raise MalformedQuestionError(
            "No hub that this mirror knows has such a path.",
            hint="Files are at /<org>/<name>/resolve/<revision>/<file>; set HF_ENDPOINT in clients.",
        )

    async def close(self) -> None:
        """Give up what is being asked."""
        await self._settling.close()
        await self._asking.close()

    # ── one question ───────────────────────────────────────────────────────────────────────────

    async def _answer(self, hub: Hub, question: Question, head: RequestHead) -> Answer | Relay:
        user = await self._gate.user(question, head.credential)
        self._gate.check(user, question)
        voice = self._voice(question, head, user)
        if head.only_stored:
            voice = replace(voice, silent=True)
        if isinstance(question, Tunnel):
            return await self._bodies.tunnel(hub, question, voice)
        try:
            return await self._answer_as_known(hub, question, head, voice, user)
        except NoLongerOpenError:
            # This caller may be one of those who may still read it; whoever is not is told why.
            return await self._answer_as_known(hub, question, head, voice, user)

    async def _answer_as_known(
        self, hub: Hub, question: Question, head: RequestHead, voice: Voice, user: User
    ) -> Answer | Relay:
        view, found, answer = await self._composed(hub, question, head, voice, user)
        if question.repo is not None:
            repo = view.canonical(question.repo)
            self._gate.check_answer(user, repo, answer, voice.credential)
        elif question.about is not None:
            self._gate.check_passed(question.about, answer)
        if question.access is Access.READ and voice.credential is not None:
            self._lend(voice)
        # A wrong token must not spoil what is open to everyone, and no token goes where none is needed.
        voice = voice.anyone() if admission.open_to_all(question, view) else voice
        answer = replace(answer, found=found, credential=voice.credential)
        given = await self._bodies.provide(hub, question, answer, head, voice, view)
        if head.again and found == "hit" and isinstance(given, Answer):
            return replace(given, terms=self._terms(question, view, given))
        return given

    def _terms(self, question: Question, view: View, answer: Answer) -> Terms | None:
        """The terms on which *answer* may be given again: of what is open to all, and wholly here."""
        if answer.found != "hit" or view.until == -inf or self._gate.knows_callers:
            return None
        blobs = self._bodies.names(answer)
        if blobs is None or not admission.open_to_all(question, view):
            return None
        return Terms(frozenset([*view.repos, *blobs]), view.as_of, view.at, view.until)

    async def _composed(
        self, hub: Hub, question: Question, head: RequestHead, voice: Voice, user: User
    ) -> tuple[View, str, Answer]:
        """The answer to whoever is admitted, anew where the operator removed something meanwhile.

        A file list that goes while it is looked at reads like one without that file.
        """
        turns = _TURNS
        while True:
            turns -= 1
            before = self._catalog.forgettings
            try:
                view = self._view(question, voice, user)
                view, found = await self._settle(hub, question, view, voice)
                admission.admit(question, view)
                answer = hub.answer(question, view, head.base_url)
            except MirrorError:
                if self._unchanged(before) or not turns:
                    raise
            else:
                if self._unchanged(before) or not turns:
                    return view, found, answer
            await asyncio.sleep(_TURN)

    def _unchanged(self, before: int) -> bool:
        return before == self._catalog.forgettings and not before % 2

    async def _settle(
        self, hub: Hub, question: Question, view: View, voice: Voice
    ) -> tuple[View, str]:
        """Find the facts: fresh ones, or stale ones when upstream cannot be asked in time."""
        if self._offline or voice.silent:
            return self._unasked(hub, question, view), "hit"
        if not hub.needs(question, view):
            return view, "hit"
        stale = view.stale()
        if not hub.needs(question, stale) and admission.admitted(question, stale):
            if self._outages.down(hub.name) and self._needs_no_word(hub, question, view):
                return stale, "stale"
            return await self._ask(hub, question, view, voice, stale)
        why = await self._outages.refusing(hub.name)
        if why is not None:
            return self._stale(hub, question, view, why), "stale"
        return await self._ask(hub, question, view, voice, None)

    async def _ask(
        self, hub: Hub, question: Question, view: View, voice: Voice, stale: View | None
    ) -> tuple[View, str]:
        """Ask upstream; with *stale*, what would do instead, wait for it a moment only."""
        self._count += 1
        task, _ = self._settling.launch(
            self._count, lambda: self._rounds(hub, question, view, voice)
        )
        if stale is not None:
            await asyncio.wait({task}, timeout=PATIENCE)
            if not task.done():
                # Whoever comes next does not wait too; the answer, when it comes, ends the outage.
                slow = UpstreamUnreachableError(f"No answer came within {PATIENCE:g} s.")
                self._outages.failed(hub.name, slow)
                task.add_done_callback(lambda late: self._came_late(hub, late))
                return stale, "stale"
        try:
            await asyncio.shield(task)
        except UpstreamRefusedError as error:
            # Granted is who may read what is here, also where the hub would refuse them. A host that no
            # credential is sent to means its own rate limit, or a signature that it got wrong.
            if (
                stale is not None
                and closed_to_caller(error)
                and (question.anonymous or admission.by_grant(question, stale))
            ):
                return stale, "stale"
            raise
        except UpstreamUnavailableError as error:
            unreachable = isinstance(error, UpstreamUnreachableError)
            # Any caller can think up a call that upstream fails at, or an answer that is too long.
            if unreachable and question.repo is not None:
                self._outages.failed(hub.name, error)
            if stale is not None:
                return stale, "stale"
            if not unreachable:
                raise
            return self._stale(hub, question, view, error), "stale"
        self._outages.answered(hub.name)
        return view, "miss"

    def _came_late(self, hub: Hub, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._outages.answered(hub.name)

    async def _rounds(self, hub: Hub, question: Question, view: View, voice: Voice) -> None:
        asked: set[str] = set()
        again = False
        for _ in range(MAX_ROUNDS):
            needs = hub.needs(question, view)
            if not needs:
                return
            keys = {need.key for need in needs}
            if keys <= asked:
                if again:
                    break  # The same again would not teach more.
                # Once: it may have joined a flight whose answer was a moment older than this question.
                again = True
            asked |= keys
            await self._asking.meet(hub, question, needs, view, voice)
            view.renew(self._clock.wall())
        msg = "Upstream's answers did not settle the question."
        raise UpstreamUnreachableError(msg, hint="Ask again; if it stays so, report it.")

    def _unasked(self, hub: Hub, question: Question, view: View) -> View:
        """What is known; a wish that nothing be asked makes nobody a reader for longer."""
        stale = self._stale(hub, question, view)
        if self._offline or self._needs_no_word(hub, question, view):
            return stale
        said = f"Whether {asked_for(question)} is still open to this caller, only-if-cached forbids to ask."
        raise OfflineError(said, hint="Ask without it once.")

    def _stale(
        self,
        hub: Hub,
        question: Question,
        view: View,
        cause: UpstreamUnavailableError | None = None,
    ) -> View:
        stale = view.stale()
        if not hub.needs(question, stale) and admission.admitted(question, stale):
            return stale
        admission.refuse_stranger(question, stale)
        # From here on one path and one text: a private repo of others looks like one never seen.
        what = asked_for(question)
        if cause is None:
            msg = f"modelmirror is offline and does not have {what}."
            raise OfflineError(msg, hint="Fetch it once while the mirror is online.")
        msg = f"modelmirror does not have {what}, and upstream cannot be asked now."
        raise OfflineError(msg, hint="Ask again when upstream can be reached.") from cause

    # ── audience ───────────────────────────────────────────────────────────────────────────────

    def _voice(self, question: Question, head: RequestHead, user: User) -> Voice:
        # Of the way a request came only the mirrors on it are passed on, not what stands in a LAN.
        via = ", ".join([*_HOP.findall(head.headers.get("via", "")), self._hop])
        own = self._gate.token(user, question.about if question.repo is None else question.repo)
        if own is not None:
            return Voice(own, own.fingerprint(self._secret), via)
        if self._gate.knows_callers:
            return Voice(None, "", via)
        if question.caller is not None:
            return Voice(self._lent.get(question.caller), question.caller, via)
        if head.credential is None or head.credential.is_ours or question.anonymous:
            return Voice(None, "", via)
        return Voice(head.credential, head.credential.fingerprint(self._secret), via)

    def _lend(self, voice: Voice) -> None:
        if voice.credential is not None:
            self._lent[voice.fingerprint] = voice.credential
            self._lent.move_to_end(voice.fingerprint)
            if len(self._lent) > MAX_LENT:
                self._lent.popitem(last=False)

    def _needs_no_word(self, hub: Hub, question: Question, view: View) -> bool:
        """Whether what is known will do where it would admit callers for longer than upstream's word is good.

        An outage that a caller met may be that caller's doing, and so is a wish that nothing be asked: for
        what is not open to all, a look of our own must say it too.
        """
        return (
            self._outages.sure(hub.name)
            or admission.open_to_all(question, view.stale())
            or admission.admitted(question, view)
        )

    def _view(self, question: Question, voice: Voice, user: User) -> View:
        as_of, now = self._leases.number, self._clock.wall()
        return View(
            self._catalog,
            self._memo,
            self._lifetimes,
            voice.fingerprint,
            now,
            now,
            about=question.repo,
            user=user.name,
            granted=partial(self._granted, reader=user.name) if user.name else self._granted,
            as_of=as_of,
        )
