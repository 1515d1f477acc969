"""The threads of one fill: what they fetch next, and what becomes of a transfer that breaks.

One thread leads: while one connection is enough it fetches itself, and hashes what it writes while it is
warm. Others join where a reader waits far from it, or where more connections are faster; then the leader
follows behind them, hashing in order what came out of order.
"""

import threading
from collections.abc import Callable
from typing import Final

from mirror.cache.fillpace import PER_HOST, Pace
from mirror.cache.fillplan import NEAR, SMALL, Claim, Plan, Wish
from mirror.cache.fillreach import Reach, Report
from mirror.cache.filltries import Tries
from mirror.credential import Credential
from mirror.errors import UpstreamBusyError, UpstreamUnavailableError
from mirror.messages import BlobRef
from mirror.store.partial import Partial
from mirror.store.sums import PIECE
from mirror.upstream.contract import TransferHead
from mirror.upstream.failures import RestartNeededError
from mirror.upstream.stopping import StopToken

# How often the leader looks up while others work, in seconds.
TICK: Final = 0.02

# A first request that would go on for longer is broken off when others are to share the work, in seconds:
# what is on its way on so slow a connection is little.
TOO_SLOW: Final = 2.0

# After a connection beside others broke, none is added for this long, in seconds, and twice as long
# after each one that follows.
SORRY: Final = 1.0


class _EnoughError(Exception):
    """A transfer brought its share, and the rest of its answer is not wanted."""


class Work:
    """The fetching of one blob into *partial*, led by the thread that calls `run`.

    *wish* is what its first reader wants, `None` for all of it.
    """

    def __init__(
        self,
        reach: Reach,
        blob: BlobRef,
        credential: Credential | None,
        wish: Wish | None,
        report: Report,
    ) -> None:
        self._reach = reach
        self._blob = blob
        self._credential = credential
        self._report = report
        self._stop = StopToken()
        self._changed = threading.Condition()
        self._plan = Plan(blob.size, (), wish)
        self._pace = Pace(reach.clock.monotonic())
        self._tries = Tries()
        # Calls so far, and those that the leader knew when it last looked.
        self._news = self._heard = 0
        self._partial: Partial | None = None
        self._host = ""
        self._source: str | None = None  # the upstream that knows the partial's validator
        self._active = 0  # transfers under way
        self.fetched = 0
        self._shared = False  # several connections share the work
        self._ranged = True  # upstream sends from the middle
        self._begun = False  # the first bytes of a large blob were asked for, and not judged yet
        self._anew = False
        self._resting = 0.0
        self._sorry = SORRY
        self._not_before = 0.0
        self._retired = False
        self._failure: BaseException | None = None

    @property
    def whole(self) -> bool:
        """Whether all of the blob is being fetched, and not only what readers wait for."""
        return self._plan.whole

    # ── from the event loop ────────────────────────────────────────────────────────────────────

    def want(self, start: int, end: int | None, *, whole: bool) -> None:
        """A reader waits for the byte at *start*; with *whole* it needs the blob's end as well."""
        with self._changed:
            self._plan.whole = self._plan.whole or whole
            near = max(NEAR, int(self._pace.rate / 2))
            self._plan.want(start, end, near=near)
            self._dispatch()
            self._call()

    def want_all(self) -> None:
        """A reader needs the whole blob."""
        with self._changed:
            self._plan.whole = True
            self._call()

    def stop(self) -> None:
        """End soon, whatever is under way."""
        self._stop.set()
        with self._changed:
            self._call()

    def retire(self) -> None:
        """Nobody reads any more: end once what they wanted is there, unless all of it is fetched."""
        with self._changed:
            self._retired = True
            self._call()

    # ── the leader ─────────────────────────────────────────────────────────────────────────────

    def run(self, partial: Partial) -> bool:
        """Fetch until all is there (`True`), or all that is wanted (`False`). Raises why it cannot be."""
        with self._changed:
            self._partial = partial
            self._plan.reset(partial.extents())
        try:
            while True:
                claim = self._lead()
                if claim is not None:
                    self._serve(claim, partial)
                    continue
                if not self._host:
                    self._report.begun()  # All that is wanted is there.
                if not partial.catch_up():
                    with self._changed:
                        if self._plan.complete and partial.received == partial.size:
                            return True
                        if self._retired and not self._active and not self._plan.whole:
                            return False
                        if self._news == self._heard:
                            self._changed.wait(TICK if self._active else None)
        finally:
            with self._changed:
                self._failure = self._failure or _EnoughError()
                if self._active:
                    self._stop.set()  # It broke: nobody waits for what others still bring.
                while self._active:
                    self._changed.wait()

    def _lead(self) -> Claim | None:
        """What the leader itself is to fetch now; `None` while others do, or nobody needs to."""
        with self._changed:
            while True:
                self._heard = self._news
                self._stop.check()
                if self._failure is not None:
                    raise self._failure
                wait = self._not_before - self._reach.clock.monotonic()
                if wait <= 0 or self._active:
                    break
                self._changed.wait(wait)
            if self._anew:
                if self._active:
                    return None
                claim = self._plan.all()
            else:
                if self._shared:
                    self._pace.note(self.fetched, self._reach.clock.monotonic())
                elif self._begun and not self._active:
                    self._judge()
                self._dispatch()
                if self._shared and self._active:
                    return None
                found = self._plan.next(shared=self._shared)
                if found is None:
                    return None
                claim = found
                if self._fresh():
                    self._begun = self._plan.begin(claim)
                if self._blind() and not self._active:
                    self._plan.release(claim)
                    self._anew, claim = True, self._plan.all()
            self._active += 1
            return claim

    def _fresh(self) -> bool:
        """Whether nothing is here or was asked for yet, and upstream may be asked for a part."""
        if self._host or self._tries.failed or not self._ranged:
            return False
        return self._partial is not None and not self._partial.held

    def _judge(self) -> None:
        """Say after the first bytes of a large blob whether one connection is enough; the lock is held."""
        self._begun = False
        if self._ranged and self._plan.missing and self._plan.whole:
            now = self._reach.clock.monotonic()
            self._pace.note(self.fetched, now, anyway=True)
            self._shared = self._pace.target > 1 and now >= self._resting

    def _blind(self) -> bool:
        """Whether what is here cannot be gone on from: nothing strong says which version it is of.

        The digest would tell in the end, but readers of a part of the blob cannot wait for that.
        """
        return self._partial is not None and not self._partial.validator and self._partial.held > 0

    def _call(self) -> None:
        """Have the leader look; the lock is held."""
        self._news += 1
        self._changed.notify_all()

    # ── those who join ─────────────────────────────────────────────────────────────────────────

    def _dispatch(self) -> None:
        """Have other threads fetch what they can; the lock is held."""
        now = self._reach.clock.monotonic()
        if self._anew or not self._ranged or self._failure is not None or now < self._resting:
            return
        while self._host and (self._active or self._shared):
            claim = None
            if self._reach.hosts.take(self._host):
                claim = self._next_beside()
                if claim is None:
                    self._reach.hosts.give(self._host)
            if claim is None:
                return
            self._active += 1
            try:
                self._reach.lanes.submit(self._lane, claim)
            except (RuntimeError, MemoryError):  # No thread can be started: one connection will do.
                self._active -= 1
                self._plan.release(claim)
                self._reach.hosts.give(self._host)
                self._resting, self._sorry = now + self._sorry, 2 * self._sorry
                return

    def _next_beside(self) -> Claim | None:
        if self._shared and self._active < self._pace.target:
            return self._plan.next(shared=True)
        return self._plan.leap() if self._active < PER_HOST else None

    def _lane(self, claim: Claim | None) -> None:
        partial, host = self._partial, self._host
        with self._changed:
            if claim not in self._plan.claims:
                return  # Taken back when no thread could be started; by now there is one.
        try:
            while claim is not None and partial is not None:
                self._serve(claim, partial)
                with self._changed:
                    now = self._reach.clock.monotonic()
                    on = self._ranged and not self._anew and now >= self._resting
                    claim = self._next_beside() if on and self._failure is None else None
                    self._active += claim is not None
        except BaseException as error:  # noqa: BLE001 -- the leader raises it
            with self._changed:
                self._failure = self._failure or error
        finally:
            self._reach.hosts.give(host)
            with self._changed:
                self._call()

    # ── one transfer ───────────────────────────────────────────────────────────────────────────

    def _serve(self, claim: Claim, partial: Partial) -> None:
        """Fetch one claim; what it does not bring is missing again."""
        trouble: UpstreamUnavailableError | None = None
        anew = self._anew
        asked = self._reach.clock.monotonic()
        try:
            with self._changed:
                validator, source = partial.validator, self._source
            sink = self._comparing(claim, partial) if anew else self._writing(claim, partial)
            self._reach.fetcher.fetch(
                self._blob.hub,
                self._blob.source,
                self._credential,
                offset=claim.at,
                end=claim.end if claim.end < partial.size else None,
                size=partial.size,
                validator=None if anew else validator,
                source=source,
                sink=sink,
                head=lambda head: self._head(partial, head, asked, anew=anew),
                stop=self._stop,
            )
        except _EnoughError:
            pass
        except UpstreamUnavailableError as error:
            trouble = error
        finally:
            with self._changed:
                self._plan.release(claim)
                if anew:
                    self._plan.reset(partial.extents())
                    self._anew = False
                self._active -= 1
                self._call()
        if trouble is not None:
            with self._changed:
                self._recover(trouble)

    def _recover(self, error: UpstreamUnavailableError) -> None:
        """Say when and how to go on after *error*, or raise it; the lock is held."""
        restart = isinstance(error, RestartNeededError)
        now = self._reach.clock.monotonic()
        began, self._begun = self._begun, False
        if restart:
            self._ranged = False
            if began and not self._active and not self._host:
                return  # Whoever has no parts sends all of it, and nothing was taken yet.
        if self._active and self._host:
            # Others go on, and bring what this one did not: that is no failed try of the fill.
            self._pace.shrink(now)
            self._resting, self._sorry = now + self._sorry, 2 * self._sorry
            if restart or isinstance(error, UpstreamBusyError):
                # What is under way brings what it can: the next request may not be answered soon.
                for claim in self._plan.claims:
                    self._plan.stretch(claim)
            return
        self._not_before = now + self._tries.pause(error, begun=bool(self._host))
        # Whoever does not continue a blob sends it from its first byte.
        self._anew = restart

    def _head(self, partial: Partial, head: TransferHead, asked: float, *, anew: bool) -> None:
        with self._changed:
            if not self._host:
                now = self._reach.clock.monotonic()
                self._pace.answered(now - asked, now)
            if anew or partial.validator is None or self._source not in (None, head.base):
                partial.validator = head.validator
            self._source = head.base
            # Without a strong validator nothing is put together from several answers.
            self._ranged = self._ranged and partial.validator is not None
            self._host = head.host
        self._report.begun()

    def _writing(self, claim: Claim, partial: Partial) -> Callable[[memoryview], None]:
        """Take bytes into the file up to the end of *claim*, wherever that is by then."""

        def take(chunk: memoryview) -> None:
            with self._changed:
                offset = claim.at
                size = min(len(chunk), claim.end - offset)
                if self._failure is not None or size <= 0:
                    raise _EnoughError
                # Before it is written: what is claimed by then nobody else may write.
                claim.at += size
                self.fetched += size
                if not self._shared and partial.size > SMALL and self._plan.whole:
                    self._consider(claim)
            partial.write(offset, chunk[:size])
            self._report.grew()
            if claim.at >= claim.end < claim.asked:
                raise _EnoughError

        return take

    def _consider(self, claim: Claim) -> None:
        """See whether one connection is enough; the lock is held."""
        now = self._reach.clock.monotonic()
        self._pace.note(self.fetched, now)
        if self._pace.target > 1 and self._ranged and now >= self._resting:
            self._shared = True
            if claim.end - claim.at > TOO_SLOW * self._pace.rate:
                self._plan.shorten(claim, -(-claim.at // PIECE) * PIECE)
            self._dispatch()

    def _comparing(self, claim: Claim, partial: Partial) -> Callable[[memoryview], None]:
        """Take all bytes again: compare what is there, and write from the first other one on.

        The same bytes mean that nothing changed, and disturb nobody. At the first other one those who
        may have sent the old ones are cut, for they must not go on with the new.
        """

        def take(chunk: memoryview) -> None:
            while chunk:
                there = min(len(chunk), partial.end_at(claim.at) - claim.at)
                if there > 0:
                    same = partial.common(claim.at, chunk[:there])
                    claim.at += same
                    chunk = chunk[same:]
                    if same < there:
                        self._rewind(partial, claim.at)
                    continue
                partial.write(claim.at, chunk)
                claim.at += len(chunk)
                break
            self._report.grew()

        return take

    def _rewind(self, partial: Partial, keep: int) -> None:
        what = f"Upstream has another version of the file, from byte {keep} on."
        self._report.rewind(
            keep, UpstreamUnavailableError(what, hint="Ask again: the new version is coming in.")
        )
        validator = partial.validator
        partial.restart(keep)
        partial.validator = validator
        self._report.rewound()
