r"""A page that a person follows by copying its blocks, read as the steps it asks for.

Of a page counts what a reader would act on, and nothing that the reader does not see:

* A ``console`` block is typed. Its lines after ``$ `` are commands, one that ends in ``\`` goes on in the
  next line; the lines below a command are what it writes (see `lacking`). A word that ends in `…` is copied
  from the screen: the newest one that begins so.
* A block of any other kind is saved as a file: the line before it ends in the file's name as code and a
  colon.
* Where the text right before a ``console`` block says "a terminal of its own", it is typed into a new
  terminal, and its last command goes on running when it has written what the page shows.
* A paragraph that says "Ctrl-C" has the reader press it in the newest terminal that is still running.
* "On **name**" is about another machine, until another one is named or a new heading comes.

A block that is none of these is an error: a page has nothing that is not followed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

_FENCE: Final = re.compile(r"(`{3,})(\S*)\s*$")
_HEADING: Final = re.compile(r"#{1,6} +(.*?)\s*$")
_NAMED: Final = re.compile(r"`([^`]+)`:$")
_OWN_TERMINAL: Final = "a terminal of its own"
_STOP: Final = "Ctrl-C"
_MACHINE: Final = re.compile(r"\bOn \*\*(\w+)\*\*")
#: Stands for any text in a line, and alone in a line for any lines.
ANYTHING: Final = "…"


class UnreadableError(Exception):
    """A page has something that cannot be followed; the text says where and what."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something to type.

    Attributes:
        line: Where it stands in the page, from 1.
        text: What is typed, in one or more lines.
        output: The lines that the page shows below it.
        own_terminal: Whether its block is typed into a terminal of its own.
        opens: Whether it is the first one in that.
        goes_on: Whether it is the last one in that, and goes on running.
        machine: Where it is typed; empty where the page is about one machine.
    """

    line: int
    text: str
    output: tuple[str, ...] = ()
    own_terminal: bool = False
    opens: bool = False
    goes_on: bool = False
    machine: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file to save on *machine*: *name* is relative to the folder that the reader works in."""

    line: int
    name: str
    text: str
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Ctrl-C, in the newest terminal of *machine* that is still running."""

    line: int
    machine: str = ""


Step = Command | File | Stop


@dataclass(frozen=True, slots=True)
class Page:
    """Steps under the heading that they stand below, in the order of the page."""

    path: Path
    sections: Mapping[str, tuple[Step, ...]]

    def where(self, step: Step) -> str:
        """Say where a step stands, as an editor takes it."""
        return f"{self.path}:{step.line}"


def read(path: Path, instead: Mapping[str, str] | None = None) -> Page:
    """Read a page.

    Args:
        path: A Markdown file.
        instead: What stands on the page, and what is read in its place; a port, so that two tests may run.

    Raises:
        UnreadableError: A block can neither be typed nor saved, or two headings are the same.
    """
    text = path.read_text(encoding="utf-8")
    for word, other in (instead or {}).items():
        text = text.replace(word, other)
    try:
        return Page(path, _sections(text.splitlines()))
    except UnreadableError as error:
        raise UnreadableError(f"{path}:{error}") from None


def _sections(lines: Sequence[str]) -> dict[str, tuple[Step, ...]]:
    sections: dict[str, list[Step]] = {"": []}
    heading, paragraph, machine, number = "", "", "", 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if fence := _FENCE.match(line):
            end = next((n for n in range(number, len(lines)) if lines[n] == fence[1]), None)
            if end is None:
                raise UnreadableError(f"{number}: the block has no end")
            block = lines[number:end]
            steps = _block(number, fence[2], paragraph, block)
            sections[heading] += [replace(step, machine=machine) for step in steps]
            paragraph, number = "", end + 1
        elif title := _HEADING.match(line):
            heading, paragraph, machine = title[1], "", ""
            if heading in sections:
                raise UnreadableError(f"{number}: there is a heading {heading!r} already")
            sections[heading] = []
        elif line.strip():
            # What is said right before a block may be followed by one empty line.
            paragraph = f"{paragraph} {line}" if lines[number - 2].strip() else line
            if named := _MACHINE.search(line):
                machine = named[1]
            if _STOP in line:
                sections[heading].append(Stop(number, machine))
    return {heading: tuple(steps) for heading, steps in sections.items()}


def _block(number: int, kind: str, before: str, block: Sequence[str]) -> Iterator[Step]:
    """Give the steps of a block whose fence stands in line *number*, after the paragraph *before*."""
    if kind == "console":
        typed = list(_commands(number, block))
        if typed and _OWN_TERMINAL in before:
            typed = [replace(command, own_terminal=True) for command in typed]
            typed[0] = replace(typed[0], opens=True)
            typed[-1] = replace(typed[-1], goes_on=True)
        yield from typed
    elif name := _NAMED.search(before):
        yield File(number, name[1], "".join(f"{line}\n" for line in block))
    else:
        raise UnreadableError(
            f"{number}: nobody can know what to do with this block: it is not console, and no line that "
            "ends in a file's name as code and a colon stands before it"
        )


def _commands(number: int, block: Sequence[str]) -> Iterator[Command]:
    """Give the commands of a console block, each with the lines below it."""
    typed: list[str] = []
    output: list[str] = []
    start, goes_on = 0, False
    for at, line in enumerate(block, number + 1):
        if goes_on:
            typed.append(line)
        elif line.startswith("$ "):
            if typed:
                yield Command(start, "\n".join(typed), tuple(output))
            typed, output, start = [line.removeprefix("$ ")], [], at
        elif typed:
            output.append(line)
            continue
        else:
            raise UnreadableError(f"{at}: a console block begins with a command, after '$ '")
        goes_on = line.endswith("\\")
    if typed:
        yield Command(start, "\n".join(typed), tuple(output))


def lacking(shown: Sequence[str], written: str) -> str | None:
    """Find the first line that a page shows and that a command did not write.

    The lines must be there whole and in their order; others may stand between them, for a program may warn or
    say how far it is. `…` in a line is any text. How much white space stands between words does not count.

    Args:
        shown: Lines of the page.
        written: All that the command wrote.

    Returns:
        The line, or None where there is none.
    """
    lines = iter([" ".join(line.split()) for line in re.split(r"[\r\n]+", written)])
    for line in shown:
        words = " ".join(line.split())
        if words in {"", ANYTHING}:
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in words.split(ANYTHING)))
        if not any(pattern.fullmatch(other) for other in lines):
            return line
    return None
