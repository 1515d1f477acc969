"""One round of each measurement: the mirror and its baseline, one right after the other.

Who goes first changes from round to round, so that neither always finds the machine as the other left it.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final, TypeVar

from tests.bench import processes
from tests.bench.figures import Notebook
from tests.bench.scene import COLD, HOT, Scene

GIB: Final = 1 << 30
_T = TypeVar("_T")

# Connections, and whether they share one body by ranges or read one each.
_HOT: Final = (
    ("hot GET, 1 connection", 1, False),
    ("hot GET, 4 connections", 4, False),
    ("hot GET, 16 ranges", 16, True),
)
_HEADS: Final = 16


def everything(scene: Scene, book: Notebook, turn: int) -> None:
    """One round of all of them."""
    hot(scene, book, turn)
    heads(scene, book, turn)
    cold(scene, book, turn)
    start(scene, book, turn)


def hot(scene: Scene, book: Notebook, turn: int) -> None:
    """A blob that is in the store and in the page cache; server and load on one core."""
    targets = (
        (scene.mirror.process.pid, scene.mirror.address, HOT),
        (scene.baseline.pid, scene.baseline.address, scene.baseline_path),
    )
    for name, clients, ranges in _HOT:

        def measure(
            target: tuple[int, tuple[str, int], str],
            clients: int = clients,
            *,
            ranges: bool = ranges,
        ) -> tuple[float, float]:
            pid, address, path = target
            with processes.on_cores({scene.server_core}):
                before = processes.cpu_of(pid)
                told = processes.load(
                    do="get",
                    address=address,
                    path=path,
                    size=scene.scale.hot,
                    clients=clients,
                    ranges=ranges,
                )
                used = processes.cpu_of(pid) - before
            size = told["bytes"] / GIB
            return used / size, size / told["seconds"]

        mine, its = _pair(turn, lambda: measure(targets[0]), lambda: measure(targets[1]))
        book.note(f"{name}: server CPU", "s/GiB", "less", mine[0], its[0])
        book.note(f"{name}: rate", "GiB/s", "more", mine[1], its[1])


def heads(scene: Scene, book: Notebook, turn: int) -> None:
    """HEAD resolve over kept connections: CPU with the load on the server's core, rates with it elsewhere.

    With a core of its own a load that outruns the server sleeps between two answers, and to wake it is
    billed to the server: up to 50 us in a virtual machine, most where the server is slowest.
    """

    def measure(pid: int, address: tuple[str, int]) -> tuple[float, float, float]:
        before = processes.cpu_of(pid)
        with processes.on_cores({scene.server_core}):
            shared = _ask(scene, address)
        used = processes.cpu_of(pid) - before
        with processes.on_cores({scene.load_core}):
            apart = _ask(scene, address)
        return used / shared["count"] * 1e6, apart["count"] / apart["seconds"], apart["p99"] * 1e3

    mine, its = _pair(
        turn,
        lambda: measure(scene.mirror.process.pid, scene.mirror.address),
        lambda: measure(scene.handler.pid, scene.handler.address),
    )
    name = f"HEAD resolve, {_HEADS} connections"
    book.note(f"{name}: server CPU", "us", "less", mine[0], its[0])
    book.note(f"{name}: rate", "1/s", "more", mine[1], its[1])
    book.note(f"{name}: 99th percentile", "ms", "less", mine[2], its[2])


def cold(scene: Scene, book: Notebook, turn: int) -> None:
    """A file that nobody has asked for yet, through an empty mirror and straight from upstream."""
    for upstream, kind, clients in (
        (scene.paced, "cold, 100 MB/s per connection", 1),
        (scene.paced, "cold, 100 MB/s per connection", 8),
        (scene.swift, "cold, upstream unpaced", 1),
    ):
        name = f"{kind}, {clients} client{'s' * (clients > 1)}"

        def straight(upstream: processes.Server = upstream, clients: int = clients) -> Any:
            return _fetch(scene, upstream.address, f"/{scene.cold}", clients)

        def through(
            upstream: processes.Server = upstream, clients: int = clients
        ) -> tuple[Any, float, float]:
            with scene.fresh_mirror(upstream) as mirror:
                pid = mirror.process.pid
                sent, used = _sent(upstream), processes.cpu_of(pid)
                told = _fetch(scene, mirror.address, COLD, clients)
                mirror.settle()
                used = processes.cpu_of(pid) - used
                return told, used, (_sent(upstream) - sent) / scene.scale.cold

        (mine, used, asked), its = _pair(turn, through, straight)
        book.note(f"{name}: time", "s", "less", mine["seconds"], its["seconds"])
        book.note(
            f"{name}: first byte",
            "ms",
            "less",
            median(mine["first"]) * 1e3,
            median(its["first"]) * 1e3,
        )
        book.note(f"{name}: mirror CPU", "s/GiB", "less", used / (scene.scale.cold / GIB))
        book.note(f"{name}: upstream bytes / size", "x", "less", asked, float(clients))


def start(scene: Scene, book: Notebook, turn: int) -> None:
    """From the command to the first line, on an empty data folder; then what an idle process holds."""

    def mirror() -> tuple[float, float, float]:
        begun = time.perf_counter()
        with scene.fresh_mirror(scene.swift) as running:
            return _started(begun, running.process.pid)

    def bare() -> tuple[float, float, float]:
        begun = time.perf_counter()
        with processes.bare_handler() as server:
            return _started(begun, server.pid)

    mine, its = _pair(turn, mirror, bare)
    book.note("start to listening: time", "s", "less", mine[0], its[0])
    book.note("start to listening: CPU", "s", "less", mine[1], its[1])
    book.note("idle memory", "MiB", "less", mine[2], its[2])
    book.note(
        "memory of the mirror that serves",
        "MiB",
        "less",
        processes.pss_of(scene.mirror.process.pid),
    )


def _started(begun: float, pid: int) -> tuple[float, float, float]:
    return time.perf_counter() - begun, processes.cpu_of(pid), processes.pss_of(pid)


def _ask(scene: Scene, address: tuple[str, int]) -> Any:
    return processes.load(
        do="heads", address=address, path=HOT, clients=_HEADS, seconds=scene.scale.heads
    )


def _fetch(scene: Scene, address: tuple[str, int], path: str, clients: int) -> Any:
    return processes.load(
        do="get", address=address, path=path, size=scene.scale.cold, clients=clients, ranges=False
    )


def _sent(upstream: processes.Server) -> int:
    return int(processes.fetch_text(upstream.address, "/-/sent"))


def _pair(turn: int, mirror: Callable[[], _T], baseline: Callable[[], Any]) -> tuple[_T, Any]:
    """Measure both, the mirror first in even turns."""
    if turn % 2:
        its = baseline()
        return mirror(), its
    mine = mirror()
    return mine, baseline()
