"""Which mirror a verb asks: the one that runs on the data folder, or one of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from mirror.cli.logs import set_up
from mirror.cli.ownmirror import own_mirror
from mirror.cli.settings import read
from mirror.config import Settings
from mirror.errors import MirrorError
from mirror.store.layout import Layout
from mirror.upkeep.reach import order

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 -- compared, not bound


@contextmanager
def mirror_of(
    data: Path | None, file: Path | None, *, offline: bool = False
) -> Iterator[tuple[str, Layout]]:
    """The address of a mirror on the data folder *data*, and that folder.

    Where none runs one is started for as long as the context lasts: for this machine alone, on a free port,
    with the settings that `serve` would have, but for *offline*, with which it asks nobody. Raises
    `MirrorError` where that cannot be.
    """
    settings = read({"data": data}, file).settings
    layout = Layout(settings.data)
    told = order(layout.control, "address", {}) if layout.root.is_dir() else None
    if told is not None:
        yield _from_here(str(told["url"])), layout
        return
    with _started(replace(settings, offline=settings.offline or offline)) as url:
        yield url, layout


def _from_here(url: str) -> str:
    """The address at which this machine reaches a server that listens on all of them."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        raise MirrorError(
            f"The mirror on this data folder serves {url}, and this does not know its name.",
            hint="Name it as its certificate does: --endpoint https://NAME:PORT.",
        )
    near = _ANYWHERE.get(parts.hostname or "")
    return url if near is None else f"http://{near}:{parts.port}"


@contextmanager
def _started(settings: Settings) -> Iterator[str]:
    """The address of a mirror of our own."""
    set_up("warning", settings.log_format)
    settings = replace(
        settings,
        host="127.0.0.1",
        port=0,
        tls_cert=None,
        tls_key=None,
        public_url="",
        log_level="warning",
    )
    with own_mirror(settings, doors=True) as own:
        yield own.url
