"""What the command line takes and gives back is in the documents."""

import re
from collections.abc import Iterator

import click

from mirror.cli import cli
from mirror.cli.exits import EXITS
from tests.house.checkout import ROOT


def test_documents_list_every_exit_code() -> None:
    """The table in docs/exit-codes.md is the table of the source."""
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)

    assert listed == [(str(code), meaning) for code, meaning in EXITS.items()]


def test_documents_name_every_verb_and_flag() -> None:
    """Each verb and each flag appears in the README, the documents or the sample settings."""
    pages = [ROOT / "README.md", ROOT / "config" / "modelmirror.toml"]
    pages += sorted((ROOT / "docs").glob("*.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    missing = [word for word in _words(cli) if not re.search(rf"(?<![\w-]){word}(?![\w-])", text)]

    assert missing == []


def _words(command: click.Command, verb: str = "modelmirror") -> Iterator[str]:
    """Yield *verb* and its flags, and those of its sub-commands."""
    yield verb
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (flag for flag in parameter.opts if flag.startswith("--"))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if sub := command.get_command(context, name):
                yield from _words(sub, f"{verb} {name}")
