"""Whether a target is here, whole, as everybody may know: asked by probes, answered from the index alone.

Nothing is asked upstream and no byte is read. Of a repo that is not public the answer is that of one never
seen.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from mirror.bundle.endpoint import AnswerRefusedError, Head
from mirror.bundle.layouts import Member
from mirror.bundle.places import Places
from mirror.bundle.planning import Planner
from mirror.errors import MirrorError
from mirror.names import Repo
from mirror.targets import REPOS, Kind, Target

_HUB: Final = "huggingface"
_KINDS: Final = {Kind.MODEL: "models", Kind.DATASET: "datasets", Kind.SPACE: "spaces"}
# Paths that an answer names of those that are missing.
MAX_NAMED: Final = 20
# Paths that globs are held against: the largest file list that is kept whole, and more.
_MOST: Final = 1_000_000


class Held(Protocol):
    """What is stored: `mirror.cache.shelf.Shelf`."""

    def lacking(self, repo: Repo, revision: str, limit: int) -> Sequence[str] | None:
        """Paths that a public repo lacks; `None` where its list is not known to the end."""
        ...

    def holds_path(self, repo: Repo, revision: str, path: str) -> bool:
        """Whether one file of a public repo is here."""
        ...

    def holds_file(self, path: str, query: str) -> bool:
        """Whether the file that is served at an address is here."""
        ...

    def document(self, path: str, query: str) -> bytes | None:
        """The small document that is served at an address, if it is known."""
        ...


class Present:
    """Looks for targets among what is *held*."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._planner = Planner(_Documents(held), Places({}, "/"), _none, real=True)

    def look(
        self, text: str, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """What a probe is told of the target *text*: ``model_name``, ``model_cached``, ``model_missing``.

        Globs choose among the files of a repo. Blocks on the index. Raises `TargetError` for what is no
        target.
        """
        target = Target.parse(text)
        if target.kind in REPOS:
            cached, missing = self._repo(target, include, exclude)
        else:
            cached, missing = self._hosted(target), []
        return {
            "model_name": str(target),
            "model_cached": cached,
            "model_missing": missing[:MAX_NAMED],
        }

    def _repo(
        self, target: Target, include: Sequence[str], exclude: Sequence[str]
    ) -> tuple[bool, list[str]]:
        repo, revision = Repo(_HUB, f"{_KINDS[target.kind]}/{target.name}"), target.revision
        if target.file:
            here = self._held.holds_path(repo, revision, target.file)
            return here, [] if here else [target.file]
        chosen = bool(include or exclude)
        lacking = self._held.lacking(repo, revision, _MOST if chosen else MAX_NAMED)
        if lacking is None:
            return False, []
        missing = [path for path in lacking if _meant(path, include, exclude)]
        return not missing, missing

    def _hosted(self, target: Target) -> bool:
        try:
            plan = self._planner.plan(target, "/target")
        except MirrorError:
            return False
        sources = [file.source for file in plan.files]
        sources += [archive.source for archive in plan.archives]
        return bool(sources) and all(
            self._held.holds_file(path, query)
            for path, _, query in (source.partition("?") for source in sources)
        )


class _Documents:
    """The small answers that a plan is made of, as they are stored."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def document(self, target: str, *, restricted: bool = False) -> tuple[Head, bytes]:
        """A document that is known. Raises `AnswerRefusedError` for any other."""
        del restricted
        path, _, query = target.partition("?")
        body = self._held.document(path, query)
        if body is None:
            raise AnswerRefusedError("That is not stored.", status=404)
        return Head(200, {}), body

    def json(self, target: str, *, restricted: bool = False) -> tuple[Head, Any]:
        """The same, read as JSON."""
        head, body = self.document(target, restricted=restricted)
        return head, json.loads(body)


def _none(_target: Target, _members: Iterator[Member]) -> Sequence[Member]:
    """No repo is planned here: its files are looked for in the index."""
    return ()


def _meant(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether the globs choose *path*, as huggingface_hub reads them: a folder's name means what is in it."""

    def any_of(globs: Sequence[str]) -> bool:
        return any(fnmatchcase(path, f"{g}*" if g.endswith("/") else g) for g in globs)

    return (not include or any_of(include)) and not any_of(exclude)
