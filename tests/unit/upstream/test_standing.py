"""Standing: a 429 is obeyed to the second, by whom it was said to, and failing upstreams go behind."""

import asyncio
from dataclasses import replace

import pytest

from mirror.clock import FixedClock
from mirror.credential import Credential
from mirror.errors import (
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamUnavailableError,
    UpstreamUnreachableError,
)
from mirror.upstream.policy import Origin, Step
from mirror.upstream.standing import FIRST_BEHIND, LAST_BEHIND, LONGEST, MAX_SHUT, UNSAID, Standing
from tests.unit.upstream.conftest import Upstream
from tests.unit.upstream.listener import Listener, says

HUB = Origin("https", "huggingface.co", 443)
CDN = Origin("https", "cdn.hf.co", 443)
ALICE = Credential("Bearer a")
ASKED = Step(HUB, "/x", "https://huggingface.co", trusted=True)
DEAD, ALIVE = (Step(HUB, "/x", base, trusted=True) for base in ("dead", "alive"))
REFUSED = UpstreamUnreachableError("refused")


@pytest.fixture
def clock() -> FixedClock:
    """Time that moves when told to."""
    return FixedClock()


@pytest.fixture
def standing(clock: FixedClock) -> Standing:
    """Hosts of which nothing is known."""
    return Standing(clock)


def _busy(standing: Standing, credential: Credential | None = None, wait: str = "7") -> None:
    headers = {"retry-after": wait} if wait else {}
    with pytest.raises(UpstreamBusyError):
        standing.judge(ASKED, credential, 429, headers)


def _wait(standing: Standing, credential: Credential | None = None) -> float:
    """How long the next request is told to wait; 0 if it may go."""
    try:
        standing.check(ASKED, credential)
    except UpstreamBusyError as busy:
        return busy.retry_after or -1.0
    return 0.0


@pytest.mark.parametrize(
    ("said", "seconds"), [("7", 7.0), ("", UNSAID), ("86400", LONGEST), ("0", 0.0)]
)
def test_a_429_shuts_the_host_for_as_long_as_it_said(
    standing: Standing, clock: FixedClock, said: str, seconds: float
) -> None:
    """Nobody is sent to it before, within a bound; each is told how long is left."""
    _busy(standing, wait=said)
    assert _wait(standing) == seconds
    if seconds:
        clock.advance(seconds - 0.5)
        assert _wait(standing) == 0.5


def test_one_request_goes_first_when_the_time_is_over(
    standing: Standing, clock: FixedClock
) -> None:
    """The others wait for its answer; where none comes, one more goes each second."""
    _busy(standing)
    clock.advance(7)
    assert [_wait(standing) for _ in range(3)] == [0.0, UNSAID, UNSAID]
    clock.advance(UNSAID)
    assert [_wait(standing) for _ in range(2)] == [0.0, UNSAID]
    _busy(standing)
    assert _wait(standing) == 7.0
    clock.advance(7)
    assert _wait(standing) == 0.0
    standing.judge(ASKED, None, 404, {})
    assert [_wait(standing) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_a_429_is_for_whom_it_was_said_to(standing: Standing) -> None:
    """One caller's, one host's, one upstream's limit is nobody else's; what was under way opens nothing."""
    _busy(standing, ALICE)
    assert _wait(standing) == 0.0
    standing.check(replace(ASKED, origin=CDN), ALICE)
    standing.check(replace(ASKED, base="another"), ALICE)
    standing.judge(ASKED, ALICE, 200, {})
    assert _wait(standing, ALICE) == 7.0


def test_hosts_remembered_are_few(standing: Standing) -> None:
    """However many callers are told 429, the oldest are forgotten."""
    for number in range(MAX_SHUT + 1):
        _busy(standing, Credential(f"Bearer {number}"))
    assert _wait(standing, Credential("Bearer 0")) == 0.0
    assert _wait(standing, Credential("Bearer 1")) == 7.0


def test_an_upstream_that_fails_goes_behind(standing: Standing, clock: FixedClock) -> None:
    """For ever longer; then one tries it, the others after it did well."""
    assert standing.order([DEAD, ALIVE]) == [DEAD, ALIVE]
    standing.failed(DEAD, UpstreamUnavailableError("an answer that is too long"))
    assert standing.order([DEAD, ALIVE]) == [DEAD, ALIVE]
    rest = FIRST_BEHIND
    for _ in range(8):
        standing.failed(DEAD, REFUSED)
        clock.advance(rest - 0.01)
        assert standing.order([DEAD, ALIVE]) == [ALIVE, DEAD]
        clock.advance(0.01)
        assert standing.order([DEAD, ALIVE]) == [DEAD, ALIVE]
        assert standing.order([DEAD, ALIVE]) == [ALIVE, DEAD]
        rest = min(2 * rest, LAST_BEHIND)
    standing.did_well(DEAD)
    assert standing.order([DEAD, ALIVE]) == [DEAD, ALIVE]
    standing.failed(ALIVE, TruncatedBodyError("cut", expected=2, got=1))
    standing.failed(DEAD, REFUSED)
    assert standing.order([DEAD, ALIVE]) == [DEAD, ALIVE]


def test_both_clients_obey_what_one_was_told() -> None:
    """A 429 to a question keeps downloads from the host as well, without a connection."""
    with Listener(says(429, b"", ("Retry-After", "60"))) as hub:
        upstream = Upstream(hub.url)
        with pytest.raises(UpstreamBusyError):
            asyncio.run(upstream.ask())
        with pytest.raises(UpstreamBusyError) as busy:
            upstream.fetch(10)
        upstream.close()
        assert busy.value.retry_after is not None
        assert 50 < busy.value.retry_after <= 60
        assert len(hub.seen) == 1
