"""How often one fill asks again, and how long it makes its readers wait for that.

Retries belong to the fetch and not to each client: eight clients of a connection that always breaks cost
upstream four requests and not thirty-two. What brought bytes counts as well, for an upstream that sends a
few bytes and breaks would otherwise be asked for ever.
"""

import random
from collections.abc import Callable
from typing import Final

from mirror.errors import (
    MirrorError,
    TruncatedBodyError,
    UpstreamBusyError,
    UpstreamUnreachableError,
)
from mirror.upstream.failures import RestartNeededError, StoppedError, StorageRefusedError

# How often one fill asks again; the failure after that ends it. Three breaks are survived.
MAX_RETRIES: Final = 3

# Before the second try, in seconds; twice as long before each one after it, give or take a half.
FIRST_PAUSE: Final = 0.2

# The longest that all pauses of one fill may hold its readers, in seconds: clients of the Hub give up
# after 10 s without a byte. Whoever names a later time is believed, and his answer is passed on.
MAX_HELD: Final = 8.0

# After these the bytes that came are good, and the next fill of the blob goes on from them.
RESUMABLE: Final = (
    TruncatedBodyError,
    UpstreamUnreachableError,
    UpstreamBusyError,
    StoppedError,
    StorageRefusedError,
)


class Tries:
    """The failed tries of one fill.

    *jitter* returns a number from 0 up to 1: fills that broke together must not come back together.
    """

    __slots__ = ("_held", "_jitter", "failed")

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._held = 0.0
        self.failed = 0

    def pause(self, error: MirrorError, *, begun: bool) -> float:
        """How many seconds to wait before the try after the one that *error* ended.

        *begun* tells whether this fill has had an answer that fits. Until then only what may be over at
        once is tried again, so that an outage is told at once. Raises *error* when nothing is left to try.
        """
        self.failed += 1
        if self.failed > MAX_RETRIES or not self._worth_it(error, begun=begun):
            raise error
        asked: float | None = getattr(error, "retry_after", None)
        wait = FIRST_PAUSE * (1 << (self.failed - 1)) * (0.5 + self._jitter())
        if isinstance(error, RestartNeededError):
            wait = 0.0  # Nothing broke: it only has to be asked in another way.
        elif asked is not None:
            wait = max(wait, asked)
        if self._held + wait > MAX_HELD:
            raise error
        self._held += wait
        return wait

    def _worth_it(self, error: MirrorError, *, begun: bool) -> bool:
        match error:
            case TruncatedBodyError() | RestartNeededError() | StorageRefusedError():
                # The last: a signed URL that expired between two looks at it. The next try gets a new one.
                return True
            case UpstreamUnreachableError():
                return begun or (error.passing and self.failed == 1)
            case UpstreamBusyError():
                return begun or error.retry_after is not None
            case _:
                return False
