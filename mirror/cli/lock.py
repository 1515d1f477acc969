"""`modelmirror lock`: write down what targets are now, file by file."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from mirror.bundle import lockfile, projects
from mirror.bundle.endpoint import Endpoint
from mirror.bundle.lockfile import Locked
from mirror.bundle.needs import Goal, Need
from mirror.bundle.warming import Seen, goals, look
from mirror.cli.exits import FAILED
from mirror.cli.fromuse import used
from mirror.cli.wanting import counted, endpoint_of, usage
from mirror.errors import MirrorError
from mirror.targets import Kind
from mirror.units import parse_span


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
@click.option(
    "--from-use", is_flag=True, help="What clients have fetched, instead of what FILE lists."
)
@click.option(
    "--since", metavar="SPAN", help="With --from-use: within this time, like 1h; to the hour."
)
@click.option("--endpoint", metavar="URL", help="A running mirror; then no data folder is needed.")
@click.option("--data", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
def command(
    *,
    project: Path,
    groups: tuple[str, ...],
    from_use: bool,
    since: str | None,
    endpoint: str | None,
    data: Path | None,
    file: Path | None,
) -> None:
    """Write models.lock beside FILE, by default models.toml: commit, paths, sizes and digests of its targets.

    `warm --locked` and `check --locked` then mean exactly those files.
    """
    path = project.with_suffix(".lock")
    if (since and not from_use) or (from_use and (groups or endpoint)):
        raise click.UsageError(
            "--since is for --from-use, which is the operator's: no --group, no --endpoint."
        )
    if from_use:
        locked, bad = used(data, file, _span(since) if since else None, _told)
        for one, error in bad:
            click.echo(f"modelmirror: {one} is left out: {error}", err=True)
        if not locked:
            raise MirrorError(f"Nothing was used, so {path} stays as it was.")
    else:
        locked = _listed(project, path, groups, endpoint, data, file)
    _write(path, locked)


def _listed(
    project: Path,
    path: Path,
    groups: tuple[str, ...],
    endpoint: str | None,
    data: Path | None,
    file: Path | None,
) -> list[Locked]:
    """What *project* lists, of *groups* as it is now, of others as *path* has it."""
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
    return list(locked.values())


def _write(path: Path, locked: Sequence[Locked]) -> None:
    changed = lockfile.write(path, locked)
    files = sum(len(one.goal.needs) for one in locked)
    state = "written" if changed else "unchanged"
    click.echo(f"{path}: {counted(len(locked), 'target')}, {counted(files, 'file')}, {state}.")
    unknown = [
        need
        for held in locked
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


def _span(text: str) -> float:
    try:
        return parse_span(text)
    except ValueError as error:
        raise click.UsageError(f"--since: {error}.") from error


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
