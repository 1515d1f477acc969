"""The command line: one file per verb.

A verb is imported only when it is called, so `modelmirror --help` costs an import of click and no more.
"""

import importlib
import sys
from typing import Final

import click

from mirror import __version__

_VERBS: Final = {
    "serve": "Run the mirror.",
    "status": "Tell how the mirror is.",
    "ls": "List what is here.",
    "du": "Tell what takes the room.",
    "stats": "Tell what the mirror has saved.",
    "pin": "Keep something, whatever room is wanted for.",
    "unpin": "Keep it no longer.",
    "rm": "Remove something, to be fetched anew.",
    "gc": "Remove what nobody needs.",
    "accept": "Believe the next content of an address.",
    "verify": "Check what is stored, and mend it.",
    "export": "Write a bundle for another mirror, or lay models out as clients cache them.",
    "import": "Take in a bundle that another mirror exported.",
    "manifest": "Print what is here, for a bundle that brings only the rest.",
    "warm": "Have the mirror fetch what will be needed.",
    "check": "Say whether all that will be needed is here, whole.",
    "lock": "Write down what targets are now, file by file.",
    "adopt": "Take over caches that clients have filled.",
    "grant": "Say who may read a repo, whatever the hub says.",
    "healthcheck": "Ask the mirror here whether it is ready, for probes.",
    "env": "Print the settings that point clients at the mirror.",
    "run": "Run a command with those settings.",
    "doctor": "Find out whether clients use the mirror, and what is in their way.",
    "user": "Write an entry for the file of local users.",
    "config": "Show the settings, or check them.",
}


# Verbs that Python keeps for itself.
_MODULES: Final = {"import": "importing"}


class _Verbs(click.Group):
    """Verbs found by name, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order people need them."""
        del ctx
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        del ctx
        if cmd_name not in _VERBS:
            return None
        command = importlib.import_module(f"mirror.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        assert isinstance(command, click.Command)  # noqa: S101 -- each verb's module defines one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs with one sentence each, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelmirror", message="%(prog)s %(version)s")
def cli() -> None:
    """Download each model once: a caching mirror for model hubs.

    Start it with `modelmirror serve`, then set HF_ENDPOINT to its address in every client.
    """


def main() -> None:
    """Run the command line; what the mirror refuses is one sentence on standard error."""
    try:
        cli()
    except Exception as error:
        # What words errors is a quarter of what `--version` imports: imported when there is one.
        from mirror.cli.exits import exit_code  # noqa: PLC0415
        from mirror.errors import MirrorError  # noqa: PLC0415

        if not isinstance(error, MirrorError):
            raise
        click.echo(f"modelmirror: {error}", err=True)
        sys.exit(exit_code(error))
