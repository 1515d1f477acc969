"""Which blobs the operator wants to keep, whatever room is wanted for.

A pin is a note of kind ``pin`` in the journal. Its subject is either a blob (``sha256:<hex>``) or
anything else, its value then naming ``{"hub": …, "repo": …, "revision": …}``: every file of the commit that
the revision was last seen at. It is resolved when room is made and not when it is set, so that a pinned
branch keeps what it points at now.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mirror.digest import SHA256, Digest
from mirror.index.journal import Journal
from mirror.index.protocol import Index
from mirror.names import Repo, adopted

PIN: Final = "pin"

_PAGE: Final = 1000


def pinned(journal: Journal, index: Index) -> frozenset[Digest]:
    """The sha256 of every blob that is pinned and known; reads the whole journal."""
    return frozenset(
        digest
        for subject, value in journal.notes(PIN).items()
        for digest in _digests(index, subject, value)
    )


def _digests(index: Index, subject: str, value: Mapping[str, Any]) -> Iterator[Digest]:
    try:
        yield Digest.parse(subject)
    except ValueError:
        pass
    else:
        return
    hub, name, revision = (value.get(key) for key in ("hub", "repo", "revision"))
    if not (isinstance(hub, str) and isinstance(name, str) and isinstance(revision, str)):
        return
    repo = Repo(hub, name)
    ref = index.ref(repo, revision)
    commit = revision if ref is None else ref.commit
    yield from _files(index, repo, commit)
    yield from _files(index, repo, adopted(commit))


def _files(index: Index, repo: Repo, commit: str) -> Iterator[Digest]:
    after = ""
    while True:
        page = index.listing(repo, commit, "", recursive=True, after=after, limit=_PAGE)
        for entry in page:
            digest = entry.digest
            if digest is not None and digest.algorithm != SHA256:
                digest = index.sha256_of(digest)
            if digest is not None:
                yield digest
        if len(page) < _PAGE:
            return
        after = page[-1].path
