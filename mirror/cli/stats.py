"""`modelmirror stats`: what the mirror has saved."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from mirror.cli.ordering import give
from mirror.cli.shown import common, show, size, table

_DAY: Final = 86_400
_SPANS: Final = (("last 24 hours", _DAY), ("last 7 days", 7 * _DAY), ("last 30 days", 30 * _DAY))


@click.command("stats")
@common
def command(data: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Tell how many bytes and requests the mirror has saved its upstreams.

    Counted are the bodies of answers and the content fetched for them, since the data folder was first
    used; --json has the last 30 days by the hour as well.
    """
    reply = give(data, file, "stats", {})
    show(reply, as_json=as_json, people=lambda: _table(reply, time.time()))


def _table(reply: Mapping[str, Any], now: float) -> str:
    rows = []
    for name, span in _SPANS:
        recent = [row[1:] for row in reply["hours"] if row[0] > now - span]
        rows.append(_row(name, [sum(column) for column in zip(*recent, strict=True)] or [0] * 4))
    since = time.strftime("since %Y-%m-%d", time.localtime(reply["since"]))
    rows.append(_row(since, [reply[name] for name in ("served", "fetched", "requests", "hits")]))
    heads = ("", "SERVED", "FETCHED", "SAVED", "REQUESTS", "HITS", "RATIO")
    return table(heads, rows, range(1, 7))


def _row(name: str, counts: Sequence[int]) -> Sequence[str]:
    served, fetched, requests, hits = counts
    ratio = f"{100 * hits / requests:.0f} %" if requests else "-"
    saved = max(0, served - fetched)
    return name, size(served), size(fetched), size(saved), str(requests), str(hits), ratio
