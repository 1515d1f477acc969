"""`modelmirror lock`: write down what targets are now, file by file."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from mirror.bundle import lockfile, projects
from mirror.bundle.endpoint import Endpoint
from mirror.bundle.lockfile import Locked
from mirror.bundle.needs import Goal, Need
from mirror.bundle.warming import Seen, goals, look
from mirror.cli.exits import FAILED
from mirror.cli.wanting import counted, endpoint_of, usage
from mirror.targets import Kind


@click.command("lock")
@click.argument(
    "project",
    metavar="[FILE]",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(projects.FILE),
)
@click.option(
    "--group", "groups", multiple=True, help="Only these groups; others stay as they are."
)
@click.option("--endpoint", metavar="URL", help="A running mirror; then no data folder is needed.")
@click.option("--data", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
def command(
    *,
    project: Path,
    groups: tuple[str, ...],
    endpoint: str | None,
    data: Path | None,
    file: Path | None,
) -> None:
    """Write models.lock beside FILE, by default models.toml: commit, paths, sizes and digests of its targets.

    `warm --locked` and `check --locked` then mean exactly those files.
    """
    path = project.with_suffix(".lock")
    with usage():
        listed = projects.read(project)
        wanted = projects.read(project, groups)
        kept = lockfile.read(path) if groups and path.exists() else []
    with endpoint_of(endpoint, data, file) as asked:
        good, bad = goals(list(wanted), asked)
        for one, error in bad:
            click.echo(f"modelmirror: {one}: {error}", err=True)
        if bad:
            click.echo(f"modelmirror: {path} stays as it was.", err=True)
            sys.exit(FAILED)
        found = _told(asked, good)
    locked = {goal.wanted: Locked(goal, tuple(listed[goal.wanted])) for goal in found}
    for old in kept:
        if (name := old.goal.wanted) in listed:
            locked.setdefault(name, replace(old, groups=tuple(listed[name])))
    changed = lockfile.write(path, locked.values())
    files = sum(len(one.goal.needs) for one in locked.values())
    state = "written" if changed else "unchanged"
    click.echo(f"{path}: {counted(len(locked), 'target')}, {counted(files, 'file')}, {state}.")
    unknown = [
        need
        for held in locked.values()
        for need in held.goal.needs
        if need.digest is None and not _made_anew(held.goal)
    ]
    if unknown:
        click.echo(
            f"modelmirror: Nobody publishes a digest of {counted(len(unknown), 'file')}"
            f" ({', '.join(need.name for need in unknown[:3])}{'…' if len(unknown) > 3 else ''})."
            " Once modelmirror warm has fetched them, modelmirror lock knows it.",
            err=True,
        )


def _told(endpoint: Endpoint, found: list[Goal]) -> list[Goal]:
    """*found* with the sizes and digests that the mirror knows of what nobody publishes them of."""
    needs = {need.source: need for goal in found if not _made_anew(goal) for need in goal.needs}
    unknown = [need for need in needs.values() if need.digest is None or need.size is None]
    seen = look(endpoint, unknown, stored=True) if unknown else {}
    rest = [need for need in unknown if not need.made and not seen[need.source].here]
    seen |= look(endpoint, rest, look=True) if rest else {}
    return [
        replace(goal, needs=[_with(need, seen.get(need.source)) for need in goal.needs])
        for goal in found
    ]


def _made_anew(goal: Goal) -> bool:
    """Whether upstream makes it anew of the same content: its bytes are no promise."""
    return goal.wanted.target.kind is Kind.TORCHHUB


def _with(need: Need, seen: Seen | None) -> Need:
    if seen is None:
        return need
    size = seen.size if need.size is None else need.size
    return replace(need, size=size, digest=need.digest or seen.digest)
