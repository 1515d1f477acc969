"""How a verb gives an order: to the server that runs on the data folder, else to the folder itself."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from mirror.cli.patience import patience
from mirror.cli.settings import read
from mirror.config import Settings
from mirror.errors import StoreUnusableError
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.upkeep.reach import order


def give(
    data: Path | None, file: Path | None, name: str, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Have order *name* carried out on the data folder *data*; returns the reply.

    Raises `MirrorError` when it cannot be, with what to do.
    """
    settings = read({"data": data}, file).settings
    layout = Layout(settings.data)
    if not layout.root.is_dir():
        raise StoreUnusableError(
            f"There is no store in {layout.data}.",
            hint="Start the mirror once, or name its folder with --data.",
        )
    with patience(f"modelmirror {name}"):
        reply = order(layout.control, name, arguments)
        return _at_rest(layout, settings, name, arguments) if reply is None else reply


def _at_rest(
    layout: Layout, settings: Settings, name: str, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Carry the order out on a folder that no server runs on."""
    # An order that a server takes costs no import of all this.
    from mirror.clock import SystemClock  # noqa: PLC0415
    from mirror.parts import hubs_of  # noqa: PLC0415
    from mirror.upkeep.desk import AtRest  # noqa: PLC0415
    from mirror.upkeep.orders import Orders  # noqa: PLC0415

    with ExitStack() as stack:
        stack.callback(_alone(layout).release)
        rest = AtRest(
            layout,
            lambda secret: hubs_of(settings, secret),
            SystemClock(),
            lambda sentence: click.echo(f"modelmirror: {sentence}", err=True),
            quota=settings.quota,
            min_free=settings.min_free,
        )
        return Orders.ready(stack.enter_context(rest)).carry_out(name, arguments)


def _alone(layout: Layout) -> durable.StoreLock:
    """The lock of the folder, or why the server that holds it cannot be reached."""
    lock = durable.StoreLock(layout.lock)
    try:
        lock.acquire()
    except StoreUnusableError as error:
        raise StoreUnusableError(
            error.message,
            hint=f"It does not listen on {layout.control}: is it still starting, or of an older version?",
        ) from error
    return lock
