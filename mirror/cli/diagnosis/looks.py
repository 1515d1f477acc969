"""Where each client looks for what it has, by the environment it runs in.

Which variables lead there is told by `mirror.bundle.places`, as an export needs it. What is added here is who
looks, and where without any variable: from tensorflow_hub 0.16 ``resolver.py``, tiktoken 0.14 ``load.py`` and
nltk 3.10 ``data.py``.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from mirror.bundle.places import CACHES, KNOWN


@dataclass(frozen=True, slots=True)
class Look:
    """That *who* looks for what has *layout* in *folders*, of which it writes to the first.

    *why* is the variable that says so, ``""`` for the default. *variable* would name another folder: that
    folder itself, or the one that is *up* levels above it; ``""`` if there is none.
    """

    layout: str
    who: str
    folders: tuple[Path, ...]
    why: str
    variable: str
    up: int = 0


# Whose cache it is, and the layout of what lies in it.
_WHO: Final = (
    ("hub", "hub", "Hub clients"),
    ("transformers", "hub", "transformers below 5"),
    ("sentence-transformers", "hub", "sentence-transformers"),
    ("whisper", "whisper", "whisper"),
    ("torch", "torch", "torch.hub"),
    ("tfhub", "tfhub", "tensorflow_hub"),
    ("kagglehub", "kagglehub", "kagglehub"),
    ("tiktoken", "tiktoken", "tiktoken"),
)
# Below the folder for temporary files, where no variable says otherwise.
_TEMPORARY: Final = {"tfhub": "tfhub_modules", "tiktoken": "data-gym-cache"}
# What belongs to a layout, though an export writes below it.
_OF_LAYOUT: Final = {"kagglehub": "models"}
# Others look there too: none of them is mended by naming another.
_SHARED: Final = frozenset({"HOME", "XDG_CACHE_HOME"})
# No folder of its own, or one of many.
_NO_ROOTS: Final = frozenset({"HOME", "NLTK_DATA", "PIP_FIND_LINKS"})


def looks(environment: Mapping[str, str], home: Path, prefix: Path) -> list[Look]:
    """Where clients look that have *environment* and *home*; *prefix* is their Python's."""
    place = _Places(environment, home)
    found = (_look(place, *who) for who in _WHO)
    return [*(look for look in found if look is not None), _nltk_look(place, home, prefix)]


def _look(place: "_Places", cache: str, layout: str, who: str) -> Look | None:
    rules, own = CACHES[cache][0], _OF_LAYOUT.get(cache, "")
    first, below = rules[0][0], PurePosixPath(rules[0][1].removesuffix(own))
    variable, up = ("", 0) if first in _SHARED else (first, len(below.parts))
    for name, suffix in rules:
        if folder := place.named(name):
            why = "" if name == "HOME" else name
            return Look(layout, who, (folder / suffix.removesuffix(own),), why, variable, up)
    if cache not in _TEMPORARY:
        return None
    temporary = place.named("TMPDIR") or Path(tempfile.gettempdir())
    return Look(layout, who, (temporary / _TEMPORARY[cache],), "", variable, up)


def _nltk_look(place: "_Places", home: Path, prefix: Path) -> Look:
    named = place.listed("NLTK_DATA")
    usual = [home, prefix, prefix / "share", prefix / "lib", *map(Path, _NLTK_SHARED)]
    folders = (*named, *(folder / "nltk_data" for folder in usual))
    return Look("nltk", "nltk", folders, "NLTK_DATA" if named else "", "NLTK_DATA")


_NLTK_SHARED: Final = ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")


def roots(environment: Mapping[str, str], home: Path) -> list[Path]:
    """Folders in which caches may lie: those that a variable names, and the default ones."""
    place = _Places(environment, home)
    named = [
        folder for name in sorted(KNOWN - _NO_ROOTS) if (folder := place.named(name)) is not None
    ]
    named += place.listed("NLTK_DATA")
    usual = ("huggingface", "whisper", "torch", "kagglehub", "tfhub_modules")
    return [*named, *(home / ".cache" / name for name in usual), home / "nltk_data"]


class _Places:
    """Folders as variables name them: ``~`` and ``$NAME`` filled in, as the clients do."""

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self._environment = environment
        self._home = home

    def path(self, text: str) -> Path:
        if text == "~" or text.startswith("~/"):
            text = f"{self._home}{text[1:]}"
        for name, value in self._environment.items():
            text = text.replace(f"${{{name}}}", value) if "${" in text else text
        return Path(text).absolute()

    def named(self, name: str) -> Path | None:
        if name == "HOME":
            return self._home
        text = self._environment.get(name, "")
        return self.path(text) if text else None

    def listed(self, name: str) -> list[Path]:
        return [
            self.path(text) for text in self._environment.get(name, "").split(os.pathsep) if text
        ]
