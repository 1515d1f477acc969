"""Commands that the documents have people type are commands: verbs and flags that there are."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import pytest

from mirror.cli import cli
from tests.house.checkout import ROOT

PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK: Final = re.compile(r"^```(sh|console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END: Final = frozenset({"|", ">", ">>", "&&", "||", ";", "&", "<", "<("})
# What may stand before a command of ours.
_BEFORE: Final = frozenset({"docker", "compose", "exec", "run", "--rm", "mirror"})


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words behind `modelmirror` of each command in the blocks of *page*, as a shell reads them."""
    for kind, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if kind == "console" and not line.startswith("$ "):
                continue
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            at = words.index("modelmirror") if "modelmirror" in words else 0
            if words[at : at + 1] == ["modelmirror"] and all(
                word in _BEFORE or "=" in word for word in words[:at]
            ):
                end = next((end for end, word in enumerate(words) if word in _END), len(words))
                yield words[at + 1 : end]


def _refused(verb: click.Command, said: list[str]) -> str:
    """Why *verb* does not take what is said; that a file of people's own is not here is no reason."""
    try:
        with suppress(click.exceptions.Exit):
            verb.make_context("modelmirror", list(said)).close()
    except click.UsageError as error:
        return "a file" if "does not exist" in error.message else error.message
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_documents_exist(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command is understood: no verb or flag that there is not, and nothing missing."""
    monkeypatch.chdir(tmp_path)
    for words in filter(None, commands(page)):
        verb: click.Command = cli
        said = words
        while isinstance(verb, click.Group) and said and not said[0].startswith("-"):
            found = verb.get_command(click.Context(verb), said[0])
            assert found is not None, words
            verb, said = found, said[1:]
        assert _refused(verb, said) in {"", "a file"}, words


def test_commands_are_found() -> None:
    """The pages have plenty of them, so that none is passed over in silence."""
    found = [words for page in PAGES for words in commands(page)]
    assert len(found) > 60
    assert ["du"] in found
    assert any(words[:1] == ["warm"] for words in found)
