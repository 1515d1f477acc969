"""`modelmirror healthcheck`: is the mirror here ready? For containers, which have no curl to ask with."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from mirror.cli.exits import FAILED
from mirror.cli.settings import read
from mirror.config import Settings

_READY: Final = "/-/ready"
_PORTS: Final = {"http": 80, "https": 443}


@click.command("healthcheck")
@click.option("--url", help="The mirror to ask [default: the one that the settings describe].")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Seconds to wait for each step of the answer.",
)
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
def command(url: str | None, timeout: float, file: Path | None) -> None:
    """Ask the mirror on this machine whether it is ready; exit with 0 if it is, with 1 if not.

    It is asked where the settings say that it listens. Nothing secret is sent, so a certificate is not
    checked: it is made out to the name that clients use, which a probe does not.
    """
    if url is None:
        url = _where(read({}, file).settings)
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise click.UsageError(f"{url!r} is no URL of a mirror; write http://127.0.0.1:8090.")
    try:
        status, words = _ask(parts.scheme, parts.hostname, parts.port, timeout)
    except (OSError, http.client.HTTPException) as error:
        click.echo(f"modelmirror: {url} does not answer: {_why(error)}.", err=True)
        sys.exit(FAILED)
    if status != http.client.OK:
        click.echo(f"modelmirror: {url} is not ready: {status} {words}", err=True)
        sys.exit(FAILED)
    click.echo(words)


def _ask(scheme: str, host: str, port: int | None, timeout: float) -> tuple[int, str]:
    """Ask *host* whether it is ready; the status, and the first line of what it says."""
    connection: http.client.HTTPConnection
    if scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", _READY)
        answer = connection.getresponse()
        lines = answer.read(1 << 12).decode("utf-8", "replace").splitlines()
        return answer.status, lines[0] if lines else ""


def _where(settings: Settings) -> str:
    """The URL of the mirror that *settings* describe, as seen from this machine.

    Raises `click.UsageError` where the port is not known.
    """
    if settings.port == 0:
        raise click.UsageError("With port 0 the mirror picks a port; name its URL with --url.")
    scheme = "http" if settings.tls_cert is None else "https"
    return f"{scheme}://{_here(settings.host)}:{settings.port}"


def _here(host: str) -> str:
    """*host* as a part of a URL; for "any address" the loopback one of its family."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return "127.0.0.1" if address.is_unspecified else host
    return "[::1]" if address.is_unspecified else f"[{host}]"


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known here"
    return (
        (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    )
