"""`modelmirror config`: what is set, and by whom."""

import json
from pathlib import Path

import click

from mirror.cli.settings import read
from mirror.config import SETTINGS


@click.group("config")
def command() -> None:
    """Show every setting and where its value came from."""


@command.command("show")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def show(file: Path | None, *, as_json: bool) -> None:
    """Print each setting, its value and where the value came from."""
    loaded = read({}, file)
    if as_json:
        rows = {
            setting.key: {
                "value": setting.hide(loaded.texts[setting.field]),
                "from": loaded.origins[setting.field],
                "environment": setting.environment,
            }
            for setting in SETTINGS
        }
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(setting.key) for setting in SETTINGS)
    shown = {setting: setting.hide(loaded.texts[setting.field]) or "-" for setting in SETTINGS}
    values = max(map(len, shown.values()))
    for setting, value in shown.items():
        click.echo(f"{setting.key:<{width}}  {value:<{values}}  ({loaded.origins[setting.field]})")
