"""What is said of a commit of which only a client's cache has told, while upstream cannot be asked."""

from collections.abc import Sequence
from typing import Any, Final

from mirror.hubs.base import Facts
from mirror.hubs.huggingface.answers import header_text
from mirror.hubs.huggingface.grammar import repo_id
from mirror.hubs.huggingface.walks import Ground

# Files that are counted for a sentence; beyond that it says "more than".
_MOST: Final = 1000


def partly(at: Ground, facts: Facts) -> str:
    """Say how many files of a commit a client's cache had, and whether that may not be all."""
    if at.commit is None or not at.adopted:
        return ""
    entries = facts.listing(at.repo, at.commit, "", recursive=True, after="", limit=_MOST + 1)
    files = sum(entry.kind == "file" for entry in entries)
    number = f"more than {_MOST}" if len(entries) > _MOST else str(files)
    here = f"{at.commit[:12]}, adopted from a client's cache"
    if at.complete:
        listed = sum(entry.kind != "directory" for entry in entries)
        of = "" if len(entries) > _MOST else f" of the {listed}"
        return f"It has {number}{of} files of {here}."
    noun = "file" if number == "1" else "files"
    return (
        f"It has {number} {noun} of {here}, and cannot tell whether there are others: let it ask the"
        " Hub once."
    )


def warning(at: Ground, facts: Facts) -> tuple[tuple[str, str], ...]:
    """Warn, where clients print it, that what is listed may not be all."""
    sentence = "" if at.complete else partly(at, facts)
    return (("X-HF-Warning", header_text(f"modelmirror; {sentence}")),) if sentence else ()


def description(at: Ground, facts: Facts, siblings: Sequence[Any]) -> dict[str, Any]:
    """Describe a repo at a commit, with nothing in it that upstream alone knows."""
    seen = facts.visibility(at.repo)
    return {
        "id": repo_id(at.repo),
        "private": seen is None or seen.private,
        "gated": seen is not None and seen.gated,
        "sha": at.commit,
        "tags": [],
        "siblings": list(siblings),
    }
