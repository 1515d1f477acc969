"""`modelmirror ls`: what is here, repo by repo, revision by revision, file by file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mirror.cli.completing import stored
from mirror.cli.ordering import give
from mirror.cli.shown import age, common, show, size, table


@click.command("ls")
@click.argument("target", required=False, default="", shell_complete=stored)
@click.option("--files", is_flag=True, help="The files of all revisions of TARGET.")
@common
def command(
    target: str, data: Path | None, file: Path | None, *, files: bool, as_json: bool
) -> None:
    """List what is here: every repo and address, or what there is of TARGET.

    TARGET is a repo (acme/tiny-bert, dataset:acme/words), whose revisions are listed; a revision of it
    (acme/tiny-bert@main), whose files are; an address on another host (https://…, whisper:base); or a blob
    (sha256:…). Names of private repos are shown: this is the operator's view.
    """
    if files and not target:
        raise click.UsageError("--files wants to know of which TARGET.")
    reply = give(data, file, "ls", {"target": target, "files": files})
    show(reply, as_json=as_json, people=lambda: _shown(reply))


def _shown(reply: Mapping[str, Any]) -> str:
    if "revisions" in reply:
        return _revisions(reply)
    if "files" in reply:
        return _files(reply)
    if "blob" in reply:
        return _blob(reply["blob"])
    parts = [_repos(reply)] if reply.get("repos") else []
    if reply["addresses"]:
        parts.append(_addresses(reply))
    return "\n\n".join(parts) or "Nothing is here yet."


def _repos(reply: Mapping[str, Any]) -> str:
    rows = [
        (
            row["name"],
            row["audience"],
            str(row["revisions"]),
            f"{row['stored']}/{row['files']}",
            size(row["bytes"]),
            age(row["last_used"]),
            ", ".join(row["pinned_for"]) or "-",
        )
        for row in reply["repos"]
    ]
    heads = ("REPO", "AUDIENCE", "REVISIONS", "FILES", "SIZE", "LAST USED", "PINNED FOR")
    return table(heads, rows, (2, 3, 4))


def _addresses(reply: Mapping[str, Any]) -> str:
    rows = [
        (
            row["address"],
            size(row["bytes"]) if row["stored"] else "not here",
            age(row["last_used"]),
            ", ".join(row["pinned_for"]) or "-",
        )
        for row in reply["addresses"]
    ]
    return table(("ADDRESS", "SIZE", "LAST USED", "PINNED FOR"), rows, (1,))


def _revisions(reply: Mapping[str, Any]) -> str:
    rows = [
        (
            ", ".join(row["revision"]) or "-",
            row["commit"][:12],
            row["list"],
            f"{row['stored']}/{row['files']}",
            size(row["bytes"]),
            age(row["seen"]),
            age(row["last_used"]),
            ", ".join(row["pinned_for"]) or "-",
        )
        for row in reply["revisions"]
    ]
    heads = ("REVISION", "COMMIT", "LIST", "FILES", "SIZE", "SEEN", "LAST USED", "PINNED FOR")
    return f"{reply['name']} ({reply['audience']})\n{table(heads, rows, (3, 4))}"


def _files(reply: Mapping[str, Any]) -> str:
    rows = [
        (
            row["path"],
            size(row["size"]),
            "yes" if row["stored"] else "no",
            age(row["last_used"]),
            row["digest"].partition(":")[2][:12],
        )
        for row in reply["files"]
    ]
    return table(("FILE", "SIZE", "HERE", "LAST USED", "DIGEST"), rows, (1,))


def _blob(blob: Mapping[str, Any]) -> str:
    lines = [
        ("digest", blob["digest"]),
        ("size", size(blob["size"])),
        ("last used", age(blob["last_used"])),
        ("needed by", ", ".join(blob["needed_by"]) or "nothing"),
        ("pinned for", ", ".join(blob["pinned_for"]) or "-"),
    ]
    return "\n".join(f"{name:<10}  {text}" for name, text in lines)
