"""One question, asked of what is known first and of upstream second.

The life of a question: its hub recognises it; what its answer needs is looked for among the facts; what
is missing is asked of upstream; the caller's right to it is checked, once, here, whatever the hub said;
then the hub answers from facts, and a body that is not in the store starts to come in.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from mirror.cache.asking import ANYONE, Asking, Voice
from mirror.cache.facts import Lifetimes, View
from mirror.cache.fillplan import Wish
from mirror.cache.fills import Fills
from mirror.cache.fillwishes import wanted
from mirror.cache.flights import Flights
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import (
    MalformedQuestionError,
    MirrorError,
    NotAdmittedError,
    OfflineError,
    UpstreamBusyError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from mirror.events import Alarm, Observer
from mirror.hubs.base import Hub
from mirror.index.memo import Memo
from mirror.index.protocol import Index
from mirror.messages import Answer, BlobRef, Relay, RequestHead
from mirror.names import Access, Artifact, Question, Tunnel, Verdict
from mirror.upstream.contract import Asker, Stream

# No answer that exists here waits longer for upstream.
PATIENCE: Final = 2.0

# Rounds of needs before a question is given up: the longest walk (alias, revision, tree, redacted tree,
# audience, path) takes six.
MAX_ROUNDS: Final = 12

# After a failed ask, how long upstream counts as down for a question that could do without asking.
DOWN_FOR: Final = 10.0

# Credentials lent to questions that carry a token of ours instead (CAS): enough for a large site.
MAX_LENT: Final = 4096


class PullThrough:
    """The hubs' engine.

    *offline* means never to ask upstream; *secret* keys the fingerprints of credentials.
    """

    def __init__(  # noqa: PLR0913 -- the composition root names each part once
        self,
        *,
        hubs: Sequence[Hub],
        asking: Asking,
        fills: Fills,
        upstream: Asker,
        catalog: Index,
        memo: Memo,
        lifetimes: Lifetimes,
        clock: Clock,
        secret: bytes,
        offline: bool,
        observe: Observer,
    ) -> None:
        self._hubs = hubs
        self._asking = asking
        self._fills = fills
        self._upstream = upstream
        self._catalog = catalog
        self._memo = memo
        self._lifetimes = lifetimes
        self._clock = clock
        self._secret = secret
        self._offline = offline
        self._observe = observe
        self._down_since: dict[str, float] = {}
        self._lent: OrderedDict[str, Credential] = OrderedDict()
        self._settling: Flights[int, None] = Flights()
        self._count = 0

    def down(self, hub: str) -> bool:
        """Whether the last ask of this hub's upstream failed a moment ago."""
        since = self._down_since.get(hub)
        return since is not None and self._clock.monotonic() - since < DOWN_FOR

    def _failed(self, hub: Hub, error: UpstreamUnavailableError) -> None:
        """Remember that upstream cannot be asked; the log hears of it once per outage."""
        if not self.down(hub.name):
            self._observe(Alarm("upstream-unavailable", f"{hub.name}: {error}"))
        self._down_since[hub.name] = self._clock.monotonic()

    async def ask(self, head: RequestHead, body: bytes) -> Answer | Relay:
        """Answer one request; what cannot be answered is refused in the hub's own words."""
        for hub in self._hubs:
            try:
                question = hub.recognise(head, body)
                if question is not None:
                    return replace(await self._answer(hub, question, head), hub=hub.name)
            except MirrorError as error:
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
        voice = self._voice(question, head)
        if isinstance(question, Tunnel):
            return await self._tunnel(hub, question, voice)
        view = self._view(voice)
        view, found = await self._settle(hub, question, view, voice)
        self._admit(question, view, anonymous=not view.caller)
        answer = hub.answer(question, view, head.base_url)
        if question.access is Access.READ and voice.credential is not None:
            self._lend(voice)
        blobs = wanted(answer, head)
        if blobs:
            found = await self._bodies(hub, question, blobs, voice, head, view)
        return replace(answer, found=found, credential=voice.credential)

    async def _settle(
        self, hub: Hub, question: Question, view: View, voice: Voice
    ) -> tuple[View, str]:
        """Find the facts: fresh ones, or stale ones when upstream cannot be asked in time."""
        if self._offline:
            return self._stale(hub, question, view), "hit"
        if not hub.needs(question, view):
            return view, "hit"
        stale = view.stale()
        at_hand = not hub.needs(question, stale) and self._admitted(question, stale)
        self._count += 1
        task, _ = self._settling.launch(
            self._count, lambda: self._rounds(hub, question, view, voice)
        )
        if at_hand:
            await asyncio.wait({task}, timeout=PATIENCE)
            if not task.done():
                return stale, "stale"
        try:
            await asyncio.shield(task)
        except UpstreamBusyError:
            if at_hand:
                return stale, "stale"
            raise
        except UpstreamUnavailableError as error:
            self._failed(hub, error)
            if at_hand:
                return stale, "stale"
            return self._stale(hub, question, view, error), "stale"
        self._down_since.pop(hub.name, None)
        return view, "miss"

    async def _rounds(self, hub: Hub, question: Question, view: View, voice: Voice) -> None:
        asked: set[str] = set()
        for _ in range(MAX_ROUNDS):
            needs = hub.needs(question, view)
            if not needs:
                return
            keys = {need.key for need in needs}
            if keys <= asked:
                break  # The same again would not teach more.
            asked |= keys
            await self._asking.meet(hub, question, needs, view, voice)
            view.now = self._clock.wall()
        msg = "Upstream's answers did not settle the question."
        raise UpstreamUnavailableError(msg, hint="Ask again; if it stays so, report it.")

    def _stale(
        self,
        hub: Hub,
        question: Question,
        view: View,
        cause: UpstreamUnavailableError | None = None,
    ) -> View:
        stale = view.stale()
        if not hub.needs(question, stale) and self._admitted(question, stale):
            return stale
        self._refuse_stranger(question, stale)
        # From here on one path and one text: a private repo of others looks like one never seen.
        what = f" of {question.repo.name}" if question.repo is not None else ""
        if cause is None:
            msg = f"modelmirror is offline and does not have what was asked for{what}."
            raise OfflineError(msg, hint="Fetch it once while the mirror is online.")
        msg = (
            f"modelmirror does not have what was asked for{what}, and upstream cannot be asked now."
        )
        raise OfflineError(msg, hint="Ask again when upstream can be reached.") from cause

    # ── audience ───────────────────────────────────────────────────────────────────────────────

    def _voice(self, question: Question, head: RequestHead) -> Voice:
        if question.caller is not None:
            return Voice(self._lent.get(question.caller), question.caller)
        if head.credential is None:
            return ANYONE
        return Voice(head.credential, head.credential.fingerprint(self._secret))

    def _lend(self, voice: Voice) -> None:
        if voice.credential is not None:
            self._lent[voice.fingerprint] = voice.credential
            self._lent.move_to_end(voice.fingerprint)
            if len(self._lent) > MAX_LENT:
                self._lent.popitem(last=False)

    def _admitted(self, question: Question, view: View) -> bool:
        return question.repo is None or view.admitted(
            view.canonical(question.repo), question.access
        )

    def _admit(self, question: Question, view: View, *, anonymous: bool) -> None:
        """The one gate: whatever a hub needed or did not, nobody is answered who is not admitted."""
        if self._admitted(question, view):
            return
        self._refuse_stranger(question, view)
        assert question.repo is not None  # noqa: S101 -- without a repo everybody is admitted
        raise NotAdmittedError(
            f"{question.repo.name} is not open to this caller.",
            repo=question.repo.name,
            gated=False,
            anonymous=anonymous,
            hint="Send a token that may read it.",
        )

    def _refuse_stranger(self, question: Question, view: View) -> None:
        """A gated repo's existence is public: say so. A private one's is not."""
        if question.repo is None:
            return
        repo = view.canonical(question.repo)
        seen = self._catalog.visibility(repo)
        if seen is None or seen.private or not seen.gated or question.access is not Access.READ:
            return
        if not view.admitted(repo, Access.READ):
            raise NotAdmittedError(
                f"Access to {repo.name} is restricted, and this caller has not been admitted to it.",
                repo=repo.name,
                gated=True,
                anonymous=not view.caller,
                hint="Ask for access on the Hub, then send a token that has it.",
            )

    # ── bodies ─────────────────────────────────────────────────────────────────────────────────

    async def _bodies(
        self,
        hub: Hub,
        question: Question,
        blobs: Mapping[BlobRef, Wish | None],
        voice: Voice,
        head: RequestHead,
        view: View,
    ) -> str:
        """Make sure every blob of an answer is here or comes in, before the head of the answer goes out."""
        cold = [blob for blob in blobs if not self._fills.holds(blob)]
        if not cold:
            return "hit"
        if self._offline or (head.method == "HEAD" and (view.offline or self.down(hub.name))):
            raise self._lacking(question)
        if head.method == "HEAD":
            return "miss"
        # A wrong token must not spoil what is open to everyone, and no token goes where none is needed.
        credential = None if self._is_open(question, view) else voice.credential
        found = "collapsed"
        for blob in cold:
            try:
                if await self._fills.begin(blob, credential, blobs[blob]) == "miss":
                    found = "miss"
            except UpstreamBusyError:
                raise
            except UpstreamUnavailableError as error:
                self._failed(hub, error)
                raise self._lacking(question) from error
            except UpstreamRefusedError as error:
                await self._refused(question, view, voice, error)
                raise
        self._down_since.pop(hub.name, None)
        return found

    def _lacking(self, question: Question) -> OfflineError:
        path = question.path if isinstance(question, Artifact) else "this file"
        where = f" of {question.repo.name}" if question.repo is not None else ""
        state = "is offline" if self._offline else "cannot reach upstream"
        return OfflineError(
            f"modelmirror {state} and does not have {path}{where}.",
            hint="Fetch it once while upstream can be reached.",
        )

    def _is_open(self, question: Question, view: View) -> bool:
        if question.repo is None:
            return False
        seen = view.visibility(view.canonical(question.repo))
        return seen is not None and not seen.private and not seen.gated

    async def _refused(
        self, question: Question, view: View, voice: Voice, error: UpstreamRefusedError
    ) -> None:
        """Upstream refused the bytes to this credential: it is accepted no longer."""
        if question.repo is None or not voice.fingerprint or error.status not in {401, 403}:
            return
        verdict = Verdict(
            view.canonical(question.repo), Access.READ, accepted=False, seen_at=self._clock.wall()
        )
        await asyncio.wrap_future(self._catalog.record_verdict(voice.fingerprint, verdict))

    # ── tunnels ────────────────────────────────────────────────────────────────────────────────

    async def _tunnel(self, hub: Hub, question: Tunnel, voice: Voice) -> Relay:
        if self._offline:
            raise OfflineError(
                "modelmirror is offline, and this request can only be passed on to upstream.",
                hint="Use a client that downloads files one by one; git needs the mirror online.",
            )
        stack = AsyncExitStack()
        try:
            stream = await stack.enter_async_context(
                self._upstream.stream(hub.name, question.request, voice.credential)
            )
        except UpstreamBusyError:
            raise
        except UpstreamUnavailableError as error:
            self._failed(hub, error)
            msg = "This request can only be passed on to upstream, and upstream cannot be reached."
            raise OfflineError(msg, hint="Ask again when upstream can be reached.") from error
        kept = ("content-type", "cache-control", "www-authenticate", "expires", "pragma")
        headers = tuple((name, stream.headers[name]) for name in kept if name in stream.headers)
        return Relay(stream.status, headers, stream.size, _chunks(stack, stream))

    def _view(self, voice: Voice) -> View:
        now = self._clock.wall()
        return View(
            self._catalog, self._memo, self._lifetimes, voice.fingerprint, started=now, now=now
        )


async def _chunks(stack: AsyncExitStack, stream: Stream) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in stream.chunks():
            yield chunk
