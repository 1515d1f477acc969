"""The access log: one line per request, written in batches.

aiohttp's own doubles the cost of a small request. Here a line is one f-string into a list, and the list
is written once a second or at 256 lines. A line never holds a query (signatures), a credential, or a
character that could forge another line; it ends in the response's Cache-Status. As JSON it is the same in
one object. Time and client come first: what is behind them can be written before they are known.
"""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from mirror.clock import Clock
from mirror.redaction import escaped, redacted
from mirror.web.trace import Trace

BATCH: Final = 256
PERIOD: Final = 1.0
# The longest Hub path seen in the wild has 300 characters.
MAX_PATH: Final = 512

_UNSAFE_QUOTED: Final = re.compile(r"[^\x20\x21\x23-\x7e]")


class AccessLog:
    """Gathers lines and hands them to *write*, each batch as one text with line ends.

    *write* may be `None`: then nothing is kept. *clock* gives the wall time of each line; with *as_json*
    a line is one JSON object.
    """

    def __init__(
        self,
        write: Callable[[str], object] | None,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        as_json: bool = False,
    ) -> None:
        self._write = write
        self._clock = clock
        self._loop = loop
        self._line, self._rest = (_as_json, _json_rest) if as_json else (_as_text, _text_rest)
        self._second = self._moment = -1
        self._day = self._when = ""
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(self, trace: Trace, seconds: float) -> None:
        """Add the line of one request, which took *seconds*."""
        if self._write is not None:
            rest = self._rest(trace, seconds)
            self.add(self.client(trace.client), rest, self._clock.wall())

    def client(self, address: str) -> str:
        """A client as a line shows it."""
        return escaped(address, 64)

    def rest(self, trace: Trace, seconds: float) -> str:
        """What the line of one request, which took *seconds*, has behind time and client."""
        return "" if self._write is None else self._rest(trace, seconds)

    def add(self, client: str, rest: str, now: float) -> None:
        """Add the line that *rest* was made for, of *client* and of the wall time *now*."""
        if self._write is None:
            return
        moment = int(now * 1000)
        if moment != self._moment:
            self._moment = moment
            second, milliseconds = divmod(moment, 1000)
            if second != self._second:
                self._second = second
                self._day = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._when = f"{self._day}.{milliseconds:03d}Z"
        self._lines.append(self._line(self._when, client, rest))
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


def _as_text(when: str, client: str, rest: str) -> str:
    return f"{when} {client} {rest}"


def _text_rest(trace: Trace, seconds: float) -> str:
    cut = f'cut="{escaped(redacted(trace.cut), 200, _UNSAFE_QUOTED)}" ' if trace.cut else ""
    return (
        f"{escaped(trace.method, 20)} "
        f"{_path(trace)}{'?…' if trace.query else ''} {trace.status} "
        f"{max(0, trace.size)} {seconds:.3f} {cut}{trace.cache_status}\n"
    )


def _as_json(when: str, client: str, rest: str) -> str:
    begin = {"time": when, "level": "info", "event": "request", "client": client}
    return f"{json.dumps(begin)[:-1]}, {rest}"


def _json_rest(trace: Trace, seconds: float) -> str:
    row = {
        "method": escaped(trace.method, 20),
        "path": _path(trace),
        "query": trace.query,
        "status": trace.status,
        "bytes": max(0, trace.size),
        "seconds": round(seconds, 3),
        "hub": trace.hub,
        "found": trace.found,
    }
    if trace.cut:
        row["cut"] = escaped(redacted(trace.cut), 200, _UNSAFE_QUOTED)
    return json.dumps(row)[1:] + "\n"


def _path(trace: Trace) -> str:
    return escaped(redacted(trace.path), MAX_PATH)
