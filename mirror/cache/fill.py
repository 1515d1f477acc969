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
from typing import Final, Protocol

from mirror.cache.feed import GrowingFeed
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import (
    DigestMismatchError,
    MirrorError,
    StoreError,
    StoreFullError,
    TruncatedBodyError,
    UpstreamUnreachableError,
)
from mirror.events import Alarm, FillEnded, FillStarted, Observer
from mirror.messages import BlobRef
from mirror.store.partial import Partial
from mirror.store.partials import Partials
from mirror.upstream.contract import Fetcher, TransferHead
from mirror.upstream.failures import RestartNeededError, StoppedError, StorageRefusedError
from mirror.upstream.stopping import StopToken

# Tries of one fill in all, while each brought the blob further: a connection that breaks now and then
# must not break its readers, an upstream that always breaks must not be asked for ever.
MAX_TRIES: Final = 3
PAUSE_AFTER_BREAK: Final = 0.2  # seconds, times the number of tries so far

# After these the bytes that came are good, and the next fill of the blob goes on from them.
_RESUMABLE: Final = (
    TruncatedBodyError,
    UpstreamUnreachableError,
    StoppedError,
    StorageRefusedError,
)


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
        self.readers = 0
        self.promised = 0  # callers who were told that it began and have not followed it yet
        self.error: MirrorError | None = None
        self.partial: Partial | None = None
        self.began = means.clock.monotonic()
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.credential = credential
        self._means = means
        self._loop = asyncio.get_running_loop()
        self._stop = StopToken()
        self._ending = threading.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._posted = threading.Event()

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        return self.blob.size

    # ── on the event loop ──────────────────────────────────────────────────────────────────────

    def feed(self) -> GrowingFeed:
        """A new reader of the growing file; `begun` must be done."""
        if self.partial is None:
            raise self.error or UpstreamUnreachableError("The download has not begun.")
        self.readers += 1
        return GrowingFeed(self, self.partial, self._means.disk, strict=self._means.strict)

    def subscribe(self, waiter: asyncio.Future[None]) -> None:
        """Have *waiter* resolved at the next change."""
        self._waiters.append(waiter)

    def leave(self) -> None:
        """One reader is gone; the fill goes on."""
        self.readers -= 1
        self._let_go()

    def end(self) -> None:
        """Nothing more will happen to the file: it is in the store, or given up."""
        self.ended = True
        self._let_go()

    def _let_go(self) -> None:
        if self.ended and not self.readers and self.partial is not None:
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
        outcome, received = "broken", 0
        try:
            partial = means.partials.begin(self.blob.digest, self.blob.size)
            self._receive(partial)
            partial.finish()
        except MirrorError as error:
            outcome = _outcome(error)
            received = self._give_up(partial, error)
        except OSError as error:
            # A disk fault of the partial itself: full, failing, gone read-only.
            full = StoreFullError(
                f"The data folder could not take the download: {error.strerror}.",
                needed=self.blob.size,
                free=0,
                hint="Free some room or check the disk, then ask again.",
            )
            outcome = "full"
            received = self._give_up(partial, full)
        else:
            outcome, received = "stored", partial.received
            self._tell(self._finish)
        means.observe(
            FillEnded(self.blob.hub, outcome, received, means.clock.monotonic() - self.began)
        )

    def _receive(self, partial: Partial) -> None:
        """Fetch what is missing, going on where a broken connection stopped."""
        for attempt in range(1, MAX_TRIES + 1):
            before = partial.received
            try:
                self._means.fetcher.fetch(
                    self.blob.hub,
                    self.blob.source,
                    self.credential,
                    offset=before,
                    size=self.blob.size,
                    validator=partial.validator,
                    sink=lambda chunk: self._take(partial, chunk),
                    head=lambda head: self._head(partial, head),
                    stop=self._stop,
                )
            except (TruncatedBodyError, UpstreamUnreachableError):
                if attempt == MAX_TRIES or partial.received == before:
                    raise
            except RestartNeededError:
                if attempt == MAX_TRIES:
                    raise
                partial.restart()
            except StorageRefusedError:
                # A signed URL that expired between two looks at it; the next try asks for a new one.
                if attempt == MAX_TRIES:
                    raise
            else:
                return
            if self._ending.wait(PAUSE_AFTER_BREAK * attempt):
                self._stop.check()

    def _head(self, partial: Partial, head: TransferHead) -> None:
        partial.validator = head.validator
        self._tell(lambda: self._begin(partial))

    def _take(self, partial: Partial, chunk: memoryview) -> None:
        partial.append(chunk)
        if not self._posted.is_set():
            self._posted.set()
            self._tell(self._wake)

    def _give_up(self, partial: Partial | None, error: MirrorError) -> int:
        received = 0
        if partial is not None:
            received = partial.received
            if isinstance(error, _RESUMABLE):
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
        self._tell(lambda: self._failed(partial, error))
        return received

    def _tell(self, message: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(message)
        except RuntimeError:  # The loop is closed: the process is ending and nobody listens.
            self._stop.set()


def _outcome(error: MirrorError) -> str:
    if isinstance(error, DigestMismatchError):
        return "mismatch"
    if isinstance(error, StoreFullError):
        return "full"
    return "broken"
