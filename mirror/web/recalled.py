"""Answers that send one stored blob, kept for whoever wants other bytes of it.

A client that downloads a large file in parallel asks for it sixteen times and more, each time with another
`Range`. What the engine composes is the same each time; only what the door cuts from it differs. So the
composed answer is kept, on the terms that it names (`mirror.leases`), and the door judges conditions and
ranges anew for each request. It is for requests that say nothing else which an answer could be made of, and
for what is open to everybody: nothing else has terms.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from typing import Final, NamedTuple

from mirror.cache.keeper import Keeper
from mirror.clock import Clock
from mirror.leases import Lease
from mirror.messages import Answer, Relay, RequestHead, Span
from mirror.web.fields import Fields
from mirror.web.lane import IGNORED, KEPT_FOR

# Some 2 KiB each; who downloads more files than these at once pays for a look-up more.
MOST: Final = 256

# The door reads these itself. The engine looks at the range, too, to see which blobs are wanted: an answer
# that is kept sends one, and that is here.
_JUDGED: Final = frozenset({"range", "if-range"})
_SUITED: Final = IGNORED | _JUDGED | {"host"}


class _Key(NamedTuple):
    path: str
    query: str
    base_url: str


class Recalled:
    """Keeps at most *most* answers, 0 for none, those that were wanted last."""

    def __init__(self, keeper: Keeper, clock: Clock, *, most: int = MOST) -> None:
        self._keeper = keeper
        self._clock = clock
        self._most = most
        self._kept: OrderedDict[_Key, tuple[Answer, Lease]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def suits(self, method: str, names: Collection[str]) -> bool:
        """Whether a request with headers of these *names* wants bytes of a file, and says nothing else."""
        if method != "GET" or not self._most:
            return False
        said = {name.lower() for name in names}
        return "range" in said and said <= _SUITED

    def find(self, head: RequestHead) -> Answer | None:
        """The answer to a request that `suits`, if one is kept and still good."""
        key = _key(head)
        kept = self._kept.get(key)
        if kept is None:
            return None
        answer, lease = kept
        if not lease.good(self._clock.wall()):
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return answer

    def keep(self, head: RequestHead, answer: Answer | Relay) -> None:
        """Keep the *answer* of the engine to a request that `suits`, as far as its terms allow.

        To be called before anybody but the engine has looked at the headers of *head*.
        """
        if not isinstance(answer, Answer) or answer.terms is None or answer.status != 200:
            return
        if not answer.ranges or len(answer.body) != 1 or not isinstance(answer.body[0], Span):
            return
        # Made of a field that others may say differently, it is good for this request alone.
        if not isinstance(head.headers, Fields) or head.headers.heard & IGNORED:
            return
        terms = answer.terms
        until = min(terms.until, terms.since + KEPT_FOR)
        lease = self._keeper.lease(replace(terms, until=until))
        if lease is None:
            return
        key = _key(head)
        self._drop(key)
        self._kept[key] = (replace(answer, credential=None, terms=None), lease)
        while len(self._kept) > self._most:
            self._drop(next(iter(self._kept)))

    def close(self) -> None:
        """Let everything go."""
        for key in list(self._kept):
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept[1].end()


def _key(head: RequestHead) -> _Key:
    return _Key(head.path, head.query, head.base_url)
