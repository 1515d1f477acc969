"""Where each client looks for what it has, by the environment it runs in.

From the clients' own sources: huggingface_hub 2.4 ``constants.py``, transformers 4 ``utils/hub.py``,
sentence-transformers 6, openai-whisper 20250625, torch 2.13 ``hub.py``, tensorflow_hub 0.16 ``resolver.py``,
kagglehub 1.0 ``config.py``, tiktoken 0.14 ``load.py``, nltk 3.10 ``data.py``.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final


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


# Variables that name a folder in which caches lie, whoever heeds them.
_ROOTS: Final = (
    "XDG_CACHE_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "SENTENCE_TRANSFORMERS_HOME",
    "TORCH_HOME",
    "TFHUB_CACHE_DIR",
    "KAGGLEHUB_CACHE",
    "TIKTOKEN_CACHE_DIR",
    "DATA_GYM_CACHE_DIR",
    "PIX2TEXT_HOME",
)
_TRANSFORMERS: Final = (
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "PYTORCH_PRETRAINED_BERT_CACHE",
)


def looks(environment: Mapping[str, str], home: Path, prefix: Path) -> list[Look]:
    """Where clients look that have *environment* and *home*; *prefix* is their Python's."""
    place = _Places(environment, home)
    cache = place.named("XDG_CACHE_HOME") or home / ".cache"
    xdg = "XDG_CACHE_HOME" if environment.get("XDG_CACHE_HOME") else ""
    temporary = place.named("TMPDIR") or Path(tempfile.gettempdir())
    return [
        *_hub_looks(place, cache, xdg),
        Look("whisper", "whisper", (cache / "whisper",), xdg, ""),
        _torch_look(place, cache, xdg),
        place.look("tfhub", "tensorflow_hub", temporary / "tfhub_modules", "TFHUB_CACHE_DIR"),
        place.look("kagglehub", "kagglehub", home / ".cache" / "kagglehub", "KAGGLEHUB_CACHE"),
        place.look(
            "tiktoken",
            "tiktoken",
            temporary / "data-gym-cache",
            "TIKTOKEN_CACHE_DIR",
            "DATA_GYM_CACHE_DIR",
        ),
        _nltk_look(place, home, prefix),
    ]


def _hub_looks(place: "_Places", cache: Path, xdg: str) -> Iterator[Look]:
    hub, why = place.first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    if hub is None:
        hf_home, why = place.first("HF_HOME")
        hub, why = (hf_home or cache / "huggingface") / "hub", why or xdg
    yield Look("hub", "Hub clients", (hub,), why, "HF_HUB_CACHE")
    own = {
        "transformers below 5": _TRANSFORMERS,
        "sentence-transformers": ("SENTENCE_TRANSFORMERS_HOME",),
    }
    for who, names in own.items():
        folder, why = place.first(*names)
        if folder is not None:
            yield Look("hub", who, (folder,), why, names[0])


def _torch_look(place: "_Places", cache: Path, xdg: str) -> Look:
    torch, why = place.first("TORCH_HOME")
    folder = (torch or cache / "torch") / "hub"
    return Look("torch", "torch.hub", (folder,), why or xdg, "TORCH_HOME", up=1)


def _nltk_look(place: "_Places", home: Path, prefix: Path) -> Look:
    named = place.listed("NLTK_DATA")
    usual = [home, prefix, prefix / "share", prefix / "lib", *map(Path, _NLTK_SHARED)]
    folders = (*named, *(folder / "nltk_data" for folder in usual))
    return Look("nltk", "nltk", folders, "NLTK_DATA" if named else "", "NLTK_DATA")


_NLTK_SHARED: Final = ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")


def roots(environment: Mapping[str, str], home: Path) -> list[Path]:
    """Folders in which caches may lie: those that a variable names, and the default ones."""
    place = _Places(environment, home)
    named = [folder for name in _ROOTS if (folder := place.named(name)) is not None]
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
        text = self._environment.get(name, "")
        return self.path(text) if text else None

    def listed(self, name: str) -> list[Path]:
        return [
            self.path(text) for text in self._environment.get(name, "").split(os.pathsep) if text
        ]

    def look(self, layout: str, who: str, default: Path, *names: str) -> Look:
        folder, why = self.first(*names)
        return Look(layout, who, (folder or default,), why, names[0])

    def first(self, *names: str) -> tuple[Path | None, str]:
        """The folder that the first of *names* says which is set, and that name."""
        for name in names:
            if folder := self.named(name):
                return folder, name
        return None, ""
