"""The access log: one line per request, written in batches.

aiohttp's own doubles the cost of a small request. Here a line is one f-string into a list, and the list
is written once a second or at 256 lines. A line never holds a query (signatures), a credential, or a
character that could forge another line; it ends in the response's Cache-Status.
"""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from mirror.clock import Clock
from mirror.web.trace import Trace

BATCH: Final = 256
PERIOD: Final = 1.0
# The longest Hub path seen in the wild has 300 characters.
MAX_PATH: Final = 512

_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")
_UNSAFE_QUOTED: Final = re.compile(r"[^\x20\x21\x23-\x7e]")


class AccessLog:
    """Gathers lines and hands them to *write*, each batch as one text with line ends.

    *write* may be `None`: then nothing is kept. *clock* gives the wall time of each line.
    """

    def __init__(
        self, write: Callable[[str], object] | None, clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._write = write
        self._clock = clock
        self._loop = loop
        self._second = -1
        self._when = ""
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(self, trace: Trace, seconds: float) -> None:
        """Add the line of one request, which took *seconds*."""
        if self._write is None:
            return
        now = self._clock.wall()
        second = int(now)
        if second != self._second:
            self._second = second
            self._when = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        cut = f'cut="{escape(trace.cut, 200, _UNSAFE_QUOTED)}" ' if trace.cut else ""
        self._lines.append(
            f"{self._when}.{int(now % 1 * 1000):03d}Z {escape(trace.client, 64)} {escape(trace.method, 20)} "
            f"{escape(trace.path, MAX_PATH)}{'?…' if trace.query else ''} {trace.status} "
            f"{max(0, trace.size)} {seconds:.3f} {cut}{trace.cache_status}\n"
        )
        if len(self._lines) >= BATCH:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(PERIOD, self.flush)

    def flush(self) -> None:
        """Write what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines and self._write is not None:
            text = "".join(self._lines)
            self._lines.clear()
            self._write(text)


def escape(text: str, limit: int, unsafe: re.Pattern[str] = _UNSAFE) -> str:
    """Make *text* printable ASCII of at most *limit* characters, dots where it was cut.

    What *unsafe* matches is written as its code point; by default that includes spaces.
    """
    short = text if len(text) <= limit else text[:limit] + "..."
    return unsafe.sub(lambda match: f"\\u{ord(match[0]):04x}", short)
