"""Targets that a project's files name: Python sources, notebooks, Dockerfiles, requirements, scripts.

They are read, never run; what is found is for people to look through.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mirror.bundle.scancode import Sight, addresses, sights, written
from mirror.errors import QuestionError
from mirror.hubs.whisper import MODELS
from mirror.targets import Target

# Larger files are data.
_LARGEST: Final = 2 << 20
_SKIPPED: Final = frozenset(
    {"node_modules", "__pycache__", "site-packages", "venv", "env", "dist", "build"}
)
_TEXTS: Final = re.compile(
    r"(?:(?:.*[._-])?(?:Dockerfile|Containerfile)(?:\..*)?|Makefile|\.env(?:\..*)?|requirements[^/]*\.(?:txt|in)"
    r"|.*\.(?:ya?ml|toml|sh|bash|env|cfg|ini|dockerfile))\Z",
    re.IGNORECASE,
)

# Code on a command line: python -c "…", in one quote or the other, over several lines.
_CODE: Final = re.compile(
    r"python[\d.]*\s+(?:-\w+\s+)*-c\s+(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)')", re.DOTALL
)
_SPACY: Final = re.compile(
    r"\bspacy\s+download\s+([a-z]{2,3}_[a-z0-9_]+?)(?:-(\d[\w.]*))?(?=[\s\"'&;|\\]|\Z)"
)
_DOWNLOAD: Final = re.compile(r"\b(?:hf|huggingface-cli)\s+download\s+([^\n&|;]+)")
_NLTK: Final = re.compile(r"\bnltk\.downloader\s+((?:(?!-)[A-Za-z0-9_.-]+[ \t]*)+)")
# Names of spaCy's own packages, as requirements write them.
_REQUIRED: Final = re.compile(
    r"^\s*[\"']?([a-z]{2,3}[-_](?:core|dep|ent|sent)[-_](?:news|web|wiki|\w+)[-_](?:sm|md|lg|trf))\s*==\s*(\d[\w.]*)",
    re.MULTILINE,
)
# A variable whose name says that its value is a model.
_VARIABLE: Final = re.compile(
    r"(?<![\w$])([A-Za-z_]*(?:MODEL|REPO_ID|REPO)[A-Za-z_]*)\s*[:=]\s*[\"']?(?:\$\{\w+:-)?([\w.-]+(?:/[\w.-]+)?)"
    r"[\"'}]*\s*(?:#.*)?$",
    re.MULTILINE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a project needs: *targets* with the places that need them, and *unclear* places."""

    targets: Mapping[str, tuple[str, ...]]
    unclear: tuple[str, ...]


def scan(folder: Path) -> Found:
    """Look through *folder*. Raises `QuestionError` where it is none."""
    if not folder.is_dir():
        raise QuestionError(f"{folder} is no folder.")
    targets: dict[str, list[str]] = {}
    unclear: list[str] = []
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        for sight in sorted(_sights(path), key=lambda sight: sight.line):
            place = f"{name}:{sight.line}"
            if sight.target is None:
                unclear.append(f"{place} {sight.call}")
            elif not (folder / sight.target.name).exists():  # A path of the project itself.
                places = targets.setdefault(_said(sight.target), [])
                if place not in places:
                    places.append(place)
    return Found(
        {target: tuple(targets[target]) for target in sorted(targets)},
        tuple(dict.fromkeys(unclear)),
    )


def listing(found: Found, group: str) -> str:
    """What was found, as a group of ``models.toml``, with the places as remarks."""
    lines = [f"[{_key(group)}]", "targets = ["]
    for target, places in found.targets.items():
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        lines.append(f"    {target},  # {', '.join(places[:3])}{more}")
    lines.append("]")
    if found.unclear:
        lines += ["", "# Which model these load cannot be seen without running them:"]
        lines += [f"#   {place}" for place in found.unclear]
    return "\n".join(lines)


def _said(target: Target) -> str:
    """A target as ``models.toml`` has it."""
    if not target.include:
        return json.dumps(str(target), ensure_ascii=False)
    globs = ", ".join(json.dumps(glob, ensure_ascii=False) for glob in target.include)
    return f"{{ target = {json.dumps(str(target), ensure_ascii=False)}, include = [{globs}] }}"


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text, ensure_ascii=False)


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name not in _SKIPPED and not name.startswith(".")
        )
        for name in sorted(names):
            path = Path(where, name)
            wanted = name.endswith((".py", ".ipynb")) or _TEXTS.match(name)
            if (
                wanted
                and not path.is_symlink()
                and path.is_file()
                and path.stat().st_size <= _LARGEST
            ):
                yield path


def _sights(path: Path) -> Iterator[Sight]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if path.suffix == ".py":
        yield from sights(text)
    elif path.suffix == ".ipynb":
        for cell in _cells(text):
            yield from sights(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", cell))
            yield from _lines(cell)
    else:
        yield from _lines(text)


def _cells(text: str) -> Iterator[str]:
    """The code of a notebook."""
    try:
        cells = json.loads(text)["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                source = cell["source"]
                yield source if isinstance(source, str) else "".join(source)
    except (ValueError, KeyError, TypeError):
        return


def _lines(text: str) -> Iterator[Sight]:
    """What commands, requirements and variables name."""
    for found in _CODE.finditer(text):
        code = re.sub(r"\\\r?\n", "", found[1] if found[1] is not None else found[2])
        if found[1] is not None:
            code = re.sub(r"\\([\"\\$`])", r"\1", code)
        yield from sights(code.strip(), _line(text, found.start()))
    for at, target in _named(text):
        if target is not None:
            yield Sight(_line(text, at), target)


def _named(text: str) -> Iterator[tuple[int, Target | None]]:
    for number, line in _numbered(text):
        for target in addresses(line):
            yield number, target
    for found in _SPACY.finditer(text):
        version = f"=={found[2]}" if found[2] else ""
        yield found.start(), written(f"spacy:{found[1]}{version}")
    for found in _REQUIRED.finditer(text):
        yield found.start(1), written(f"spacy:{found[1].replace('-', '_')}=={found[2]}")
    for found in _DOWNLOAD.finditer(text.replace("\\\n", "  ")):
        yield found.start(), _downloaded(found[1])
    for found in _NLTK.finditer(text):
        for name in found[1].split():
            yield found.start(), written(f"nltk:{name}")
    for found in _VARIABLE.finditer(text):
        key, value = found[1].upper(), found[2]
        if "/" in value:
            yield found.start(), written(value)
        elif "WHISPER" in key and value in MODELS:
            yield found.start(), written(f"whisper:{value}")


def _downloaded(text: str) -> Target | None:
    """What ``hf download`` is told to download."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return None
    plain: list[str] = []
    flags: dict[str, list[str]] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            flags.setdefault(flag, []).extend([value] if equals else [])
        elif flag in {"--include", "--exclude"} or (flag and not flags[flag]):
            flags[flag].append(word)
        else:
            plain.append(word)
    if not plain:
        return None
    kind = (flags.get("--repo-type") or ["model"])[0]
    revision = (flags.get("--revision") or [""])[0]
    said = f"{'' if kind == 'model' else f'{kind}:'}{plain[0]}{f'@{revision}' if revision else ''}"
    target = written(said)
    include = (*plain[1:], *flags.get("--include", ()))
    return None if target is None else target.only(include, tuple(flags.get("--exclude", ())))


def _numbered(text: str) -> Iterable[tuple[int, str]]:
    """Lines, each by where it begins."""
    at = 0
    for line in text.splitlines(keepends=True):
        yield at, line
        at += len(line)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
