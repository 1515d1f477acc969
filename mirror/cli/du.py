"""`modelmirror du`: what takes the room, and what would be free without it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mirror.cli.ordering import give
from mirror.cli.shown import common, show, size, table


@click.command("du")
@click.option(
    "--by",
    type=click.Choice(["repo", "project"]),
    default="repo",
    show_default=True,
    help="A row for each repo and address, or for each project that pins are for.",
)
@common
def command(by: str, data: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Tell what each repo or project needs of what is stored, the largest first.

    ONLY is what nothing else needs: so much is free without it. SHARED is stored once for several.
    """
    reply = give(data, file, "du", {"by": by})
    show(reply, as_json=as_json, people=lambda: _table(reply))


def _table(reply: Mapping[str, Any]) -> str:
    ordered = sorted(reply["rows"], key=lambda row: -row["bytes"])
    rows = [
        (
            row["owner"],
            str(row["files"]),
            size(row["bytes"]),
            size(row["only"]),
            size(row["shared"]),
        )
        for row in ordered
    ]
    head = "PROJECT" if reply["by"] == "project" else "REPO"
    lines = [table((head, "FILES", "SIZE", "ONLY", "SHARED"), rows, (1, 2, 3, 4))] if rows else []
    lines.append(f"{size(reply['bytes'])} are stored in all.")
    if reply["unnamed"]:
        lines.append(f"{size(reply['unnamed'])} of them are of none of these.")
    return "\n".join(lines)
