"""What lies in a folder: models, by the layout that each client writes."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

# Deeper, or in more folders than this, no cache was ever put.
MAX_DEPTH: Final = 5
MAX_FOLDERS: Final = 5000

_HUB: Final = re.compile(r"(?:models|datasets|spaces)--.+")
_WHISPER: Final = re.compile(r"(?:tiny|base|small|medium)(?:\.en)?\.pt|large-v[123](?:-turbo)?\.pt")
_CHECKPOINT: Final = re.compile(r".+\.(?:pt|pth|th)")
_HASHED: Final = re.compile(r".+[-_][0-9a-f]{8,64}\.(?:pt|pth|th)")
_SHA1: Final = re.compile(r"[0-9a-f]{40}")
_MODULE: Final = frozenset({"saved_model.pb", "tfhub_module.pb", "model.tflite"})
_STORAGE: Final = "https://openaipublic.blob.core.windows.net"
_ENCODINGS: Final = {
    hashlib.sha1(f"{_STORAGE}/{path}".encode(), usedforsecurity=False).hexdigest(): path
    for path in (
        *(f"encodings/{name}_base.tiktoken" for name in ("r50k", "p50k", "cl100k", "o200k")),
        "gpt-2/encodings/main/vocab.bpe",
        "gpt-2/encodings/main/encoder.json",
    )
}
_NLTK: Final = frozenset(
    {
        "chunkers",
        "corpora",
        "grammars",
        "help",
        "misc",
        "models",
        "sentiment",
        "stemmers",
        "taggers",
    }
    | {"tokenizers"}
)


def _hub(folder: Path) -> dict[str, str]:
    """Repos of the Hub's cache that have a file of a snapshot, by the names of their folders."""
    return {
        name: name.replace("--", "/").partition("/")[2]
        for name in _names(folder)
        if _HUB.fullmatch(name)
        and any(
            _names(folder / name / "snapshots" / c) for c in _names(folder / name / "snapshots")
        )
    }


def _whisper(folder: Path) -> dict[str, str]:
    return {n: n.removesuffix(".pt") for n in _names(folder) if _WHISPER.fullmatch(n)}


def _torch(folder: Path) -> dict[str, str]:
    """Checkpoints and repositories of torch.hub, in its folder ``hub``."""
    # A folder of that name may hold what was trained; a hub's files have digits of their digest.
    wanted = _CHECKPOINT if folder.name == "hub" else _HASHED
    checkpoints = {
        f"checkpoints/{name}": name
        for name in _names(folder / "checkpoints")
        if wanted.fullmatch(name)
    }
    repos = {
        name: name
        for name in _names(folder)
        if name.count("_") > 1 and (folder / name / "hubconf.py").is_file()
    }
    return checkpoints | repos


def _tfhub(folder: Path) -> dict[str, str]:
    """Modules by the sha1 of their handles; commits are called so, too, but hold no SavedModel."""
    names = [name for name in _names(folder) if _SHA1.fullmatch(name)]
    return {
        name: _handle(folder, name)
        for name in names
        if not _MODULE.isdisjoint(_names(folder / name))
    }


def _handle(folder: Path, name: str) -> str:
    """What a module was asked for by, as its descriptor tells."""
    try:
        first = (folder / f"{name}.descriptor.txt").read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return name
    return first.removeprefix("Module: ")


def _kagglehub(folder: Path) -> dict[str, str]:
    """Owners below ``models`` that have a whole version."""
    return {
        f"models/{owner}": owner
        for owner in _names(folder / "models")
        if next((folder / "models" / owner).glob("*/*/*/*.complete"), None) is not None
    }


def _tiktoken(folder: Path) -> dict[str, str]:
    return {name: _ENCODINGS[name] for name in _names(folder) if name in _ENCODINGS}


def _nltk(folder: Path) -> dict[str, str]:
    return {
        f"{kind}/{name}": name.removesuffix(".zip")
        for kind in _names(folder)
        if kind in _NLTK and folder.name.startswith("nltk")
        for name in _names(folder / kind)
    }


LAYOUTS: Final[Mapping[str, Callable[[Path], dict[str, str]]]] = {
    "hub": _hub,
    "whisper": _whisper,
    "torch": _torch,
    "tfhub": _tfhub,
    "kagglehub": _kagglehub,
    "tiktoken": _tiktoken,
    "nltk": _nltk,
}
"""For each layout, what of it lies in a folder: the path below it, and what people call that."""


def folders_below(roots: Sequence[Path]) -> Iterator[Path]:
    """Each folder in which a cache may lie, once: *roots*, and what is below them."""
    seen: set[tuple[int, int]] = set()
    waiting = [(root, 0) for root in reversed(roots)]
    while waiting and len(seen) < MAX_FOLDERS:
        folder, depth = waiting.pop()
        try:
            status = folder.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield folder
        if depth == MAX_DEPTH:
            continue
        for name in _names(folder):
            below = folder / name
            if not _HUB.fullmatch(name) and not below.is_symlink() and below.is_dir():
                waiting.append((below, depth + 1))


def _names(folder: Path) -> list[str]:
    """What is in *folder*, in order; nothing where that cannot be seen."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
