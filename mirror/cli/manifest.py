"""`modelmirror manifest`: what is here, as ``export --since`` reads it."""

from pathlib import Path

import click

from mirror.cli.settings import read
from mirror.cli.working import giving


@click.command("manifest")
@click.option("--data", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
def command(data: Path | None, file: Path | None) -> None:
    """Print the digests of all blobs that are here.

    Carry it to the mirror that exports: with --since it sends what is not here and nothing else. It names no
    repo and no file.
    """
    with giving(read({"data": data}, file).settings) as give:
        text = give("bundle-has", {})["text"]
    click.echo(text, nl=False)
