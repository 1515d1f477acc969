"""`modelmirror env`: the settings that point clients at the mirror."""

import json
from pathlib import Path

import click

from mirror.cli.address import Address, mirror_address
from mirror.cli.pointing import MOUNTED_HOOK, pointing
from mirror.cli.settings import started_with
from mirror.cli.shells import CONTAINERS, FORMATS
from mirror.hook import FOLDER

# How long a mirror has to answer in a login shell.
PATIENCE = 1.0


@click.command("env")
@click.option(
    "--shell", type=click.Choice(list(FORMATS)), default="sh", help="For whom [default: sh]."
)
@click.option(
    "--url", help="The mirror's address [default: MODELMIRROR_URL, else as serve is set]."
)
@click.option(
    "--hook/--no-hook", default=True, help="With the start-up hook for Python, or without."
)
@click.option("--strict", is_flag=True, help="The hook refuses what would pass the mirror by.")
@click.option("--fallback", is_flag=True, help="The hook goes direct while the mirror is down.")
@click.option("--if-up", is_flag=True, help="Print nothing unless the mirror answers within 1 s.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(
    shell: str,
    url: str | None,
    *,
    hook: bool,
    strict: bool,
    fallback: bool,
    if_up: bool,
    as_json: bool,
) -> None:
    """Print the settings that point clients at the mirror.

    In a shell: eval "$(modelmirror env)", or in its start-up file: eval "$(modelmirror env --if-up)".
    """
    if not hook and (strict or fallback):
        raise click.UsageError("--strict and --fallback are for the hook; leave --no-hook out.")
    address = mirror_address(url)
    if if_up and address.silence(PATIENCE):
        return
    contained = shell in CONTAINERS and not as_json
    folder = (FOLDER if not contained else "") if hook else None
    known = {} if contained else started_with()
    settings = pointing(address, known, hook=folder, strict=strict, fallback=fallback)
    if as_json:
        click.echo(json.dumps({"url": address.url, "set": settings}, indent=2))
        return
    click.echo(FORMATS[shell](settings), nl=False)
    if contained:
        click.echo("".join(f"# {line}\n" for line in _beside(shell, address, hook=hook)), nl=False)


def _beside(shell: str, address: Address, *, hook: bool) -> list[str]:
    """What a container needs besides variables, line by line."""
    lines = []
    if address.loopback:
        lines.append(
            f"{address.host} is the container itself: give --url an address that reaches this machine."
        )
    if not hook:
        return lines
    lines.append("For clients that have no setting, mount the start-up hook and load it:")
    if shell == "docker":
        mount = f"type=bind,src={FOLDER},dst={MOUNTED_HOOK},readonly"
        return [*lines, f"docker run --mount {mount} --env PYTHONPATH={MOUNTED_HOOK}"]
    volume = json.dumps(f"{Path(FOLDER)}:{MOUNTED_HOOK}:ro").replace("$", "$$")
    return [*lines, f"  PYTHONPATH: {MOUNTED_HOOK}", "volumes:", f"  - {volume}"]
