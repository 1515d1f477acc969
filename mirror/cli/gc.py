"""`modelmirror gc`: what nobody needs goes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from mirror.cli.ordering import give
from mirror.cli.shown import common, show, size
from mirror.units import parse_span

_HOUR: Final = "1h"


class _Span(click.ParamType[float]):
    name = "span"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_span(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option(
    "--older",
    type=_Span(),
    default=_HOUR,
    show_default=True,
    help="Leave younger downloads and files alone.",
)
@common
def command(
    data: Path | None, file: Path | None, *, older: float, dry_run: bool, as_json: bool
) -> None:
    """Remove what nobody needs: half downloads, what was set aside, files that nothing names.

    Nothing that a client could ask for goes: for room, there is --quota, which removes what was wanted
    least recently, and `modelmirror rm`.
    """
    reply = give(data, file, "gc", {"dry_run": dry_run, "older": older})
    show(reply, as_json=as_json, people=lambda: _lines(reply))


def _lines(reply: Mapping[str, Any]) -> str:
    partials, blobs = reply["partials"], reply["blobs"]
    lines = [
        ("half downloads", f"{size(partials['bytes'])} of {partials['count']}"),
        ("files that nothing names", f"{size(blobs['bytes'])} in {blobs['count']}"),
        ("set aside as damaged", size(reply["quarantine"]["bytes"])),
        ("sums without a file", str(reply["sums"]["count"])),
        ("lines of the journal", str(reply["journal"]["lines"])),
    ]
    width = max(len(name) for name, _ in lines)
    verb = "would be free" if reply["dry_run"] else "are free"
    shown = [f"{name:<{width}}  {text}" for name, text in lines]
    return "\n".join([*shown, f"{size(reply['freed'])} {verb}."])
