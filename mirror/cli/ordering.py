"""How a verb gives an order: to the server that runs on the data folder, else to the folder itself."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mirror.cli.settings import read
from mirror.errors import StoreUnusableError
from mirror.index.grants import Grants
from mirror.index.journal import Journal
from mirror.store import durable
from mirror.store.layout import Layout
from mirror.upkeep.known import writer
from mirror.upkeep.orders import Orders
from mirror.upkeep.reach import order


def give(
    data: Path | None, file: Path | None, name: str, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Have order *name* carried out on the data folder *data*; returns the reply.

    Raises `MirrorError` when it cannot be, with what to do.
    """
    layout = Layout(read({"data": data}, file).settings.data)
    if not layout.root.is_dir():
        raise StoreUnusableError(
            f"There is no store in {layout.data}.",
            hint="Start the mirror once, or name its folder with --data.",
        )
    reply = order(layout.control, name, arguments)
    if reply is not None:
        return reply
    with ExitStack() as stack:
        stack.callback(_alone(layout).release)
        journal = Journal.open(layout.journal, writer(layout), durable.sync_file)
        stack.callback(journal.close)
        return Orders(Grants(journal)).carry_out(name, arguments)


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
