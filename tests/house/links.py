"""Find the links in Markdown that lead nowhere: a missing file, or a missing heading.

Only what lies in the checkout is followed. Links to the web are left alone: they rot without any
change here, so they would break a build that was right yesterday.

Usage: ``python -m tests.house.links``: prints one line per dead link and exits 1 if there is one.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

from tests.house import checkout

_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_CODE: Final = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
# [text](target), ![text](target "title"), and [name]: target at the beginning of a line.
_LINK: Final = re.compile(
    r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s+<?(\S+?)>?\s*$"
)
_HEADING: Final = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_ANCHOR: Final = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
_ELSEWHERE: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


class DeadLink(NamedTuple):
    """One link that leads nowhere: *line* counts from 1, *why* is a phrase for people."""

    page: Path
    line: int
    target: str
    why: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.target}: {self.why}"


def dead_links(root: Path = checkout.ROOT) -> list[DeadLink]:
    """List the dead links of every Markdown page below *root*.

    Args:
        root: the folder that holds the pages; a link that leaves it is dead.

    Returns:
        Dead links by page and line; *page* is relative to *root*.
    """
    pages = [path for path in checkout.files(root) if path.suffix == ".md"]
    return [dead for page in pages for dead in _dead_on(root, page)]


def anchors(text: str) -> set[str]:
    """Name the places that a `#fragment` can lead to, as GitHub names them.

    A heading's name is its text in lower case without punctuation, spaces as hyphens; a name that
    comes again gets ``-1``, ``-2`` and so on.
    """
    found: set[str] = set()
    times: dict[str, int] = {}
    for _, line in _prose(text, keep_code=True):
        found.update(_ANCHOR.findall(line))
        if heading := _HEADING.match(line):
            name = _slug(heading[1])
            again = times.get(name, 0)
            times[name] = again + 1
            found.add(f"{name}-{again}" if again else name)
    return found


def _dead_on(root: Path, page: Path) -> Iterator[DeadLink]:
    for number, line in _prose((root / page).read_text(encoding="utf-8")):
        for inline, reference in _LINK.findall(line):
            target = inline or reference
            if not _ELSEWHERE.match(target) and (why := _why_dead(root, page, target)):
                yield DeadLink(page, number, target, why)


def _why_dead(root: Path, page: Path, target: str) -> str:
    path, _, fragment = unquote(target).partition("#")
    if path.startswith("/"):
        return "a link is relative to its page"
    goal = (root / page).parent / path if path else root / page
    if not goal.resolve().is_relative_to(root.resolve()):
        return "leads out of the checkout"
    if not goal.exists():
        return "no such file"
    if fragment and goal.suffix == ".md" and fragment not in _anchors_of(goal.resolve()):
        return "no such heading"
    return ""


@cache
def _anchors_of(page: Path) -> set[str]:
    return anchors(page.read_text(encoding="utf-8"))


def _prose(text: str, *, keep_code: bool = False) -> Iterator[tuple[int, str]]:
    """Yield numbered lines outside fenced blocks, without code spans unless *keep_code*."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            yield number, line if keep_code else _CODE.sub("", line)


def _slug(heading: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def main() -> int:
    """Print the dead links of the checkout; the exit code tells whether there are any."""
    dead = dead_links()
    sys.stdout.writelines(f"{link}\n" for link in dead)
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
