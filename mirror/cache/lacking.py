"""How much of a commit is here: what is said to whoever asks for a file of it that is not."""

from collections.abc import Callable
from typing import Final

from mirror.cache.facts import View
from mirror.digest import Digest
from mirror.names import Artifact, Question

# Files that are looked for: some 10 us each, and a sentence is not worth more of the event loop.
_MOST: Final = 256


def how_many(question: Question, view: View, here: Callable[[Digest], object | None]) -> str:
    """Say how many of the files of the commit that *question* is about are here; "" where that is not known.

    *here* finds the blob that a digest names.
    """
    if not isinstance(question, Artifact) or question.repo is None:
        return ""
    stale = view.stale()
    repo = stale.canonical(question.repo)
    ref = stale.ref(repo, question.revision)
    commit = question.revision if ref is None else ref.commit
    entries = stale.listing(repo, commit, "", recursive=True, after="", limit=_MOST + 1)
    files = [entry for entry in entries if entry.kind != "directory"]
    if not files or len(entries) > _MOST:
        return ""
    held = sum(file.digest is not None and here(file.digest) is not None for file in files)
    return f" It has {held} of the {len(files)} files that it knows of that commit."
