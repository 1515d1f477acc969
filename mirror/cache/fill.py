"""One cold blob: from upstream into a partial, waking its readers as it grows, then into the store.

A fill belongs to the cache, not to its first client: when that one hangs up it goes on. It runs in a
worker thread, since receiving, writing and hashing all release the interpreter lock, and tells the event
loop how far it is. No other module holds the state of a fill.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from mirror.cache.feed import GrowingFeed
from mirror.cache.fillplan import Wish
from mirror.cache.fillreach import Reach
from mirror.cache.filltries import RESUMABLE
from mirror.cache.fillwork import Work
from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import (
    DigestMismatchError,
    MirrorError,
    StoreError,
    StoreFullError,
    UpstreamUnreachableError,
)
from mirror.events import Alarm, FillEnded, FillStarted, Observer
from mirror.messages import BlobRef
from mirror.store.extents import Extents
from mirror.store.partial import Partial
from mirror.store.partials import Partials
from mirror.upstream.failures import OtherSizeError, StoppedError

# How long a fill that was only for parts of its blob waits for the next reader of it, in seconds.
LINGER: Final = 5.0

# How long bytes may come together before waiting readers are told again, in seconds: at 100 MB/s a
# megabyte for each of them, where a message for every chunk that came would wake all of them 400 times.
LOOK: Final = 0.01

# How long the worker thread waits for the event loop to hear of its ending before it tells it again, in
# seconds: a message is lost where there is no memory for it.
RETELL: Final = 1.0

_LOG: Final = logging.getLogger("modelmirror")


class Announce(Protocol):
    """Who hears that a fill is verified, or over; called on the event loop, a second time does no harm."""

    def __call__(self, fill: "Fill") -> None:
        """Publish the fill's partial, or forget the fill."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What every fill works with."""

    reach: Reach
    partials: Partials
    clock: Clock
    observe: Observer
    publish: Announce
    forget: Announce
    disk: Executor
    strict: bool


class Fill:
    """The fetching of one blob.

    *blob* says what and from where; *credential* may be sent to its source; *wish* is what its first
    reader wants, `None` for all of it. The attributes are written on the event loop only, by messages
    from the worker threads.
    """

    def __init__(
        self, means: Means, blob: BlobRef, credential: Credential | None, wish: Wish | None
    ) -> None:
        self.blob = blob
        self.credential = credential
        self.bound = blob.size  # readers go no further: lower only while bytes are being replaced
        self.retiring = False
        self.verified = False
        self.ended = False
        self.promised = 0  # callers who were told that it began and have not followed it yet
        self.error: MirrorError | None = None
        self.partial: Partial | None = None
        self.began = means.clock.monotonic()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._means = means
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._work = Work(means.reach, blob, credential, wish, self)
        self._file: Partial | None = None
        self._spans = Extents()
        self._used = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._feeds: set[GrowingFeed] = set()
        # Set while worker threads need not tell of more: the loop looks by itself, or nobody waits.
        self._posted = threading.Event()
        self._posted.set()
        self._seen = 0
        self._looking: asyncio.TimerHandle | None = None
        self._concluded = threading.Event()

    @property
    def size(self) -> int:
        """The length of the whole blob in bytes."""
        return self.blob.size

    @property
    def received(self) -> int:
        """Bytes that are in the file."""
        return self.partial.held if self.partial is not None else 0

    @property
    def fetched(self) -> int:
        """Bytes that came from upstream since it began: what lay here of an earlier try does not count."""
        return self._work.fetched

    @property
    def readers(self) -> int:
        """How many read along now."""
        return len(self._feeds)

    # ── on the event loop ──────────────────────────────────────────────────────────────────────

    def feed(self) -> GrowingFeed:
        """A new reader of the growing file; `ready` must be done."""
        if self.partial is None:
            raise self.error or UpstreamUnreachableError("The download has not begun.")
        feed = GrowingFeed(self, self.partial, self._means.disk, strict=self._means.strict)
        self._feeds.add(feed)
        return feed

    def subscribe(self, waiter: asyncio.Future[None]) -> None:
        """Have *waiter* resolved at the next change."""
        self._waiters.append(waiter)
        if self._looking is None:
            self._listen()

    def join(self, wish: Wish | None) -> None:
        """Another reader will want these bytes, or all of them."""
        self._watch()
        if wish is None:
            self._work.want_all()
        else:
            self._spans.add(wish.start, wish.end)
            self._work.want(wish.start, wish.end, whole=False)

    def want(self, offset: int, *, whole: bool) -> None:
        """A reader waits for the byte at *offset*; with *whole* it promised the blob's end."""
        end = self._spans.end_at(offset)
        self._work.want(offset, end if end > offset else None, whole=whole)

    def leave(self, feed: GrowingFeed) -> None:
        """One reader is gone; the fill goes on, unless it was only for what this one wanted."""
        self._feeds.discard(feed)
        self._watch()
        self._let_go()

    def _watch(self) -> None:
        """Look a while later whether anybody still wants parts of the blob."""
        self._used = self._loop.time()
        if self._timer is None and not self.ended:
            self._timer = self._loop.call_later(LINGER, self._retire)

    def _retire(self) -> None:
        self._timer = None
        if self.ended or self._feeds or self._work.whole:
            return
        left = self._used + LINGER - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._retire)
        else:
            self.retiring = True
            self._work.retire()

    def end(self) -> None:
        """Nothing more will happen to the file: it is in the store, or given up."""
        self.ended = True
        for timer in (self._timer, self._looking):
            if timer is not None:
                timer.cancel()
        self._let_go()

    def _let_go(self) -> None:
        if self.ended and not self._feeds and self.partial is not None:
            self.partial.close()

    def stop(self) -> None:
        """Have the worker thread end soon, keeping what is synced of the partial."""
        self._work.stop()

    def _wake(self) -> None:
        """Let everybody look, and look again a moment later whether more is there."""
        self._seen = self.received
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if waiters and self._looking is None and not self.ended:
            self._looking = self._loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        self._looking = None
        if not self._waiters:
            return  # Whoever comes next listens.
        if self.received != self._seen:
            self._wake()
        else:
            self._listen()

    def _listen(self) -> None:
        """Have the next bytes told, and those at once that came when nobody listened."""
        self._posted.clear()
        if self.received != self._seen and not self._posted.is_set():
            self._posted.set()
            self._loop.call_soon(self._wake)

    def _begin(self) -> None:
        self.partial = self._file
        if not self.ready.done():
            self.ready.set_result(None)

    def _finish(self) -> None:
        self.verified = True
        self._begin()
        self._wake()
        self._means.publish(self)

    def _keep(self) -> None:
        self.end()
        self._means.forget(self)

    def fail(self, error: MirrorError) -> None:
        """End without a blob: every reader is cut, whoever waits for the start is told why."""
        self.partial = self._file
        self.error = error
        self._wake()
        self.end()
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # Retrieved: every caller may have left.
        self._means.forget(self)

    def _conclude(self, ending: Callable[[], None]) -> None:
        if not self._concluded.is_set():
            ending()
            self._concluded.set()

    # ── in the worker threads ──────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Fetch, write and check the blob; every ending is told to the event loop."""
        if self.ended:
            return  # Given up for want of a thread, before there was one.
        try:
            ending = self._attempt()
        except BaseException as trouble:  # noqa: BLE001 -- no memory for a line in the log, for one
            failure = _inside(trouble)
            ending = lambda: self.fail(failure)  # noqa: E731
        while True:
            try:
                self._loop.call_soon_threadsafe(self._conclude, ending)
                if self._concluded.wait(RETELL):
                    return
            except RuntimeError:
                return  # The loop is closed: the process is ending and nobody listens.
            except MemoryError:
                time.sleep(RETELL)

    def _attempt(self) -> Callable[[], None]:
        """Do all the work; returns what the event loop has to do at the end."""
        means = self._means
        partial: Partial | None = None
        error: MirrorError | None = None
        complete = False
        try:
            means.observe(FillStarted(self.blob.hub, self.blob.size))
            partial = self._file = means.partials.begin(
                self.blob.digest, self.blob.size, self.blob.checks
            )
            complete = self._work.run(partial)
            if complete:
                partial.finish()
            else:
                partial.keep()
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
        except BaseException as trouble:  # noqa: BLE001 -- whatever it is, callers wait for an ending
            error = _inside(trouble)
            _LOG.exception("A download failed for a reason that nobody foresaw.")
        received = 0 if partial is None else partial.held
        if error is not None:
            self._give_up(partial, error)
        outcome = _outcome(error) if error is not None else "stored" if complete else "kept"
        # Counted before it is told: whoever hears of the end finds it in the counters.
        took, fetched = means.clock.monotonic() - self.began, self._work.fetched
        means.observe(FillEnded(self.blob.hub, outcome, received, took, fetched))
        if error is not None:
            failure = error
            return lambda: self.fail(failure)
        return self._finish if complete else self._keep

    def begun(self) -> None:
        """Tell the loop that upstream has sent a head that fits."""
        self._tell(self._begin)

    def grew(self) -> None:
        """Tell the loop that more bytes are there, if it listens."""
        if not self._posted.is_set():
            self._posted.set()
            self._tell(self._wake)

    def rewind(self, keep: int, error: MirrorError) -> None:
        """Cut those who may have sent bytes beyond *keep*, and return when nobody reads there."""
        stopped = threading.Event()

        def cut() -> None:
            self.bound = keep
            for feed in self._feeds:
                feed.rewound(keep, error)
            stopped.set()

        self._tell(cut)
        # The loop never waits for this thread, so the wait is as short as one turn of it.
        while not stopped.wait(1.0):
            if self._loop.is_closed():
                raise StoppedError("The mirror is ending.")

    def rewound(self) -> None:
        """Let readers go on to where the new bytes come."""

        def free() -> None:
            self.bound = self.size
            self._seen = -1  # Other bytes, even where there are as many.

        self._tell(free)

    def _give_up(self, partial: Partial | None, error: MirrorError) -> None:
        """Keep what is good of the bytes that came, and raise the alarm over wrong ones."""
        if partial is not None:
            if isinstance(error, RESUMABLE):
                with suppress(StoreError):  # What cannot be kept is fetched again.
                    partial.keep()
            else:
                partial.abandon()
        if isinstance(error, OtherSizeError) and self.blob.digest.proves:
            self._means.observe(Alarm("size-mismatch", self._unpublished(error)))
        if isinstance(error, DigestMismatchError):
            self._means.observe(Alarm("digest-mismatch", self._unpublished(error)))

    def _unpublished(self, error: MirrorError) -> str:
        return f"{self.blob.repo}: {error.message} Nothing was published.{self.blob.doubt}"

    def _tell(self, message: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(message)
        except RuntimeError:  # The loop is closed: the process is ending and nobody listens.
            self._work.stop()


def _inside(trouble: BaseException) -> StoreError:
    return StoreError(f"The download failed inside the mirror ({type(trouble).__name__}).")


def _outcome(error: MirrorError) -> str:
    if isinstance(error, DigestMismatchError):
        return "mismatch"
    if isinstance(error, StoreFullError):
        return "full"
    return "broken"
