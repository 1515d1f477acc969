"""`modelmirror status`: how the mirror is, in a dozen lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mirror.cli.ordering import give
from mirror.cli.shown import common, counted, lasted, show, size


@click.command("status")
@common
def command(data: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Tell how the mirror is: running or not, what is stored, how much room there is.

    A running mirror is asked; where none runs, the data folder is read.
    """
    reply = give(data, file, "status", {})
    show(reply, as_json=as_json, people=lambda: _lines(reply))


def _lines(reply: Mapping[str, Any]) -> str:
    quota, room = reply["quota"], size(reply["free"])
    lines = [
        ("mirror", _state(reply)),
        ("data", reply["data"]),
        ("stored", f"{size(reply['bytes'])} in {counted(reply['blobs'], 'file')}"),
        ("repos", f"{reply['repos']}, {reply['closed_repos']} of them not public"),
        ("room", f"{room} more" + ("" if quota is None else f" of a quota of {size(quota)}")),
        ("pins, grants", f"{reply['pins']}, {reply['grants']}"),
    ]
    if reply["partials"]["count"]:
        half = reply["partials"]
        lines.append(
            ("half here", f"{size(half['bytes'])} of {counted(half['count'], 'download')}")
        )
    if reply["quarantine"]:
        lines.append(("set aside", f"{size(reply['quarantine'])}, damaged"))
    lines += [("degraded", reason) for reason in reply.get("reasons", ())]
    if reply["trouble"]:
        lines.append(("trouble", reply["trouble"]))
    for fill in reply.get("fills", ()):
        share = 100 * fill["received"] // max(fill["size"], 1)
        of = fill["repo"] or "a repo that is not public"
        lines.append(
            ("fetching", f"{of}: {share} % of {size(fill['size'])}, {size(fill['rate'])}/s")
        )
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def _state(reply: Mapping[str, Any]) -> str:
    if not reply["running"]:
        return f"not running, version {reply['version']}"
    return f"{reply['state']}, version {reply['version']}, running for {lasted(reply['uptime'])}"
