"""Cold files: what nobody has asked for yet, through an empty mirror and straight from upstream.

Each sample has a mirror of its own on an empty data folder, which ran for a moment before. Whoever asks the
mirror has asked HEAD before, as Hub clients do. Straight from upstream means from the hub, which
redirects to its CDN: a server that gives each connection its pace.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.bench import processes, programs
from tests.bench.figures import Notebook
from tests.bench.loads import fetch, warm
from tests.bench.pairs import pair
from tests.bench.processes import Server
from tests.bench.scene import GIB, HOT, MIB, PACE, Scene, redirect
from tests.mirror.running import Running

_COLD: Final = "/bench/cold/resolve/main/cold.bin"
_FOLLOWERS: Final = 8
# A mirror opens more connections for files above 256 MiB alone.
_RANGED: Final = "/bench/ranged/resolve/main/ranged.bin"
_RANGED_SIZE: Final = 512 * MIB
_RANGED_PACE: Final = 30_000_000
_ONE_CONNECTION: Final = 48 * MIB
_Fresh = Callable[[int], AbstractContextManager[Running | Server]]


class Cold:
    """The rows of cold files; keeps what they share from round to round."""

    def __init__(self) -> None:
        self._paced: Server | None = None
        self._ranged: Server | None = None
        self._straight = ""

    def followed(self, scene: Scene, book: Notebook, turn: int) -> None:
        """One client, and eight that join 20 ms apart, with 100 MB/s for each connection to upstream."""
        if self._paced is None:
            self._paced = scene.upstream(PACE)
            cold = scene.content("cold", scene.scale.cold)
            scene.origin.add_repo(
                "models", "bench/cold", {"cold.bin": cold}, lfs=("*.bin",), xet=False
            )
        paced = self._paced

        def straight() -> Any:
            redirect(scene.origin, paced.address[1])
            return scene.loads.get(scene.hub, _COLD, scene.scale.cold)

        mine, its = pair(turn, lambda: _followed(scene, paced, scene.fresh_mirror), straight)
        theirs: dict[str, float] = {}
        if scene.peers and turn == 0:
            theirs = _followed(scene, paced, scene.fresh_olah)
        first = its["first"][0] * 1e3
        for key, beside in (
            ("cold-1-time", its["seconds"]),
            ("cold-1-first", first),
            ("cold-8-time", its["seconds"]),
            ("cold-8-first", first),
            ("cold-8-bytes", None),
        ):
            book.note(key, mine[key], beside, olah=theirs.get(key))

    def ranged(self, scene: Scene, book: Notebook, turn: int) -> None:
        """A file that comes over as many connections as the mirror opens, beside one connection."""
        if self._ranged is None:
            self._ranged = scene.upstream(_RANGED_PACE)
            ranged = scene.content("ranged", _RANGED_SIZE)
            self._straight = f"/{scene.content('one connection', _ONE_CONNECTION).name}"
            scene.origin.add_repo(
                "models", "bench/ranged", {"ranged.bin": ranged}, lfs=("*.bin",), xet=False
            )
        port = self._ranged.address[1]

        def through() -> float:
            with scene.fresh_mirror(port) as mirror:
                told = _fetched(scene, mirror, _RANGED, _RANGED_SIZE, 1)
            return float(told["bytes"] / told["seconds"] / 1e6)

        def straight() -> float:
            told = scene.loads.get(port, self._straight, _ONE_CONNECTION)
            return float(told["bytes"] / told["seconds"] / 1e6)

        book.note("ranged-rate", *pair(turn, through, straight))


def fill(scene: Scene, book: Notebook, turn: int) -> None:
    """CPU of fetching a file that no client waits for, plain and over TLS.

    Upstream is nginx, and all of it shares one core. Beside the mirror stand curl, which writes the
    file, and openssl, which hashes it.
    """
    scene.warm()
    nginx = scene.nginx
    for key, port, base in (
        ("fill-cpu", nginx.address[1], "http://127.0.0.1"),
        ("fill-tls-cpu", nginx.secure_port, "https://localhost"),
    ):
        host = base.rpartition("/")[2]
        settings = {
            "MODELMIRROR_REDIRECT_HOSTS": f"{host}:{port}",
            "MODELMIRROR_UPSTREAM_CA": str(scene.authority.file),
        }

        book.note(
            key,
            *pair(
                turn,
                partial(_filled, scene, port, base, settings),
                partial(_fetched_and_hashed, scene, f"{base}:{port}/hot"),
            ),
        )


def _filled(scene: Scene, port: int, base: str, settings: dict[str, str]) -> float:
    """The mirror's CPU seconds per GiB for a file that it is told to fetch."""
    core = frozenset({scene.core})
    with scene.fresh_mirror(port, cores=core, settings=settings, base=base) as mirror:
        before = processes.cpu_of(mirror.process.pid)
        told = warm(mirror.address[1], [HOT])
        mirror.settle()
        used = processes.cpu_of(mirror.process.pid) - before
        if not list(mirror.data.glob(f"*/blobs/sha256/*/{scene.hot.name}")):
            raise RuntimeError(f"the mirror did not fetch the file: {told[-500:]}")
    return used / (scene.scale.hot / GIB)


def _fetched_and_hashed(scene: Scene, url: str) -> float:
    """CPU seconds per GiB of curl and openssl one after the other."""
    curl, openssl = programs.find("curl", "curl"), programs.find("openssl", "openssl")
    file: Path = scene.folder / "fetched"
    try:
        with processes.on_cores({scene.core}):
            fetching = processes.run(
                [curl, "-sSf", "--cacert", scene.authority.file, "-o", file, url]
            )
            hashing = processes.run([openssl, "dgst", "-sha256", file])
    finally:
        file.unlink(missing_ok=True)
    if scene.hot.name not in hashing.said:
        raise RuntimeError(f"{url} gave something else")
    return (fetching.cpu + hashing.cpu) / (scene.scale.hot / GIB)


def _followed(scene: Scene, upstream: Server, fresh: _Fresh) -> dict[str, float]:
    """One client of a fresh server, then eight of another: seconds, ms to the first byte, bytes asked."""
    size = scene.scale.cold
    with fresh(upstream.address[1]) as server:
        one = _fetched(scene, server, _COLD, size, 1)
    with fresh(upstream.address[1]) as server:
        before = _sent(upstream)
        many = _fetched(scene, server, _COLD, size, _FOLLOWERS)
        if isinstance(server, Running):
            server.settle()
        sent = _sent(upstream) - before
    return {
        "cold-1-time": one["seconds"],
        "cold-1-first": one["first"][0] * 1e3,
        "cold-8-time": many["seconds"],
        "cold-8-first": max(many["first"]) * 1e3,
        "cold-8-bytes": sent / size,
    }


def _fetched(scene: Scene, server: Running | Server, path: str, size: int, clients: int) -> Any:
    port = server.address[1]
    fetch(port, path, method="HEAD")
    return scene.loads.get(port, path, size, clients=clients)


def _sent(upstream: Server) -> int:
    return int(fetch(upstream.address[1], "/-/sent"))
