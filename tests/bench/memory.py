"""What many clients at once cost in memory: the peak of the proportional set size over what it was before.

Each sample has a process of its own, which served one byte before, so that nothing is left of the sample
before.
"""

from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import processes
from tests.bench.figures import Notebook
from tests.bench.loads import fetch
from tests.bench.nginx import nginx_server
from tests.bench.pairs import pair
from tests.bench.programs import nginx
from tests.bench.scene import HOT, MIB, Scene, redirect
from tests.mirror.running import Running
from tests.origin import Sparse

# Clients, and the bytes that each of them reads per second.
_SLOW: Final = {"slow-200": (200, 128 << 10), "slow-1000": (1000, 32 << 10)}
_BIG: Final = "/bench/big/resolve/main/big.bin"
_CLIENTS: Final = 8
_MOST_FOR_PEERS: Final = 200


def slow(scene: Scene, book: Notebook, turn: int) -> None:
    """200 and 1000 clients that read a hot file slowly, beside nginx."""
    data = scene.folder / "slow"
    if turn == 0:
        scene.warm()
        redirect(scene.origin, scene.swift.address[1])
        with Running(data, scene.origin) as mirror:
            scene.loads.get(mirror.address[1], HOT, scene.scale.hot)
            mirror.settle()
    for key in _SLOW:
        mine, its = pair(
            turn, partial(_mirror_grows, scene, key, data), partial(_nginx_grows, scene, key)
        )
        book.note(key, mine, its, olah=_olah_grows(scene, key) if scene.peers else None)


def _mirror_grows(scene: Scene, key: str, data: Path) -> float:
    with Running(data, scene.origin) as mirror:
        return _grows(scene, key, mirror.process.pid, mirror.address[1], HOT)


def _olah_grows(scene: Scene, key: str) -> float | None:
    """What olah grows by; it is left out where it would have to serve 1000."""
    if _SLOW[key][0] > _MOST_FOR_PEERS:
        return None
    with scene.fresh_olah() as olah:
        scene.loads.get(olah.address[1], HOT, scene.scale.hot)
        return _grows(scene, key, olah.pid, olah.address[1], HOT)


def _nginx_grows(scene: Scene, key: str) -> float:
    scene.warm()
    program = nginx(scene.nginx_named)
    issued = scene.authority.issue()
    with nginx_server(program, scene.folder / f"nginx-{key}", scene.static, issued) as server:
        return _grows(scene, key, server.pid, server.address[1], "/hot")


def _grows(scene: Scene, key: str, pid: int, port: int, path: str) -> float:
    """How many MiB a server grows by while slow clients read from it."""
    clients, rate = _SLOW[key]
    fetch(port, path, method="HEAD")
    with processes.watched(pid) as seen:
        told = scene.loads.slow(
            port, path, scene.scale.hot, clients=clients, rate=rate, seconds=scene.scale.slow
        )
    if told["bytes"] < clients * rate * scene.scale.slow / 2:
        raise RuntimeError(f"{clients} slow clients got only {told['bytes'] / MIB:.0f} MiB")
    return max(seen) - seen[0]


def cold(scene: Scene, book: Notebook, turn: int) -> None:
    """Eight clients of one file that the mirror does not have yet and that comes as fast as it can."""
    del turn
    size = scene.scale.memory
    repo = scene.origin.add_repo(
        "models", "bench/big", {"big.bin": Sparse(size, stamped=True)}, lfs=("*.bin",), xet=False
    )
    entry = repo.head().files["big.bin"]
    held = entry.content.held
    if not isinstance(held, Path):
        raise TypeError("a sparse file lies on the disk")
    (scene.contents / entry.sha256).symlink_to(held)
    with scene.fresh_mirror() as mirror:
        port = mirror.address[1]
        fetch(port, _BIG, method="HEAD")
        with processes.watched(mirror.process.pid) as seen:
            scene.loads.get(port, _BIG, size, clients=_CLIENTS)
    book.note("cold-memory", max(seen) - seen[0])
