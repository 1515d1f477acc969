"""`modelmirror user`: write an entry for the file of local users."""

import sys

import click

from mirror.cache.users import ANONYMOUS, checked_name, new_token, password_hash, token_hash
from mirror.errors import ConfigError
from mirror.patterns import RepoPattern


@click.command("user")
@click.argument("name")
@click.option(
    "--read", "patterns", multiple=True, help="Which repos; may be given again [default: *]."
)
@click.option("--password", "by_password", is_flag=True, help="Ask for a password, make no token.")
def command(name: str, patterns: tuple[str, ...], *, by_password: bool) -> None:
    """Print an entry for NAME, to be put into the file that access.users names.

    A token is made and shown once, on standard error; the entry has its hash. With --password the
    password is asked for, or read from standard input; it never stands on the command line.
    """
    try:
        checked_name(name)
        reads = [RepoPattern.parse(text).text for text in patterns or ("*",)]
    except ValueError as error:
        raise ConfigError(f"There can be no such user: {error}.") from error
    lines = [f"[{name}]" if name.isidentifier() else f'["{name}"]']
    if by_password:
        lines.append(f'password = "{password_hash(_ask_password())}"')
    elif name != ANONYMOUS:
        token = new_token()
        lines.append(f'tokens = ["{token_hash(token)}"]')
        click.echo(f"The token of {name}, shown this once: {token}", err=True)
    listed = ", ".join(f'"{text}"' for text in reads)
    lines.append(f"read = [{listed}]")
    click.echo("\n".join([*lines, ""]))


def _ask_password() -> str:
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise ConfigError("An empty password is none.")
    return str(password)
