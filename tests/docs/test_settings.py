"""The sample settings file is the documentation of the settings, so it must not drift from them."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mirror.config import SETTINGS, load
from tests.house.checkout import ROOT

SAMPLE: Final = ROOT / "config" / "modelmirror.toml"
DATA: Final = Path("data")  # what `load` takes when nothing names a data folder

# A setting in the sample: `key = value`, live or behind a "# " that leaves its default in force.
ROW: Final = re.compile(r"^(?:# )?([a-z_]+ = .*)$", re.MULTILINE)
TABLE: Final = re.compile(r"^(?:# )?(\[[a-z_.]+\])$", re.MULTILINE)


def test_sample_changes_nothing(tmp_path: Path) -> None:
    """The sample as it is shipped is the defaults."""
    assert _load(SAMPLE.read_text(encoding="utf-8"), tmp_path) == _load("", tmp_path)


def test_sample_shows_the_defaults(tmp_path: Path) -> None:
    """With every row live, all settings but the data folder have their defaults still."""
    shown = _load(_live(), tmp_path)
    defaults = _load("", tmp_path)

    assert shown | {"data": DATA} == defaults


def test_sample_shows_every_setting() -> None:
    """Each setting has one row in the sample, and no other row is there."""
    assert sorted(_keys(tomllib.loads(_live()))) == sorted(setting.key for setting in SETTINGS)


def test_sample_names_every_variable() -> None:
    """The sample says which environment variable sets each setting."""
    text = SAMPLE.read_text(encoding="utf-8")

    assert [s.environment for s in SETTINGS if not re.search(rf"\b{s.environment}\b", text)] == []


def test_documents_list_every_setting() -> None:
    """The table in docs/settings.md has one row per setting, with its variable and its default."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    listed = [(row[0].strip("| `"), row[1].strip("`"), row[2].strip("`")) for row in rows]
    listed_defaults = {key: default for key, _, default in listed}

    assert [(key, variable) for key, variable, _ in listed] == [
        (setting.key, setting.environment) for setting in SETTINGS
    ]
    assert {s.key: listed_defaults[s.key] for s in SETTINGS if s.default} == {
        s.key: s.default for s in SETTINGS if s.default
    }


def _live() -> str:
    """Give the sample with every row live, without its prose."""
    text = SAMPLE.read_text(encoding="utf-8")
    rows = sorted((*ROW.finditer(text), *TABLE.finditer(text)), key=lambda match: match.start())
    return "\n".join(match[1] for match in rows)


def _keys(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of *tree*; a table that is itself a setting is one key."""
    settings = {setting.key for setting in SETTINGS}
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, dict) and key not in settings:
            yield from _keys(value, f"{key}.")
        else:
            yield key


def _load(text: str, folder: Path) -> dict[str, Any]:
    """Read *text* as a settings file; give the settings by field."""
    file = folder / "modelmirror.toml"
    file.write_text(text, encoding="utf-8")
    return asdict(load({}, {}, file, data=DATA).settings)
