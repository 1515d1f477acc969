"""``models.lock``: what targets were when they were locked, file by file.

TOML with one file a line and everything in order, so that two locks differ in the lines of what has changed.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from mirror.bundle.needs import Goal, Need
from mirror.bundle.outcome import Wanted
from mirror.digest import Digest
from mirror.errors import QuestionError
from mirror.store import durable
from mirror.targets import REPOS, Kind, Target

VERSION: Final = 1
_HEAD: Final = f"# Written by `modelmirror lock`, which it is changed with.\nversion = {VERSION}\n"
PREFIXES: Final = {Kind.MODEL: "", Kind.DATASET: "datasets/", Kind.SPACE: "spaces/"}
_AGAIN: Final = "Write it anew: modelmirror lock"


@dataclass(frozen=True, slots=True)
class Locked:
    """A goal, and the *groups* that it is in."""

    goal: Goal
    groups: tuple[str, ...] = ()


def text_of(locked: Iterable[Locked]) -> str:
    """The lock file of *locked*: the same for the same, in whatever order."""
    parts = [_HEAD]
    for one in sorted(locked, key=lambda one: str(one.goal.wanted)):
        goal, target = one.goal, one.goal.wanted.target
        lines = ["", "[[target]]", f"target = {_text(str(target))}"]
        lines += [f"groups = {_list(sorted(one.groups))}"] if one.groups else []
        lines += [f"include = {_list(target.include)}"] if target.include else []
        lines += [f"exclude = {_list(target.exclude)}"] if target.exclude else []
        lines += [f"as = {_text(target.loader)}"] if target.loader else []
        lines += [f"commit = {_text(goal.commit)}"] if goal.commit else []
        lines.append("files = [")
        for need in sorted(goal.needs, key=partial(_path, goal)):
            size = -1 if need.size is None else need.size
            path = _path(goal, need)
            lines.append(f"    [{_text(path)}, {size}, {_text(str(need.digest or ''))}],")
        parts.append("\n".join([*lines, "]", ""]))
    return "".join(parts)


def write(path: Path, locked: Iterable[Locked]) -> bool:
    """Write *path* anew, all of it or nothing; tells whether it has changed. Raises `StoreError`."""
    content = text_of(locked).encode()
    try:
        if path.exists() and path.read_bytes() == content:
            return False
        durable.write(path.with_name(f"{path.name}.new"), path, content, mode=0o644)
    except OSError as error:
        raise durable.disk_error(error, f"{path} cannot be written") from error
    return True


def read(path: Path, groups: Sequence[str] = ()) -> list[Locked]:
    """What is locked, of *groups* where some are named. Raises `QuestionError`."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QuestionError(f"There is no {path}.", hint="Write it: modelmirror lock") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise QuestionError(f"{path} cannot be read: {error}.", hint=_AGAIN) from error
    if found.get("version") != VERSION:
        raise QuestionError(
            f"{path} is of version {found.get('version')!r}, and this reads {VERSION}.",
            hint="Use the modelmirror that wrote it, or write it anew: modelmirror lock",
        )
    try:
        locked = [_locked(one) for one in found.get("target", [])]
    except (KeyError, TypeError, ValueError, QuestionError) as error:
        raise QuestionError(f"{path} is damaged: {error}.", hint=_AGAIN) from error
    known = {group for one in locked for group in one.groups}
    if unknown := [group for group in groups if group not in known]:
        raise QuestionError(
            f"{path} has no group {unknown[0]!r}.",
            hint=f"It has {', '.join(sorted(known)) or 'none'}.",
        )
    return [one for one in locked if not groups or set(groups) & set(one.groups)]


def _locked(said: Mapping[str, Any]) -> Locked:
    target = Target.parse(said["target"]).only(
        tuple(said.get("include", ())), tuple(said.get("exclude", ())), said.get("as", "")
    )
    commit = str(said.get("commit", ""))
    if target.kind in REPOS and not commit:
        raise ValueError(f"{target} has no commit")
    needs = []
    for path, size, digest in said["files"]:
        repo = target.kind in REPOS
        source = (
            f"/{PREFIXES[target.kind]}{target.name}/resolve/{commit}/{quote(path)}"
            if repo
            else path
        )
        needs.append(
            Need(
                source=source,
                name=path,
                of=str(target),
                size=None if size < 0 else size,
                digest=Digest.parse(digest) if digest else None,
                made=size < 0,
                restricted=repo,
            )
        )
    return Locked(Goal(Wanted(target), needs, commit), tuple(said.get("groups", ())))


def _path(goal: Goal, need: Need) -> str:
    """A file as the lock names it: of a repo its path there, else its path at the mirror."""
    if not goal.commit:
        return need.source
    return unquote(need.source.partition(f"/resolve/{goal.commit}/")[2])


def _list(items: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, items))}]"


def _text(text: str) -> str:
    """A basic string of TOML: JSON's escapes are among its own (TOML 1.0 §String)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
