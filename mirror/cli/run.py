"""`modelmirror run`: one command, pointed at the mirror."""

import os
import sys

import click

from mirror.cli.address import mirror_address
from mirror.cli.exits import NO_MIRROR, NOT_EXECUTABLE, NOT_FOUND
from mirror.cli.pointing import pointing
from mirror.cli.settings import started_with
from mirror.hook import FOLDER

# How long the mirror has to answer before a command is started, in seconds.
PATIENCE = 5.0


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.option(
    "--url", help="The mirror's address [default: MODELMIRROR_URL, else as serve is set]."
)
@click.option(
    "--hook/--no-hook", default=True, help="With the start-up hook for Python, or without."
)
@click.option("--strict", is_flag=True, help="The hook refuses what would pass the mirror by.")
@click.option(
    "--fallback", is_flag=True, help="Run it too when the mirror is down; go direct then."
)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def command(
    arguments: tuple[str, ...], url: str | None, *, hook: bool, strict: bool, fallback: bool
) -> None:
    """Run COMMAND with the settings that point clients at the mirror, as in modelmirror run -- python app.py.

    Signals and the exit code are the command's own. When the mirror does not answer, the command is not
    started, unless --fallback lets its clients go direct for as long as that lasts.
    """
    if not hook and (strict or fallback):
        raise click.UsageError("--strict and --fallback are for the hook; leave --no-hook out.")
    address = mirror_address(url)
    if why := address.silence(PATIENCE):
        sentence = f"The mirror at {address.url} does not answer: {why}."
        if not fallback:
            click.echo(
                f"modelmirror: {sentence} {arguments[0]} was not started. Start the mirror with"
                " `modelmirror serve`, name another with --url, or go without it by --fallback.",
                err=True,
            )
            sys.exit(NO_MIRROR)
        click.echo(f"modelmirror: {sentence} {arguments[0]} goes direct.", err=True)
    given = started_with()
    settings = pointing(
        address, given, hook=FOLDER if hook else None, strict=strict, fallback=fallback
    )
    environment = given | settings
    if fallback and environment.get("HF_ENDPOINT") == address.url:
        del environment["HF_ENDPOINT"]  # It may be down: the hook knows when.
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606 -- it is what was asked for
    except FileNotFoundError:
        click.echo(f"modelmirror: there is no command {arguments[0]}.", err=True)
        sys.exit(NOT_FOUND)
    except OSError as error:
        click.echo(f"modelmirror: {arguments[0]} cannot be run: {error.strerror}.", err=True)
        sys.exit(NOT_EXECUTABLE)
