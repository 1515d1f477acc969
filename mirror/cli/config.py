"""`modelmirror config`: what is set, and by whom."""

import json
import sys
from pathlib import Path

import click

from mirror.cli.exits import STORE, USAGE
from mirror.cli.settings import read
from mirror.config import SETTINGS
from mirror.errors import ConfigError


@click.group("config")
def command() -> None:
    """Show the settings, or check them."""


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


@command.command("check")
@click.option("--data", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def check(data: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Check the settings, and all that they name, as a start would; nothing is written.

    Every value is read, and so are the certificate and its key, the files of users, tokens and authorities.
    The data folder must be one that can be used. What is wrong is told with the setting that mends it.
    """
    from mirror.parts import examine  # noqa: PLC0415 -- imports the whole server

    refused = examine(read({"data": data}, file).settings)
    if as_json:
        click.echo(json.dumps({"errors": [str(error) for error in refused]}, indent=2))
    else:
        for error in refused:
            click.echo(f"modelmirror: {error}", err=True)
        if not refused:
            click.echo("The settings can be used.")
    if refused:
        sys.exit(USAGE if any(isinstance(each, ConfigError) for each in refused) else STORE)
