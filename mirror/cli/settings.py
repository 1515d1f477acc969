"""Where settings come from on this machine: flags, the environment, a file.

The only place that reads the environment.
"""

import os
from pathlib import Path
from typing import Any

from mirror.config import SETTINGS, Loaded, load

_FILE_VARIABLE = "MODELMIRROR_CONFIG"
# Every other program takes these in small letters too.
_IN_SMALL_LETTERS = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")


def default_data() -> Path:
    """The data folder when nothing names one (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return root / "modelmirror"


def started_with() -> dict[str, str]:
    """The environment that this process was given, before a start-up hook of its own changed it."""
    try:
        pairs = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    return {
        os.fsdecode(name): os.fsdecode(value)
        for name, equals, value in (pair.partition(b"=") for pair in pairs)
        if equals
    }


def read(flags: dict[str, Any], file: Path | None) -> Loaded:
    """Fold flags (those that were given), environment, *file* and defaults into settings.

    Without *file*, the one that ``MODELMIRROR_CONFIG`` names is read. Raises `ConfigError`.
    """
    if file is None and os.environ.get(_FILE_VARIABLE):
        file = Path(os.environ[_FILE_VARIABLE])
    fields = {setting.field for setting in SETTINGS}
    given = {
        name: ("true" if value is True else "false" if value is False else str(value))
        for name, value in flags.items()
        if name in fields and value is not None
    }
    environment = dict(os.environ)
    for name in _IN_SMALL_LETTERS:
        if name.lower() in environment:
            environment.setdefault(name, environment[name.lower()])
    return load(given, environment, file, data=default_data())
