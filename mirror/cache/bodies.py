"""The bytes an answer promises: here, coming in, or passed through; settled before its head goes out.

After the head only an abort can tell of trouble, so whatever upstream has to say instead of bytes is
waited for here, where it still can be worded.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from mirror.cache.asking import Asking, Voice
from mirror.cache.facts import View
from mirror.cache.fillplan import Wish
from mirror.cache.fills import Fills
from mirror.cache.fillwishes import wanted
from mirror.cache.lacking import how_many
from mirror.cache.making import Making
from mirror.cache.outage import Outages
from mirror.cache.through import can_pass, pass_through
from mirror.cache.unwell import Unwell
from mirror.digest import SOURCE, Digest, repr_digest
from mirror.errors import (
    MirrorError,
    OfflineError,
    StoreError,
    TruncatedBodyError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from mirror.hubs.base import Hub
from mirror.messages import Answer, BlobRef, Relay, RequestHead, Span
from mirror.names import Artifact, Question, Tunnel
from mirror.upstream.contract import Asker, Stream


class NoLongerOpenError(MirrorError):
    """Upstream refused to everybody what was believed to be open to all."""


class Bodies:
    """Makes sure that what an answer promises can be sent.

    With *offline* nothing is ever fetched.
    """

    def __init__(
        self,
        *,
        fills: Fills,
        upstream: Asker,
        outages: Outages,
        asking: Asking,
        making: Making,
        unwell: Unwell,
        offline: bool,
    ) -> None:
        self._fills = fills
        self._making = making
        self._upstream = upstream
        self._outages = outages
        self._asking = asking
        self._unwell = unwell
        self._offline = offline

    async def provide(
        self,
        hub: Hub,
        question: Question,
        answer: Answer,
        head: RequestHead,
        voice: Voice,
        view: View,
    ) -> Answer | Relay:
        """Return *answer* once its blobs are here or coming in, or one that passes its file through.

        *voice* is without a credential where the answer is open to everyone. Raises what upstream says
        instead of bytes, `OfflineError` when it cannot be asked, and `NoLongerOpenError` when the
        question must be judged anew.
        """
        answer = self._told(await self._made(hub, question, answer, voice, view))
        blobs = wanted(answer, head)
        cold = [blob for blob in blobs if not self._fills.holds(blob)]
        if not cold:
            return replace(answer, found="hit") if blobs else answer
        if self._offline or head.only_stored or (head.method == "HEAD" and view.offline):
            raise self._lacking(question, view)
        if not all(self._fills.coming(blob) for blob in cold):
            why = await self._outages.refusing(hub.name)
            if why is not None:
                raise self._lacking(question, view) from why
        if head.method == "HEAD":
            return replace(answer, found="miss")
        try:
            try:
                found = await self._begin({blob: blobs[blob] for blob in cold}, voice)
            except StoreError as error:
                whole = can_pass(answer)
                if whole is None:
                    raise
                self._unwell.cannot_store(error)
                return await pass_through(self._upstream, hub.name, answer, whole, head, voice)
        except (UpstreamUnreachableError, TruncatedBodyError) as error:
            self._outages.failed(hub.name, error)
            raise self._lacking(question, view) from error
        except UpstreamRefusedError as error:
            repo = None if question.repo is None else view.canonical(question.repo)
            if repo is not None and await self._asking.refused(repo, error, voice):
                raise NoLongerOpenError(f"{repo.name} is no longer open to everyone.") from error
            raise
        self._outages.answered(hub.name)
        return replace(answer, found=found)

    async def _begin(self, cold: Mapping[BlobRef, Wish | None], voice: Voice) -> str:
        found = "collapsed"
        for blob, wish in cold.items():
            sent = replace(blob, source=voice.on_its_way(blob.source))
            if await self._fills.begin(sent, voice.credential, wish) == "miss":
                found = "miss"
        return found

    async def _made(
        self, hub: Hub, question: Question, answer: Answer, voice: Voice, view: View
    ) -> Answer:
        """*answer* with a body of known length: what is to be made is made now."""
        body = answer.derived
        if body is None:
            return answer
        lacks = self._making.lacks(body)
        if lacks and (self._offline or view.offline or self._outages.down(hub.name)):
            raise self._lacking(question, view)
        try:
            blob = await self._making.make(body, voice)
        except (UpstreamUnreachableError, TruncatedBodyError) as error:
            self._outages.failed(hub.name, error)
            raise self._lacking(question, view) from error
        if lacks:
            self._outages.answered(hub.name)
        spans = (Span(blob, 0, blob.size),) if blob.size else ()
        found = "miss" if lacks else answer.found
        headers = (*answer.headers, repr_digest(blob.digest))
        etag = blob.digest.hex
        return replace(answer, headers=headers, body=spans, etag=etag, found=found, derived=None)

    def _told(self, answer: Answer) -> Answer:
        """*answer* with the digest of a file that nobody publishes one of, once it has been here."""
        match answer.body:
            case (Span(blob=blob),) if blob.digest.algorithm == SOURCE:
                name = self._fills.name_of(blob.digest)
                if name is not None:
                    return replace(answer, headers=(*answer.headers, repr_digest(name)))
        return answer

    def names(self, answer: Answer) -> Collection[Digest] | None:
        """What the blobs of *answer* are called, here and upstream; `None` unless all are in the store."""
        names: list[Digest] = []
        for segment in answer.body:
            if isinstance(segment, Span):
                name = self._fills.made(segment.blob.digest)
                if name is None:
                    return None
                names += [segment.blob.digest, name.digest]
        return names

    async def tunnel(self, hub: Hub, question: Tunnel, voice: Voice) -> Relay:
        """Open what can only be passed on, as it comes."""
        if self._offline or voice.silent:
            raise OfflineError(
                "modelmirror is offline, and this request can only be passed on to upstream.",
                hint="Use a client that downloads files one by one; git needs the mirror online.",
            )
        why = await self._outages.refusing(hub.name)
        if why is not None:
            raise _cannot_pass_on() from why
        stack = AsyncExitStack()
        request = voice.on_its_way(question.request)
        try:
            stream = await stack.enter_async_context(
                self._upstream.stream(hub.name, request, voice.credential)
            )
        except UpstreamUnreachableError as error:
            # No outage is told from it: upstream may fail at what this caller sent.
            raise _cannot_pass_on() from error
        kept = ("content-type", "cache-control", "www-authenticate", "expires", "pragma")
        headers = tuple((name, stream.headers[name]) for name in kept if name in stream.headers)
        return Relay(stream.status, headers, stream.size, _chunks(stack, stream))

    def _lacking(self, question: Question, view: View) -> OfflineError:
        state = "is offline" if self._offline else "cannot reach upstream"
        known = how_many(question, view, self._fills.made)
        return OfflineError(
            f"modelmirror {state} and does not have {asked_for(question)}.{known}",
            hint="Fetch it once while upstream can be reached.",
        )


def asked_for(question: Question) -> str:
    """Name what a question is about, for people."""
    if question.title:
        return question.title
    where = f" of {question.repo.name}" if question.repo is not None else ""
    if isinstance(question, Artifact):
        return f"{question.path}{where}"
    return f"what was asked for{where}"


def _cannot_pass_on() -> OfflineError:
    msg = "This request can only be passed on to upstream, and upstream cannot be reached."
    return OfflineError(msg, hint="Ask again when upstream can be reached.")


async def _chunks(stack: AsyncExitStack, stream: Stream) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in stream.chunks():
            yield chunk
