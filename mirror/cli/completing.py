"""What a shell completes after a verb: the names of what is here, asked of the mirror like any order.

Whatever goes wrong completes nothing and prints nothing: the line that is being typed stays as it is.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import click

from mirror.cli.ordering import give
from mirror.errors import MirrorError


def stored(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Repos, addresses on other hosts, and behind an @ the branches and tags of a repo."""
    return _names(context, begun, ("repos", "revisions", "addresses"))


def pinned(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """What pins are on."""
    return _names(context, begun, ("pins",))


def addresses(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Addresses on other hosts."""
    return _names(context, begun, ("addresses",))


def paths(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Files of the target before, those that are here."""
    said = {"target": context.params.get("target") or "", "files": True}
    rows: Sequence[Mapping[str, Any]] = _asked(context, "ls", said).get("files", ())
    return [row["path"] for row in rows if row["stored"] and row["path"].startswith(begun)]


def _names(context: click.Context, begun: str, kinds: Sequence[str]) -> list[str]:
    reply = _asked(context, "names", {"begun": begun})
    return [name for kind in kinds for name in reply.get(kind, ())]


def _asked(context: click.Context, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    data, file = (
        None if value is None else Path(value)
        for value in (context.params.get(name) for name in ("data", "file"))
    )
    with redirect_stderr(io.StringIO()):
        try:
            return give(data, file, name, arguments)
        except (MirrorError, OSError, click.ClickException):
            return {}
