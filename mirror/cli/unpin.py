"""`modelmirror unpin`: what may go again when room is wanted."""

from pathlib import Path

import click

from mirror.cli.completing import pinned
from mirror.cli.ordering import give
from mirror.cli.pin import pins
from mirror.cli.shown import common, show


@click.command("unpin")
@click.argument("target", shell_complete=pinned)
@click.option("--for", "owner", default="", help="Only for this project or person.")
@common
def command(
    target: str, owner: str, data: Path | None, file: Path | None, *, as_json: bool
) -> None:
    """Keep TARGET no longer: for one project with --for, else for nobody. Nothing is removed by it."""
    reply = give(data, file, "unpin", {"target": target, "for": owner})
    show(reply, as_json=as_json, people=lambda: pins(reply))
