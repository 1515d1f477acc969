"""Hot files: a blob that is in the store and in the page cache, beside nginx with the same file.

Server and load share one core, so CPU is billed to whom it belongs and rates include the load's work.
"""

import time
from functools import partial
from typing import Final

from tests.bench import processes
from tests.bench.figures import Notebook
from tests.bench.pairs import pair
from tests.bench.scene import GIB, HOT, Scene

# By what their rows are called: connections, and whether they share one body by ranges or read one each.
_SHAPES: Final = {"1": (1, False), "4": (4, False), "16": (16, True)}
# olah takes ten times as long.
_PEER_ROUNDS: Final = 2
# Until two downloads have all the buffers that the kernel gives them.
_RUN_UP: Final = 0.3


def hot(scene: Scene, book: Notebook, turn: int) -> None:
    """CPU and rate of one client, of four that each read all of it, and of 16 ranges."""
    nginx, mirror = scene.nginx, scene.mirror
    for shape in _SHAPES:
        mine, its = pair(
            turn,
            partial(_sent, scene, shape, mirror.process.pid, scene.port, HOT),
            partial(_sent, scene, shape, nginx.pid, nginx.address[1], "/hot"),
        )
        theirs: tuple[float, float] | tuple[None, None] = (None, None)
        if scene.peers and turn < _PEER_ROUNDS:
            olah = scene.olah
            theirs = _sent(scene, shape, olah.pid, olah.address[1], HOT)
        book.note(f"hot-{shape}-cpu", mine[0], its[0], olah=theirs[0])
        book.note(f"hot-{shape}-rate", mine[1], its[1], olah=theirs[1])


def _sent(scene: Scene, shape: str, pid: int, port: int, path: str) -> tuple[float, float]:
    """CPU seconds per GiB, and GiB per second."""
    clients, ranges = _SHAPES[shape]
    with processes.on_cores({scene.core}):
        before = processes.cpu_of(pid)
        told = scene.loads.get(port, path, scene.scale.hot, clients=clients, ranges=ranges)
        used = processes.cpu_of(pid) - before
    size = told["bytes"] / GIB
    return used / size, size / told["seconds"]


def beside(scene: Scene, book: Notebook, turn: int) -> None:
    """How long a HEAD waits while two downloads run as fast as they can; their load is on another core."""
    mine, its = pair(
        turn,
        partial(_waited, scene, scene.port, HOT),
        partial(_waited, scene, scene.nginx.address[1], "/hot"),
    )
    book.note("beside-p99", mine, its)


def _waited(scene: Scene, port: int, path: str) -> float:
    """The 99th percentile of one asker's waits, in ms; it asks some 400 times a second."""
    seconds = 3 * scene.scale.asking
    with (
        processes.on_cores({scene.other}),
        scene.loads.asking(port, path, method="GET", clients=2, seconds=10 * seconds),
    ):
        time.sleep(_RUN_UP)
        told = scene.loads.ask(port, path, clients=1, seconds=seconds, pause_ms=2)
    return float(told["p99"] * 1e3)


def tls(scene: Scene, book: Notebook, turn: int) -> None:
    """CPU of one client over TLS 1.3, which is curl, beside nginx with its defaults."""
    secure, nginx = scene.secure_mirror, scene.nginx
    mine, its = pair(
        turn,
        partial(_sent_secure, scene, secure.process.pid, secure.address[1], HOT),
        partial(_sent_secure, scene, nginx.pid, nginx.secure_port, "/hot"),
    )
    book.note("tls-cpu", mine, its)


def _sent_secure(scene: Scene, pid: int, port: int, path: str) -> float:
    """CPU seconds per GiB."""
    with processes.on_cores({scene.core}):
        before = processes.cpu_of(pid)
        scene.fetch_secure(port, path, scene.scale.hot)
        used = processes.cpu_of(pid) - before
    return used / (scene.scale.hot / GIB)
