"""One cold blob: from upstream into a partial, waking its readers as it grows, then into the store.

A fill belongs to the cache, not to its first client: when that one hangs up it goes on. It runs in a
worker thread, since receiving, writing and hashing all release the interpreter lock, and tells the event
loop how far it is. No other module holds the state of a fill.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from mirror.cache.feed import GrowingFeed
from mirror.cache.filltries import RESUMABLE, Tries
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import (
    DigestMismatchError,
    MirrorError,
    StoreError,
    StoreFullError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.events import Alarm, FillEnded, FillStarted, Observer
from mirror.messages import BlobRef
from mirror.store.partial import Partial
from mirror.store.partials import Partials
from mirror.upstream.contract import Fetcher, TransferHead
from mirror.upstream.failures import RestartNeededError
from mirror.upstream.stopping import StopToken


class Announce(Protocol):
    """Who takes a verified partial on to the store."""

    def __call__(self, fill: "Fill") -> None:
        """Publish the fill's partial; called on the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What every fill works with."""

    fetcher: Fetcher
    partials: Partials
    clock: Clock
    observe: Observer
    publish: Announce
    disk: Executor
    strict: bool


class Fill:
    """The fetching of one blob.

    *blob* says what and from where; *credential* may be sent to its source. The attributes are written
    on the event loop only, by messages from the worker thread.
    """

    def __init__(self, means: Means, blob: BlobRef, credential: Credential | None) -> None:
        self.blob = blob
        self.received = 0
        self.verified = False
        self.ended = False
        self.promised = 0  # callers who were told that it began and have not followed it yet
        self.error: MirrorError | None = None
        self.partial: Partial | None = None
        self.began = means.clock.monotonic()
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._means = means
        self._credential = credential
        self._loop = asyncio.get_running_loop()
        self._stop = StopToken()
        self._ending = threading.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._feeds: set[GrowingFeed] = set()
        self._posted = threading.Event()

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        return self.blob.size

    @property
    def readers(self) -> int:
        """How many read along now."""
        return len(self._feeds)

    # ── on the event loop ──────────────────────────────────────────────────────────────────────

    def feed(self) -> GrowingFeed:
        """A new reader of the growing file; `begun` must be done."""
        if self.partial is None:
            raise self.error or UpstreamUnreachableError("The download has not begun.")
        feed = GrowingFeed(self, self.partial, self._means.disk, strict=self._means.strict)
        self._feeds.add(feed)
        return feed

    def subscribe(self, waiter: asyncio.Future[None]) -> None:
        """Have *waiter* resolved at the next change."""
        self._waiters.append(waiter)

    def leave(self, feed: GrowingFeed) -> None:
        """One reader is gone; the fill goes on."""
        self._feeds.discard(feed)
        self._let_go()

    def end(self) -> None:
        """Nothing more will happen to the file: it is in the store, or given up."""
        self.ended = True
        self._let_go()

    def _let_go(self) -> None:
        if self.ended and not self._feeds and self.partial is not None:
            self.partial.close()

    def stop(self) -> None:
        """Have the worker thread end soon, keeping what is synced of the partial."""
        self._ending.set()
        self._stop.set()

    def _wake(self) -> None:
        self._posted.clear()
        if self.partial is not None:
            self.received = self.partial.received
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _begin(self, partial: Partial) -> None:
        self.partial = partial
        self.received = partial.received
        if not self.begun.done():
            self.begun.set_result(None)

    def _finish(self) -> None:
        self.verified = True
        self._wake()
        self._means.publish(self)

    def _failed(self, partial: Partial | None, error: MirrorError) -> None:
        self.partial = partial
        self.fail(error)

    def fail(self, error: MirrorError) -> None:
        """End without a blob: every reader is cut, whoever waits for the start is told why."""
        self.error = error
        self._wake()
        self.end()
        if not self.begun.done():
            self.begun.set_exception(error)
            self.begun.exception()  # Retrieved: every caller may have left.

    # ── in the worker thread ───────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Fetch, write and check the blob; every ending is told to the event loop."""
        means = self._means
        partial: Partial | None = None
        means.observe(FillStarted(self.blob.hub, self.blob.size))
        error: MirrorError | None = None
        try:
            partial = means.partials.begin(self.blob.digest, self.blob.size)
            self._receive(partial)
            partial.finish()
        except MirrorError as trouble:
            error = trouble
        except OSError as trouble:
            # A disk fault of the partial itself: full, failing, gone read-only.
            error = StoreFullError(
                f"The data folder could not take the download: {trouble.strerror}.",
                needed=self.blob.size,
                free=0,
                hint="Free some room or check the disk, then ask again.",
            )
        received = 0 if partial is None else partial.received
        if error is not None:
            self._give_up(partial, error)
        outcome = "stored" if error is None else _outcome(error)
        # Counted before it is told: whoever hears of the end finds it in the counters.
        means.observe(
            FillEnded(self.blob.hub, outcome, received, means.clock.monotonic() - self.began)
        )
        if error is None:
            self._tell(self._finish)
        else:
            failure = error
            self._tell(lambda: self._failed(partial, failure))

    def _receive(self, partial: Partial) -> None:
        """Fetch what is missing, going on where a broken connection stopped."""
        tries = Tries()
        anew = False
        while True:
            intake = _Intake(partial, 0 if anew else partial.received, self._rewind)
            try:
                self._means.fetcher.fetch(
                    self.blob.hub,
                    self.blob.source,
                    self._credential,
                    offset=intake.offset,
                    size=self.blob.size,
                    validator=None if anew else partial.validator,
                    sink=lambda chunk, intake=intake: self._take(intake, chunk),  # type: ignore[misc]
                    head=lambda head: self._head(partial, head),
                    stop=self._stop,
                )
            except UpstreamUnavailableError as error:
                # Whoever does not continue a blob sends it from its first byte.
                anew = isinstance(error, RestartNeededError)
                wait = tries.pause(error, begun=self.partial is not None)
            else:
                return
            if self._ending.wait(wait):
                self._stop.check()

    def _head(self, partial: Partial, head: TransferHead) -> None:
        partial.validator = head.validator
        self._tell(lambda: self._begin(partial))

    def _take(self, intake: "_Intake", chunk: memoryview) -> None:
        intake.take(chunk)
        if not self._posted.is_set():
            self._posted.set()
            self._tell(self._wake)

    def _rewind(self, partial: Partial, keep: int, host_says: str) -> None:
        """Cut those who may have sent bytes beyond *keep*, then forget these bytes."""
        error = UpstreamUnavailableError(host_says, hint="Ask again: the new version is coming in.")
        stopped = threading.Event()

        def cut() -> None:
            self.received = min(self.received, keep)
            for feed in self._feeds:
                feed.rewound(keep, error)
            stopped.set()

        self._tell(cut)
        # The loop never waits for this thread, so the wait is as short as one turn of it.
        while not stopped.wait(1.0):
            self._stop.check()
        validator = partial.validator
        partial.restart(keep)
        partial.validator = validator

    def _give_up(self, partial: Partial | None, error: MirrorError) -> None:
        """Keep what is good of the bytes that came, and raise the alarm over wrong ones."""
        if partial is not None:
            if isinstance(error, RESUMABLE):
                with suppress(StoreError):  # What cannot be kept is fetched again.
                    partial.keep()
            else:
                partial.abandon()
        if isinstance(error, DigestMismatchError):
            self._means.observe(
                Alarm(
                    "digest-mismatch", f"{self.blob.repo}: {error.message} Nothing was published."
                )
            )

    def _tell(self, message: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(message)
        except RuntimeError:  # The loop is closed: the process is ending and nobody listens.
            self._stop.set()


class _Intake:
    """Where the bytes of one transfer go: behind what is there, once they were found to continue it.

    A source that cannot send from the middle sends all again. The same bytes mean that nothing changed and
    nobody is disturbed; at the first other one *rewind* is told, for who has sent the old ones must not
    go on with the new.
    """

    __slots__ = ("_partial", "_rewind", "offset")

    def __init__(
        self, partial: Partial, offset: int, rewind: Callable[[Partial, int, str], None]
    ) -> None:
        self._partial = partial
        self._rewind = rewind
        self.offset = offset

    def take(self, chunk: memoryview) -> None:
        """Compare what is there already, and write the rest."""
        partial = self._partial
        there = min(len(chunk), partial.received - self.offset)
        if there > 0:
            same = partial.common(self.offset, chunk)
            self.offset += same
            if same < there:
                what = f"Upstream has another version of the file, from byte {self.offset} on."
                self._rewind(partial, self.offset, what)
            chunk = chunk[same:]
        if chunk:
            partial.append(chunk)
            self.offset += len(chunk)


def _outcome(error: MirrorError) -> str:
    if isinstance(error, DigestMismatchError):
        return "mismatch"
    if isinstance(error, StoreFullError):
        return "full"
    return "broken"
