"""`modelmirror du`: what takes the room, and what would be free without it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mirror.bundle import projects
from mirror.bundle.warming import goals, look
from mirror.cli.ordering import give
from mirror.cli.shown import common, show, size, table
from mirror.cli.wanting import endpoint_of, usage


@click.command("du")
@click.option(
    "--by",
    type=click.Choice(["repo", "project"]),
    help="A row for each repo and address (the default), or for each project that pins are for.",
)
@click.option(
    "--file",
    "listing",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The groups of this {projects.FILE} are projects, too.",
)
@common
def command(
    by: str | None, listing: Path | None, data: Path | None, file: Path | None, *, as_json: bool
) -> None:
    """Tell what each repo or project needs of what is stored, the largest first.

    ONLY is what nothing else needs: so much is free without it. SHARED is stored once for several.
    """
    if listing is not None and by == "repo":
        raise click.UsageError("--file is for --by project.")
    said: dict[str, Any] = {"by": by or ("project" if listing else "repo")}
    if listing is not None:
        said["projects"] = _projects(listing, data, file)
    reply = give(data, file, "du", said)
    show(reply, as_json=as_json, people=lambda: _table(reply))


def _projects(listing: Path, data: Path | None, file: Path | None) -> dict[str, list[str]]:
    """The digests of what each group of *listing* has here; nobody outside is asked."""
    with usage():
        groups = projects.read(listing)
    found: dict[str, dict[str, None]] = {name: {} for names in groups.values() for name in names}
    with endpoint_of(None, data, file, offline=True) as asked:
        good, bad = goals(list(groups), asked)
        needs = {need.source: need for goal in good for need in goal.needs}
        seen = look(asked, needs.values(), stored=True)
    for goal in good:
        here = [seen[need.source] for need in goal.needs if seen[need.source].here]
        for name in groups[goal.wanted]:
            found[name].update((str(one.digest), None) for one in here if one.digest)
    for wanted, _ in bad:
        click.echo(f"modelmirror: {wanted}: nothing of it is here.", err=True)
    return {name: list(digests) for name, digests in found.items()}


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
