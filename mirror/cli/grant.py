"""`modelmirror grant`: who may read what by the operator's word."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mirror.cli.ordering import give


@click.command("grant")
@click.argument("pattern", required=False)
@click.argument("readers", nargs=-1, metavar="[everyone|USER]...")
@click.option("--remove", is_flag=True, help="Take it back: from those named, or altogether.")
@click.option("--data", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(
    pattern: str | None,
    readers: tuple[str, ...],
    data: Path | None,
    file: Path | None,
    *,
    remove: bool,
    as_json: bool,
) -> None:
    """Let READERS read the repos that PATTERN matches, whatever the hub says of them.

    PATTERN is a repo or a glob over repos: acme/tiny-bert, acme/*, dataset:acme/words. A grant makes what
    is stored of a gated or private repo readable, offline too; it gives the mirror no access to what the
    hub refuses it. Without PATTERN it lists what is granted. A running mirror heeds it at once.
    """
    if pattern is None:
        if remove:
            raise click.UsageError("--remove wants to know which PATTERN.")
        reply = give(data, file, "grants", {})
    elif not remove and not readers:
        raise click.UsageError("Say who may read it: everyone, or names of users.")
    else:
        arguments = {"pattern": pattern, "readers": list(readers)}
        reply = give(data, file, "ungrant" if remove else "grant", arguments)
    grants: Mapping[str, Sequence[str]] = reply["grants"]
    click.echo(json.dumps({"grants": grants}) if as_json else _table(grants))


def _table(grants: Mapping[str, Sequence[Any]]) -> str:
    if not grants:
        return "Nothing is granted: repos are open to whom the hub says."
    width = max(map(len, grants))
    return "\n".join(f"{pattern:<{width}}  {', '.join(names)}" for pattern, names in grants.items())
