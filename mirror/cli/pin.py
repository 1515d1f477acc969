"""`modelmirror pin`: what is kept whatever room is wanted for."""

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mirror.cli.completing import stored
from mirror.cli.ordering import give
from mirror.cli.shown import common, show, size, table


@click.command("pin")
@click.argument("target", required=False, default="", shell_complete=stored)
@click.option(
    "--for", "owner", help="A project or person it is kept for (default: your user name)."
)
@common
def command(
    target: str, owner: str | None, data: Path | None, file: Path | None, *, as_json: bool
) -> None:
    """Keep TARGET, whatever room is wanted for; without TARGET, list what is kept.

    TARGET is a repo (all its revisions), a revision (acme/tiny-bert@main: what it points at now, as it
    moves), an address on another host, or a blob. A pin keeps what is here and fetches nothing. Several
    projects may pin the same: it is kept until the last of them unpins it.
    """
    if target:
        reply = give(data, file, "pin", {"target": target, "for": owner or _user()})
        if any(row["target"] == target and not row["blobs"] for row in reply["pins"]):
            click.echo(
                f"modelmirror: nothing of {target} is here yet; what comes under that name is kept.",
                err=True,
            )
    elif owner:
        raise click.UsageError("--for wants to know which TARGET.")
    else:
        reply = give(data, file, "pins", {})
    show(reply, as_json=as_json, people=lambda: pins(reply))


def pins(reply: Mapping[str, Any]) -> str:
    """The table of pins."""
    rows = [
        (row["target"], ", ".join(row["for"]) or "-", str(row["blobs"]), size(row["bytes"]))
        for row in reply["pins"]
    ]
    if not rows:
        return "Nothing is pinned: what was wanted least recently goes when room is wanted."
    return table(("PINNED", "FOR", "FILES", "SIZE"), rows, (2, 3))


def _user() -> str:
    """Who asks; in a container the number of a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
