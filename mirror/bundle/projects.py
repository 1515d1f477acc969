"""``models.toml``: the targets that projects need, in groups.

::

    [chatbot]
    targets = [
        "sentence-transformers/all-MiniLM-L6-v2",
        { target = "BAAI/bge-m3", exclude = ["onnx/*"], as = "sentence-transformers" },
    ]

    [video]
    targets = ["whisper:medium"]
    include = ["*.json", "*.safetensors"]    # for every repo of the group
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mirror.bundle.outcome import Wanted
from mirror.errors import QuestionError
from mirror.targets import Target

FILE: Final = "models.toml"
LOCK: Final = "models.lock"
_HELP: Final = 'A group is written like [chatbot] and targets = ["org/name@revision"].'
_GLOBS: Final = frozenset({"include", "exclude"})


def read(path: Path, groups: Sequence[str] = ()) -> dict[Wanted, list[str]]:
    """The targets of *groups*, of all where none are named, each with the groups that have it.

    Raises `QuestionError` that says what in the file is wrong.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QuestionError(
            f"There is no {path}.", hint=f"Name targets, or list them in a {FILE}. {_HELP}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise QuestionError(f"{path} cannot be read: {error}.", hint=_HELP) from error
    unknown = [group for group in groups if group not in found]
    if unknown:
        raise QuestionError(
            f"{path} has no group {unknown[0]!r}.", hint=f"It has {', '.join(found) or 'none'}."
        )
    wanted: dict[Wanted, list[str]] = {}
    for name, group in found.items():
        for one in _group(group, f"{path}: [{name}]"):
            if not groups or name in groups:
                wanted.setdefault(one, []).append(name)
    return wanted


def _group(group: Any, where: str) -> list[Wanted]:
    if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
        raise QuestionError(f"{where} has no list of targets.", hint=_HELP)
    common = _choice({k: v for k, v in group.items() if k != "targets"}, where)
    found = []
    for item in group["targets"]:
        said = {"target": item} if isinstance(item, str) else item
        if not isinstance(said, dict) or not isinstance(said.get("target"), str):
            raise QuestionError(f"{where} has {item!r}, which is no target.", hint=_HELP)
        own = _choice({k: v for k, v in said.items() if k != "target"}, where)
        try:
            target = Target.parse(said["target"])
        except QuestionError as error:
            raise QuestionError(f"{where}: {error.message}", hint=error.hint) from error
        for choice in (common, own):
            target = target.only(choice["include"], choice["exclude"], choice["as"])
        found.append(Wanted(target))
    return found


def _choice(said: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Globs and loader of a group or a target."""
    found: dict[str, Any] = {"include": (), "exclude": (), "as": ""}
    for key, value in said.items():
        if key in _GLOBS and isinstance(value, list) and all(isinstance(v, str) for v in value):
            found[key] = tuple(value)
        elif key == "as" and isinstance(value, str):
            found[key] = value
        else:
            raise QuestionError(
                f"{where} has {key} = {value!r}, which means nothing.",
                hint='Besides targets there are include = ["GLOB"], exclude = ["GLOB"] and as = "LOADER".',
            )
    return found
