"""`modelmirror accept`: other bytes of an address are right."""

from pathlib import Path

import click

from mirror.cli.completing import addresses
from mirror.cli.ordering import give
from mirror.cli.shown import common, show


@click.command("accept")
@click.argument("url", shell_complete=addresses)
@common
def command(url: str, data: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Believe the next content that comes from URL, an address on another host.

    Where nothing is published of a file, what came first is believed and every later download must be the
    same; other bytes raise the alarm `digest-mismatch` and are never served. If upstream changed the file
    for good, this takes the new one: the next request fetches it.
    """
    reply = give(data, file, "accept", {"target": url})
    show(
        reply,
        as_json=as_json,
        people=lambda: "\n".join(
            f"The next content of {text} is believed." for text in reply["accepted"]
        ),
    )
