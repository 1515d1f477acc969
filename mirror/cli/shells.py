"""Settings as shells, Docker and Compose read them, quoted exactly."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Final

from mirror.errors import ConfigError

# What PowerShell takes for a single quote (its language specification, §2.3.5.2).
_POWERSHELL_QUOTES: Final = re.compile("(['\u2018\u2019\u201a\u201b])")
# What no reader of a dotenv file gives another meaning without quotes.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:,@%+=\[\]-]+\Z", re.ASCII)


def sh(settings: Mapping[str, str]) -> str:
    """For sh, bash, zsh: ``eval "$(modelmirror env)"``."""
    return _lines(settings, lambda name, value: f"export {name}={shlex.quote(value)}")


def fish(settings: Mapping[str, str]) -> str:
    r"""For fish: ``modelmirror env --shell fish | source``; only ``\`` and ``'`` are escaped in quotes."""

    def line(name: str, value: str) -> str:
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{quoted}'"

    return _lines(settings, line)


def powershell(settings: Mapping[str, str]) -> str:
    """For PowerShell: ``modelmirror env --shell powershell | Out-String | Invoke-Expression``."""

    def line(name: str, value: str) -> str:
        quoted = _POWERSHELL_QUOTES.sub(r"\1\1", value)
        return f"$env:{name} = '{quoted}'"

    return _lines(settings, line)


def dotenv(settings: Mapping[str, str]) -> str:
    """For a .env file: what is not plain stands in single quotes, in which nothing is expanded."""

    def line(name: str, value: str) -> str:
        if _PLAIN.match(value):
            return f"{name}={value}"
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{name}='{quoted}'"

    return _lines(_of_one_line(settings), line)


def docker(settings: Mapping[str, str]) -> str:
    """For ``docker run --env-file``: a value is what follows the first ``=``, without any quotes."""
    return _lines(_of_one_line(settings), lambda name, value: f"{name}={value}")


def compose(settings: Mapping[str, str]) -> str:
    """For a Compose file: a string of JSON is one of YAML; ``$$`` is a dollar that Compose leaves alone."""

    def line(name: str, value: str) -> str:
        return f"  {name}: {json.dumps(value, ensure_ascii=False).replace('$', '$$')}"

    return "environment:\n" + _lines(settings, line)


FORMATS: Final[Mapping[str, Callable[[Mapping[str, str]], str]]] = {
    "sh": sh,
    "fish": fish,
    "powershell": powershell,
    "dotenv": dotenv,
    "docker": docker,
    "compose": compose,
}
# Those of containers, which have other folders and another loopback address.
CONTAINERS: Final = frozenset({"docker", "compose"})


def _lines(settings: Mapping[str, str], line: Callable[[str, str], str]) -> str:
    return "".join(f"{line(name, value)}\n" for name, value in settings.items())


def _of_one_line(settings: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in settings.items():
        if "\n" in value or "\r" in value:
            raise ConfigError(
                f"{name} has more than one line, and a file of variables has no way to say so."
            )
    return settings
