"""Repos as people write them, and patterns over them: ``acme/tiny-bert``, ``dataset:acme/*``.

A model of the Hub is its id; everything else says its kind before a colon. A pattern is a shell glob over
that, in any case, since the Hub itself tells names apart without regard to case.
"""

import re
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Final, Self

from mirror.names import Repo

# How each kind of the Hub is spelled, by the word its repo names begin with; models say nothing.
_KINDS: Final = {"models": "", "datasets": "dataset:", "spaces": "space:", "kernels": "kernel:"}
_HUB: Final = "huggingface"
_LONGEST: Final = 200
_WRITTEN: Final = re.compile(r"(?:[a-z]+:)?[A-Za-z0-9_.*?\[\]!/-]+\Z")


def spell(repo: Repo) -> str:
    """Write *repo* as people do: ``acme/tiny-bert``, ``dataset:acme/words``, ``whisper:base``."""
    if repo.hub != _HUB:
        return f"{repo.hub}:{repo.name}"
    kind, _, name = repo.name.partition("/")
    return f"{_KINDS.get(kind, f'{kind}:')}{name}"


@dataclass(frozen=True, slots=True)
class RepoPattern:
    """A glob over repos as `spell` writes them; made by `parse`."""

    text: str
    _compiled: re.Pattern[str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern: ``acme/tiny-bert``, ``acme/*``, ``dataset:acme/*``, ``*`` for every repo.

        ``datasets/acme/words``, as it stands in URLs, is taken too. Raises `ValueError` with a sentence
        for what can match no repo.
        """
        first, slash, rest = text.partition("/")
        if slash and first in _KINDS:
            text = f"{_KINDS[first]}{rest}"
        if len(text) > _LONGEST or not _WRITTEN.match(text):
            msg = f"{text!r} is no pattern of repos; write it like acme/tiny-bert, acme/* or dataset:acme/*"
            raise ValueError(msg)
        kind = text.partition(":")[0] + ":" if ":" in text else ""
        if kind == "model:":
            text = text.removeprefix(kind)
        return cls(text, re.compile(translate(text.casefold())))

    def matches(self, repo: Repo) -> bool:
        """Whether *repo* is one of those meant."""
        return self._compiled.match(spell(repo).casefold()) is not None

    def __str__(self) -> str:
        return self.text
