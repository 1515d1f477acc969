"""Hot files: a blob that is in the store and in the page cache, beside nginx with the same file.

Server and load share one core, so CPU is billed to whom it belongs and rates include the load's work.
"""

from functools import partial
from typing import Final

from tests.bench import processes
from tests.bench.figures import Notebook
from tests.bench.pairs import pair
from tests.bench.scene import GIB, HOT, Scene

# By what their rows are called: connections, and whether they share one body by ranges or read one each.
_SHAPES: Final = {"1": (1, False), "4": (4, False), "16": (16, True)}


def hot(scene: Scene, book: Notebook, turn: int) -> None:
    """CPU and rate of one client, of four that each read all of it, and of 16 ranges."""
    nginx, mirror = scene.nginx, scene.mirror
    for shape in _SHAPES:
        mine, its = pair(
            turn,
            partial(_sent, scene, shape, mirror.process.pid, scene.port, HOT),
            partial(_sent, scene, shape, nginx.pid, nginx.address[1], "/hot"),
        )
        book.note(f"hot-{shape}-cpu", mine[0], its[0])
        book.note(f"hot-{shape}-rate", mine[1], its[1])


def _sent(scene: Scene, shape: str, pid: int, port: int, path: str) -> tuple[float, float]:
    """CPU seconds per GiB, and GiB per second."""
    clients, ranges = _SHAPES[shape]
    with processes.on_cores({scene.core}):
        before = processes.cpu_of(pid)
        told = scene.loads.get(port, path, scene.scale.hot, clients=clients, ranges=ranges)
        used = processes.cpu_of(pid) - before
    size = told["bytes"] / GIB
    return used / size, size / told["seconds"]
