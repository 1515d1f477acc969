"""`modelmirror serve`: run the mirror until it is told to stop."""

import asyncio
import contextlib
import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from mirror.cli.exits import ADDRESS
from mirror.cli.logs import set_up
from mirror.cli.settings import read
from mirror.cli.systemd import Manager
from mirror.config import Settings


@click.command("serve")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The data folder [default: ~/.local/share/modelmirror].",
)
@click.option("--host", help="The address to listen on [default: 127.0.0.1].")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port to listen on, 0 for a free one [default: 8090].",
)
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path),
    help="Serve HTTPS with the certificate (and chain) in this PEM file.",
)
@click.option("--tls-key", type=click.Path(path_type=Path), help="The PEM file with its key.")
@click.option(
    "--upstream-ca",
    type=click.Path(path_type=Path),
    help="A PEM file with certificate authorities to trust upstream, beside the system's.",
)
@click.option(
    "--users",
    "access_users",
    type=click.Path(path_type=Path),
    help="A file of local users; callers then say to this mirror who they are.",
)
@click.option("--offline/--online", default=None, help="Never ask upstream.")
@click.option("--quota", help="The most the store may hold, like 500GiB.")
@click.option("--min-free", help="Room on the disk to leave alone [default: 1GiB].")
@click.option("--public-url", help="The base of every URL handed out, when behind another server.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Lines for people or one JSON object a line, on standard error [default: text].",
)
@click.option("--config", "file", type=click.Path(path_type=Path), help="A settings file (TOML).")
def command(file: Path | None, **flags: Any) -> None:
    """Run the mirror.

    Clients then set HF_ENDPOINT to its address. Ctrl-C stops it gracefully: running downloads may end,
    what is half here is kept.
    """
    settings = read(flags, file).settings
    set_up(settings.log_level, settings.log_format)
    manager = Manager.read(os.environ, os.getpid())
    if "modelmirror_hook" in sys.modules:
        # The environment leads programs to a mirror. This is one, and asks the hubs.
        sys.modules["modelmirror_hook"].stop()
    try:
        _run(settings, manager)
    except OSError as error:
        if error.filename is not None:
            raise
        # What asyncio says of these repeats the address.
        plain = error.errno in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}
        why = os.strerror(error.errno or 0) if plain else error.strerror or str(error)
        click.echo(
            f"modelmirror: cannot listen on {settings.host}:{settings.port}: {why}. "
            "Choose another address with --host or --port (0 picks a free one).",
            err=True,
        )
        sys.exit(ADDRESS)


def _run(settings: Settings, manager: Manager) -> None:
    # A collection amid imports looks at 100 000 objects that all stay: 50 ms of the start. Frozen, none
    # looks at them again, which spares whoever is served meanwhile 25 ms now and then.
    gc.disable()
    import uvloop  # noqa: PLC0415 -- 45 ms that only a server should pay

    import mirror.upstream.lean  # noqa: PLC0415 -- before anything else imports aiohttp
    import mirror.wiring  # noqa: F401, PLC0415 -- the whole server

    gc.freeze()
    gc.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, manager))


async def _serve(settings: Settings, manager: Manager) -> None:
    from mirror.wiring import Mirror  # noqa: PLC0415 -- imports the whole server

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    mirror = Mirror(settings, manager.listener())

    def asked_to_stop() -> None:
        if stop.is_set():
            mirror.hurry()  # The second Ctrl-C: cut what is running.
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop)
    async with mirror:
        click.echo(f"modelmirror listening on {mirror.url}")
        click.echo(_banner(settings, mirror.url))
        sys.stdout.flush()
        manager.tell("READY=1", f"STATUS=Listening on {mirror.url}")
        _beat(manager, loop)
        await stop.wait()
        manager.tell("STOPPING=1", "STATUS=Running downloads may end")
        _say(settings, "modelmirror is stopping; Ctrl-C again cuts running downloads.")
    _say(settings, "modelmirror stopped.")


def _beat(manager: Manager, loop: asyncio.AbstractEventLoop) -> None:
    """Tell the manager twice in its time that the event loop turns; a loop that hangs tells nothing."""
    if manager.watchdog is not None:
        manager.tell("WATCHDOG=1")
        loop.call_later(manager.watchdog / 2, _beat, manager, loop)


def _say(settings: Settings, sentence: str) -> None:
    """Tell the person at the terminal, or the program that reads the log, whatever its level."""
    if settings.log_format == "json":
        logging.getLogger("modelmirror").log(logging.CRITICAL, sentence)
    else:
        click.echo(sentence, err=True)


def _banner(settings: Settings, url: str) -> str:
    """What a person needs next: what to set, where the bytes are, who can reach this."""
    public = settings.public_url or _reachable(url)
    upstreams = ", ".join(settings.huggingface_upstreams)
    rows = [("clients", f"export HF_ENDPOINT={public}")]
    only_here = _loopback(urlsplit(url).hostname or "")
    if not only_here:
        rows.append(("containers", f"--build-arg HF_ENDPOINT={public}"))
    rows += [
        ("data", str(settings.data)),
        ("upstream", "none: offline" if settings.offline else upstreams),
        ("home page", f"{public}/"),
    ]
    lines = ["", *(f"  {name:<11}{value}" for name, value in rows), ""]
    if only_here:
        lines += [
            "  Only this machine can reach it. For containers and colleagues, listen on all addresses:",
            "  modelmirror serve --host 0.0.0.0, or make serve ARGS='--host 0.0.0.0'",
            "",
        ]
    return "\n".join(lines)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _reachable(url: str) -> str:
    """The address that others would use, where the mirror listens on all of them."""
    for anywhere in ("0.0.0.0", "[::]"):  # noqa: S104 -- compared, not bound
        if f"//{anywhere}:" in url:
            return url.replace(anywhere, socket.gethostname())
    return url
