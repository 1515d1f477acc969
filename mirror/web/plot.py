"""What was served over time, drawn: bars of bytes, and a line of the share of requests that were hits.

Inline SVG that is stretched to the width there is, so that a phone shows the same bars; what is to be read
stands in HTML beside it and keeps its size. Colours are classes, for the page's policy forbids styles inline.
A table says the same to those who do not see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mirror.units import format_size

HOUR: Final = 3600
DAY: Final = 24 * HOUR
# So many bars of an hour are shown, until there is more to show than that: then so many of a day.
HOURS: Final = 48
DAYS: Final = 30

_WIDTH: Final = 1000
_HEIGHT: Final = 100


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was counted in the time that began at wall time *start*: bytes, requests, hits among them."""

    start: float
    served: int = 0
    fetched: int = 0
    requests: int = 0
    hits: int = 0

    @property
    def saved(self) -> int:
        """Bytes that clients got and nobody had to fetch."""
        return max(0, self.served - self.fetched)

    @property
    def ratio(self) -> float | None:
        """The share of requests that were hits, `None` without any."""
        return min(1.0, self.hits / self.requests) if self.requests else None


def plot(hours: Sequence[Traffic], now: float) -> str:
    """Draw *hours*, each the start of an hour and what was counted in it, oldest first, up to *now*."""
    bars, step = binned(hours, now)
    highest = max((max(bar.served, bar.fetched) for bar in bars), default=0)
    if not any(bar.requests or bar.served or bar.fetched for bar in bars):
        return '<p class="none">Nothing has been served yet.</p>'
    word, span = ("hour", "48 hours") if step == HOUR else ("day", "30 days")
    begin, end = _label(bars[0].start, step), "now"
    middle = _label(bars[len(bars) // 2].start, step)
    axis = f"<span>{begin}</span><span>{middle}</span><span>{end}</span>"
    return (
        f'<figure class="plot"><figcaption>Bytes sent to clients, by {word}: '
        '<span class="key saved">saved</span> <span class="key fetched">fetched from upstream</span>'
        f'</figcaption><div class="scale"><span>{format_size(highest)}</span><span>0</span></div>'
        f"{_bars(bars, highest, span)}"
        f'<div class="axis">{axis}</div></figure>'
        f'<figure class="plot low"><figcaption>Requests answered from the store, by {word}</figcaption>'
        '<div class="scale"><span>100 %</span><span>0</span></div>'
        f"{_line(bars, span)}"
        f'<div class="axis">{axis}</div></figure>'
        f"{_table(bars, word, step)}"
    )


def binned(hours: Sequence[Traffic], now: float) -> tuple[list[Traffic], int]:
    """*hours* as the bars that are drawn, gaps filled, and how many seconds each bar is."""
    last = int(now // HOUR) * HOUR
    recent = [hour for hour in hours if hour.start <= last]
    step, number = HOUR, HOURS
    if recent and recent[0].start <= last - HOURS * HOUR:
        step, number = DAY, DAYS
    last = int(now // step) * step
    first = last - (number - 1) * step
    bars = {first + place * step: Traffic(first + place * step) for place in range(number)}
    for hour in recent:
        start = int(hour.start // step) * step
        if start in bars:
            bar = bars[start]
            bars[start] = Traffic(
                start,
                bar.served + hour.served,
                bar.fetched + hour.fetched,
                bar.requests + hour.requests,
                bar.hits + hour.hits,
            )
    return list(bars.values()), step


def _bars(bars: Sequence[Traffic], highest: int, span: str) -> str:
    width = _WIDTH / len(bars)
    shapes = []
    for place, bar in enumerate(bars):
        saved, fetched = (
            part / highest * _HEIGHT if highest else 0.0 for part in (bar.saved, bar.fetched)
        )
        left = place * width + width * 0.12
        for name, bottom, height in (("fetched", 0.0, fetched), ("saved", fetched, saved)):
            if height > 0:
                # What is there at all is seen: a hair of it, however much more the next bar has.
                tall = max(height, 0.8)
                shapes.append(
                    f'<rect class="{name}" x="{left:.1f}" y="{_HEIGHT - bottom - tall:.2f}" '
                    f'width="{width * 0.76:.1f}" height="{tall:.2f}"/>'
                )
    what = (
        f"Bytes sent in the last {span}: {format_size(sum(bar.served for bar in bars))}, of which "
    )
    what += f"{format_size(sum(bar.saved for bar in bars))} were saved."
    return _svg(what, "".join(shapes))


def _line(bars: Sequence[Traffic], span: str) -> str:
    width = _WIDTH / len(bars)
    path, drawing, dots = "", False, ""
    for place, bar in enumerate(bars):
        if bar.ratio is None:
            drawing = False
            continue
        at = f"{(place + 0.5) * width:.1f} {_HEIGHT - bar.ratio * _HEIGHT:.1f}"
        path += f"{'L' if drawing else 'M'}{at}"
        dots += f"M{at}h0"
        drawing = True
    requests, hits = sum(bar.requests for bar in bars), sum(bar.hits for bar in bars)
    what = f"Of {requests:,} requests in the last {span}, {hits:,} were answered from the store."
    return _svg(what, f'<path class="line" d="{path}"/><path class="dots" d="{dots}"/>')


def _svg(what: str, shapes: str) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-label="{what}">'
        f"{shapes}</svg>"
    )


def _table(bars: Sequence[Traffic], word: str, step: int) -> str:
    lines = "".join(
        f"<tr><th scope=row>{_label(bar.start, step)}</th><td class=n>{format_size(bar.served)}</td>"
        f"<td class=n>{format_size(bar.fetched)}</td><td class=n>{format_size(bar.saved)}</td>"
        f"<td class=n>{bar.requests:,}</td><td class=n>{percent(bar.ratio)}</td></tr>"
        for bar in reversed(bars)
        if bar.requests or bar.served or bar.fetched
    )
    heads = "".join(
        f"<th scope=col class=n>{name}</th>"
        for name in ("Sent", "Fetched", "Saved", "Requests", "Hits")
    )
    return (
        "<details><summary>The same as a table</summary>"
        '<div class="table"><table><thead><tr>'
        f"<th scope=col>{word.capitalize()} (UTC)</th>{heads}</tr></thead><tbody>{lines}</tbody></table>"
        "</div></details>"
    )


def percent(ratio: float | None) -> str:
    """A share as people write it; what is not all of it is never called 100 %."""
    if ratio is None:
        return "none"
    if 0.99 < ratio < 1:
        return f"{min(99.9, ratio * 100):.1f} %"
    return f"{ratio * 100:.0f} %"


def _label(start: float, step: int) -> str:
    at = datetime.fromtimestamp(start, UTC)
    return f"{at:%d %b %H:%M}" if step == HOUR else f"{at:%d %b}"
