"""`modelmirror check`: is everything here, whole, that will be needed without a network?"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mirror.bundle.endpoint import AnswerRefusedError, Endpoint
from mirror.bundle.manifest import Manifest
from mirror.bundle.needs import Goal
from mirror.bundle.outcome import Wanted
from mirror.bundle.warming import Seen, differs, goals, look
from mirror.cli.exits import FAILED
from mirror.cli.telling import SCHEMA, targets_are
from mirror.cli.wanting import Choice, Where, counted, options, usage
from mirror.errors import MirrorError
from mirror.hook import modelmirror_hook
from mirror.units import format_size

_NOT_HERE = 501


@dataclass(frozen=True, slots=True)
class _Found:
    """What is here of a target: *lacking* are files by why; *error* is why nothing can be told of it."""

    wanted: Wanted
    files: int = 0
    size: int = 0
    lacking: Sequence[tuple[str, str]] = ()
    error: str = ""
    next: str = ""

    @property
    def whole(self) -> bool:
        return not self.lacking and not self.error


@click.command("check")
@options
@click.option("--locked", is_flag=True, help="What models.lock has, byte for byte.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Check this exported folder instead of the mirror.",
)
@click.option("--verify", is_flag=True, help="With --cache: hash every file again.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one event a line, for programs.")
def command(
    *,
    choice: Choice,
    where: Where,
    locked: bool,
    cache: Path | None,
    verify: bool,
    as_json: bool,
) -> None:
    """Say whether all TARGETs, by default those of models.toml, are here whole, and what mends it if not.

    Nobody outside is asked. Exits with 0 if everything is here, else with 1.
    """
    if cache is not None:
        with usage():
            wanted = list(choice.wanted()) if choice.said else []
        sys.exit(_exported(cache, wanted, verify=verify, as_json=as_json))
    if verify:
        raise click.UsageError(
            "--verify is for --cache; what the mirror stores is read by `modelmirror verify --data`."
        )
    with usage():
        held = choice.locked() if locked else None
        wanted = [] if held is not None else list(choice.wanted())
    with where.asked(offline=True) as asked:
        good, bad = goals(wanted, asked) if held is None else ([one.goal for one in held], [])

        def again(one: Wanted) -> str:
            return choice.again(one, where.words, locked=locked)

        found = _checked(asked, good, again)
    found += [_unknown(one, error, again(one)) for one, error in bad]
    _tell(found, as_json=as_json)
    if not all(one.whole for one in found):
        sys.exit(FAILED)


def _checked(
    endpoint: Endpoint, good: Sequence[Goal], again: Callable[[Wanted], str]
) -> list[_Found]:
    needs = {need.source: need for goal in good for need in goal.needs}
    seen = look(endpoint, needs.values(), stored=True)
    return [_of(goal, seen, again(goal.wanted)) for goal in good]


def _of(goal: Goal, seen: Mapping[str, Seen], again: str) -> _Found:
    lacking = []
    size = 0
    for need in goal.needs:
        one = seen[need.source]
        if not one.here:
            known = "" if need.size is None else f", {format_size(need.size)}"
            refused = f" ({one.error})" if one.status not in {0, _NOT_HERE} else ""
            lacking.append((need.name, f"missing{known}{refused}"))
        elif wrong := differs(need, one):
            lacking.append((need.name, wrong))
        else:
            size += one.size or 0
    mend = again if lacking else ""
    return _Found(goal.wanted, len(goal.needs), size, lacking, next=mend)


def _unknown(wanted: Wanted, error: MirrorError, again: str) -> _Found:
    status = error.status if isinstance(error, AnswerRefusedError) else 0
    said = "nothing of it is here" if status == _NOT_HERE else error.message
    return _Found(wanted, error=said, next=again)


def _tell(found: Sequence[_Found], *, as_json: bool) -> None:
    if as_json:
        _say("start", schema=SCHEMA)
    for one in found:
        if as_json:
            _events(one)
        elif one.whole:
            click.echo(f"{one.wanted}: {counted(one.files, 'file')} with {format_size(one.size)}.")
        else:
            _complain(one)
    whole = sum(one.whole for one in found)
    if as_json:
        failed = [str(one.wanted) for one in found if not one.whole]
        _say("end", bytes=sum(one.size for one in found), failed=failed)
    else:
        click.echo(f"{whole} of {targets_are(len(found))} here whole.")


def _complain(one: _Found) -> None:
    if one.error:
        click.echo(f"{one.wanted}: {one.error}", err=True)
    else:
        lacking = counted(len(one.lacking), "file")
        click.echo(f"{one.wanted}: {lacking} of {one.files} not as they should be:", err=True)
    for name, why in one.lacking:
        click.echo(f"  {name}: {why}", err=True)
    click.echo(f"  To mend it: {one.next}", err=True)


def _events(one: _Found) -> None:
    for name, why in one.lacking:
        _say("file", target=str(one.wanted), file=name, error=why, next=one.next)
    error = one.error or (f"{counted(len(one.lacking), 'file')} missing" if one.lacking else None)
    _say(
        "target",
        target=str(one.wanted),
        bytes=one.size,
        files=one.files,
        error=error,
        next=one.next or None,
    )


def _say(event: str, **fields: Any) -> None:
    keys = ("target", "file", "bytes", "total", "percent", "rate", "eta", "error", "next")
    said = {"event": event, **dict.fromkeys(keys), **fields}
    click.echo(json.dumps(said, ensure_ascii=False))


def _exported(folder: Path, wanted: Sequence[Wanted], *, verify: bool, as_json: bool) -> int:
    """Check an exported folder by its manifest, as the start-up hook does; its exit code is that one's."""
    flags = [*(["--verify"] if verify else []), *(["--json"] if as_json else [])]
    code = modelmirror_hook.main(["check", str(folder), *flags])
    if not wanted or code not in {0, FAILED}:
        return code
    held = set(Manifest.load(folder).targets)
    lacking = [str(one) for one in wanted if str(one) not in held]
    for one in lacking:
        click.echo(f"{one}: it was not exported to {folder}.", err=True)
        click.echo(f"  To mend it: modelmirror export --format cache {folder} {one}", err=True)
    return FAILED if lacking else code
