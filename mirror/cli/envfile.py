"""The variables that a file gives an app: a .env file, or the ENV lines of a Dockerfile."""

import re
import shlex
from pathlib import Path
from typing import Final

from mirror.errors import ConfigError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FROM: Final = re.compile(r"^\s*FROM\s", re.IGNORECASE | re.MULTILINE)
_ENV: Final = re.compile(r"\s*ENV\s+(.*)", re.IGNORECASE | re.DOTALL)
_REFERENCE: Final = re.compile(
    r"\\([\"\\$])|\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))"
)


def read_variables(file: Path) -> dict[str, str]:
    """Read the variables of *file*, the last one of a name.

    A value in single quotes is what it says, in double quotes a backslash stands before a quote, a dollar or
    itself; ``$NAME`` of an earlier line is filled in outside single quotes. Of a Dockerfile, the ENV lines of
    its last stage are read, the image's own variables are not known. Raises `ConfigError`.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no text of variables.") from error
    if _FROM.search(text):
        return _dockerfile(file, text)
    found: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals and _NAME.match(name):
            continue  # Docker and Compose take such a variable from their own environment.
        if not equals or not _NAME.match(name.strip()):
            raise ConfigError(
                f"{file}, line {number} is not NAME=value.", hint="A comment begins with #."
            )
        found[name.strip()] = _value(value.strip(), found)
    return found


def _dockerfile(file: Path, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    kept = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\[ \t]*\n", " ", "\n".join(kept)).splitlines():
        if _FROM.match(line):
            found = {}
        match = _ENV.match(line)
        if match is None:
            continue
        first, _, rest = match[1].partition(" ")
        if "=" not in first:  # The old form: ENV NAME all the rest.
            found[first] = _filled(rest.strip(), found)
            continue
        lexer = shlex.shlex(match[1], posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            words = list(lexer)
        except ValueError as error:
            raise ConfigError(f"{file} has an ENV line with an open quote: {line!r}.") from error
        before = dict(found)  # As Docker has it: one line's variables do not see each other.
        for word in words:
            name, equals, value = word.partition("=")
            if equals and _NAME.match(name):
                found[name] = _filled(value, before)
    return found


def _value(text: str, known: dict[str, str]) -> str:
    if text[:1] == "'":
        body = re.match(r"'((?:[^'\\]|\\.)*)'", text)
        return re.sub(r"\\(['\\])", r"\1", body[1]) if body else text
    if text[:1] == '"':
        body = re.match(r'"((?:[^"\\]|\\.)*)"', text)
        return _filled(body[1], known) if body else text
    return _filled(re.sub(r"\s+#.*\Z", "", text), known)


def _filled(text: str, known: dict[str, str]) -> str:
    """*text* with the variables that are known filled in, but for those behind a backslash."""

    def fill(found: re.Match[str]) -> str:
        return found[1] or known.get(found[2] or found[3], found[0])

    return _REFERENCE.sub(fill, text)
