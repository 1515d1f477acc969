"""`modelmirror rm`: what is here no longer, and is fetched anew when it is wanted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mirror.cli.completing import paths, stored
from mirror.cli.ordering import give
from mirror.cli.shown import common, counted, show, size


@click.command("rm")
@click.argument("target", shell_complete=stored)
@click.argument("path", required=False, default="", shell_complete=paths)
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@common
def command(
    target: str, path: str, data: Path | None, file: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    """Remove TARGET, or its files at PATH: a file, a folder, or a glob such as '*.bin'.

    TARGET is a repo, a revision of it (acme/tiny-bert@main), an address on another host (https://…,
    whisper:base) or a blob (sha256:…). Only what nothing else needs is freed; the next request asks
    upstream anew. What is pinned stays until it is unpinned. Clients that are reading it read to its end.
    """
    arguments = {"target": target, "path": path, "dry_run": dry_run}
    reply = give(data, file, "rm", arguments)
    show(reply, as_json=as_json, people=lambda: _sentences(reply))


def _sentences(reply: Mapping[str, Any]) -> str:
    verb, freed = ("would be", "would free") if reply["dry_run"] else ("is", "freed")
    went = f"{size(reply['freed'])} in {counted(reply['blobs'], 'file')}"
    lines = [f"{reply['what']} {verb} removed: {freed} {went}."]
    if reply["kept_blobs"]:
        kept = counted(reply["kept_blobs"], "file")
        lines.append(f"{size(reply['kept_bytes'])} in {kept} stay, which something else needs:")
        lines += [
            f"  {row['digest'][:19]}  {size(row['size'])}  needed by {row['needed_by']}"
            for row in reply["kept"][:10]
        ]
        more = reply["kept_blobs"] - 10
        if more > 0:
            lines.append(f"  … and {more} more.")
    return "\n".join(lines)
