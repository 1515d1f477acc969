"""Reading an app's variables as its ``.env`` file or compose ``env_file`` has them."""

import re
from typing import Final

from mirror.errors import QuestionError

_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)\Z")
_QUOTED: Final = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?:#.*)?\Z""")
_ESCAPE: Final = re.compile(r"\\(.)")


def read(text: str, name: str) -> dict[str, str]:
    """The variables in *text*: ``NAME=value`` a line, ``export`` before it, quotes, ``#`` comments.

    Raises `QuestionError` with the line of the file *name* that is none of it.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        match = _LINE.match(said)
        if match is None:
            if re.fullmatch(r"[A-Za-z_]\w*", said):
                continue  # Compose takes such a variable from its own environment.
            raise QuestionError(
                f"Line {number} of {name} is no variable.", hint="Lines are written NAME=value."
            )
        found[match[1]] = _value(match[2])
    return found


def _value(text: str) -> str:
    quoted = _QUOTED.match(text)
    if quoted is None:
        return re.sub(r"(?:\A|\s+)#.*\Z", "", text).strip()
    if quoted[1] is not None:
        return _ESCAPE.sub(r"\1", quoted[1])
    return quoted[2]
