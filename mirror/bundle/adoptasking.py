"""Asking upstream about what was found, from the thread of an adoption, as nobody in particular."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mirror.bundle.parts import Asked
from mirror.cache.asking import Asking, Voice
from mirror.cache.facts import Lifetimes, View
from mirror.clock import Clock
from mirror.errors import MirrorError, UpstreamRefusedError
from mirror.hubs.base import Hub
from mirror.index.memo import Memo
from mirror.index.protocol import Index
from mirror.names import Question

# The longest walk of a file list takes four rounds: revision, list, and each once more.
_ROUNDS: Final = 8
# RFC 9110 §7.6.3; no mirror on the way is known to be this one, for none came.
_VIA: Final = "1.1 modelmirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """What is asked by way of *asking*, on *loop*; with *offline* nobody is. Call it from another thread."""

    asking: Asking
    catalog: Index
    memo: Memo
    clock: Clock
    loop: asyncio.AbstractEventLoop
    offline: bool
    down: Callable[[str], bool]

    def __call__(self, hub: Hub, question: Question) -> Asked:
        """Ask all that *question* lacks, and record it."""
        if self.offline or self.down(hub.name):
            return Asked.SILENT
        return asyncio.run_coroutine_threadsafe(self._ask(hub, question), self.loop).result()

    async def _ask(self, hub: Hub, question: Question) -> Asked:
        now = self.clock.wall()
        lifetimes = Lifetimes({}, 0.0, 0.0)
        view = View(self.catalog, self.memo, lifetimes, "", now, now, about=question.repo)
        try:
            for _ in range(_ROUNDS):
                needs = hub.needs(question, view)
                if not needs:
                    break
                await self.asking.meet(hub, question, needs, view, Voice(None, "", _VIA))
                view.renew(self.clock.wall())
        except UpstreamRefusedError:
            return Asked.REFUSED
        except MirrorError:
            return Asked.SILENT
        return Asked.TOLD
