"""How upstream hosts stand: who asked to be left alone, and which upstream fails where there are others.

A 429 shuts a host to whoever was answered with it, until the time it named; then one request goes first,
and the others follow once it was answered. Limits are counted per account, or per address for those without
one, so it is shut to one credential: a caller who asks too much must not have all others wait. Where a site
serves several hosts from one of its own, each has its own limit: it is the upstream of each that counts.

An upstream that fails goes behind those that do not, for ever longer, so that not every request waits for
it. It is never left out: where all fail, all are asked.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mirror.clock import Clock
from mirror.credential import Credential
from mirror.errors import (
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.upstream.policy import Origin, Step
from mirror.upstream.verdicts import check_available

# How long a host is left alone that does not say for how long, and how long the one request that goes
# first afterwards is waited for before there is another, in seconds.
UNSAID: Final = 1.0

# A host that names a later time is asked again after this many seconds all the same.
LONGEST: Final = 300.0

# Hosts and credentials that are remembered; the oldest is forgotten, and at worst told 429 again.
MAX_SHUT: Final = 1024

# Seconds for which an upstream that failed goes behind the others: first, and at most.
FIRST_BEHIND: Final = 1.0
LAST_BEHIND: Final = 30.0


@dataclass(slots=True)
class _Behind:
    """An upstream that failed: behind the others until monotonic *until*, next for *rest* seconds."""

    until: float
    rest: float


class Standing:
    """What both clients of a mirror know of hosts. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._shut: OrderedDict[tuple[Origin, str, Credential | None], float] = OrderedDict()
        self._behind: dict[str, _Behind] = {}

    # ── 429 ────────────────────────────────────────────────────────────────────────────────────

    def check(self, step: Step, credential: Credential | None) -> None:
        """Raise `UpstreamBusyError` while *step* is shut to *credential*, which goes along."""
        key = (step.origin, step.base, credential)
        with self._lock:
            until = self._shut.get(key)
            if until is None:
                return
            now = self._clock.monotonic()
            if now >= until:
                self._shut[key] = now + UNSAID  # This one goes first.
                return
        wait = until - now
        raise UpstreamBusyError(
            f"{step.origin.authority} answered 429 before: it was asked too often. "
            f"Come back in {wait:.0f} s.",
            retry_after=wait,
        )

    def judge(
        self,
        step: Step,
        credential: Credential | None,
        status: int,
        headers: Mapping[str, str],
    ) -> None:
        """Learn from an answer; raises `UpstreamBusyError` for 429, `UpstreamUnreachableError` for 5xx."""
        key = (step.origin, step.base, credential)
        try:
            check_available(status, headers, step.origin.authority, self._clock)
        except UpstreamBusyError as error:
            wait = UNSAID if error.retry_after is None else min(error.retry_after, LONGEST)
            with self._lock:
                self._shut[key] = max(self._shut.get(key, 0.0), self._clock.monotonic() + wait)
                self._shut.move_to_end(key)
                if len(self._shut) > MAX_SHUT:
                    self._shut.popitem(last=False)
            raise
        with self._lock:
            # An answer to what was asked before the 429 opens nothing.
            until = self._shut.get(key)
            if until is not None and until <= self._clock.monotonic() + UNSAID:
                del self._shut[key]

    # ── several upstreams ──────────────────────────────────────────────────────────────────────

    def order(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Put the steps whose upstream fails behind the others."""
        if len(steps) < 2 or not self._behind:
            return steps
        now = self._clock.monotonic()
        with self._lock:
            failing = {step.base for step in steps if self._is_behind(step.base, now)}
        return sorted(steps, key=lambda step: step.base in failing)

    def failed(self, step: Step, error: UpstreamUnavailableError) -> None:
        """The upstream of *step* failed by *error*, which counts if it was unreachable or broke off."""
        if not isinstance(error, (UpstreamUnreachableError, TruncatedBodyError)):
            return
        now = self._clock.monotonic()
        with self._lock:
            behind = self._behind.setdefault(step.base, _Behind(0.0, FIRST_BEHIND))
            behind.until = now + behind.rest
            behind.rest = min(2 * behind.rest, LAST_BEHIND)

    def did_well(self, step: Step) -> None:
        """The upstream of *step* sent all that it was asked for."""
        if self._behind:
            with self._lock:
                self._behind.pop(step.base, None)

    def _is_behind(self, base: str, now: float) -> bool:
        behind = self._behind.get(base)
        if behind is None:
            return False
        if now < behind.until:
            return True
        behind.until = now + behind.rest  # This one tries it; the others wait for how it goes.
        return False
