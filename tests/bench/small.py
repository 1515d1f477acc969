"""Small requests over 16 kept connections: HEAD of a stored file, 2 KB and 500 KB of JSON.

Rates are taken with the load on another core, for there it is the server that is slow. CPU is taken with
the load on the server's core: a load that outruns its server sleeps, and waking it is billed to the server,
up to 50 us in a virtual machine.
"""

from functools import partial
from typing import Final

from tests.bench import processes
from tests.bench.figures import Notebook
from tests.bench.loads import fetch
from tests.bench.pairs import pair
from tests.bench.scene import HOT, Scene

# A page has at most 1000 entries; so many of these paths are 500 KB.
_TREE: Final = {
    f"{'a-folder-of-a-long-name/' * 9}part-{number:05}-of-01000-of-a-file.bin": b"%d" % number
    for number in range(1000)
}
_SMALL: Final = {f"model-{number:05}-of-00009.bin": b"small %d" % number for number in range(9)}
_TREE_PATH: Final = "/api/models/bench/large/tree/main?recursive=true"
_SMALL_PATH: Final = "/api/models/bench/small/tree/main"


def heads(scene: Scene, book: Notebook, turn: int) -> None:
    """HEAD of a branch's file: answers per second, beside a handler that looks nothing up."""
    mirror = scene.port
    mine, its = pair(
        turn,
        partial(_rate, scene, mirror, HOT, "HEAD"),
        partial(_rate, scene, scene.handler, HOT, "HEAD"),
    )
    theirs = _rate(scene, scene.olah.address[1], HOT, "HEAD") if scene.peers else None
    book.note("head-rate", mine, its, olah=theirs)


def documents(scene: Scene, book: Notebook, turn: int) -> None:
    """A short listing and a long one, beside nginx with the very same bytes in files."""
    nginx = scene.nginx
    if turn == 0:
        for name, files in (("small", _SMALL), ("large", _TREE)):
            scene.origin.add_repo("models", f"bench/{name}", files, lfs=("*.bin",))
        for name, path, size in (("small", _SMALL_PATH, 2000), ("large", _TREE_PATH, 500_000)):
            body = fetch(scene.port, path)
            if not 0.8 < len(body) / size < 1.25:
                raise RuntimeError(f"{path} has {len(body)} bytes, and {size} are wanted")
            (scene.static / f"{name}.json").write_bytes(body)
    # A round comes more than a minute after the one before: that a branch is looked at anew is not measured.
    for path in (_SMALL_PATH, _TREE_PATH):
        fetch(scene.port, path)
    mine, its = pair(
        turn,
        partial(_rate, scene, scene.port, _SMALL_PATH, "GET"),
        partial(_rate, scene, nginx.address[1], "/small.json", "GET"),
    )
    book.note("json-rate", mine, its)
    mine, its = pair(
        turn,
        partial(cpu, scene, scene.mirror.process.pid, scene.port, _TREE_PATH, "GET"),
        partial(cpu, scene, nginx.pid, nginx.address[1], "/large.json", "GET"),
    )
    book.note("tree-cpu", mine, its)


def _rate(scene: Scene, port: int, path: str, method: str) -> float:
    """Answers per second."""
    with processes.on_cores({scene.other}):
        told = scene.loads.ask(port, path, method=method, seconds=scene.scale.asking)
    return float(told["count"] / told["seconds"])


def cpu(scene: Scene, pid: int, port: int, path: str, method: str) -> float:
    """The server's CPU per answer, in microseconds."""
    with processes.on_cores({scene.core}):
        before = processes.cpu_of(pid)
        told = scene.loads.ask(port, path, method=method, seconds=scene.scale.asking)
        used = processes.cpu_of(pid) - before
    return float(used / told["count"] * 1e6)
