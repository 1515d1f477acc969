"""Everything a measurement needs, standing: contents, a hub, two upstreams, a warm mirror, the baselines.

The hub's metadata comes from the scripted origin, the bytes from the bare file server, which the origin
redirects to as the Hub does to its CDN: the origin's own sending shares a process with the harness and
would be part of what is measured.
"""

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import processes
from tests.mirror.running import Running
from tests.origin import Origin

MIB: Final = 1 << 20
# What one connection to a CDN gives on a good day, in bytes per second.
PACE: Final = 100_000_000
_REPO: Final = "/bench/model/resolve/main"
HOT: Final = f"{_REPO}/hot.bin"
COLD: Final = f"{_REPO}/cold.bin"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: sizes in bytes, *heads* and *limit* in seconds, *rounds* of everything."""

    hot: int
    cold: int
    heads: float
    rounds: int
    limit: float


FULL: Final = Scale(1024 * MIB, 512 * MIB, 2.0, 5, 330.0)
QUICK: Final = Scale(256 * MIB, 128 * MIB, 0.5, 3, 75.0)


@dataclass(slots=True)
class Scene:
    """The servers under measurement, and where they run.

    *paced* and *swift* are the upstreams, with `PACE` and without; *baseline* sends the very file that the
    *mirror* has in its store, at *baseline_path*; *cold* is the name of the cold file on the upstreams.
    *server_core* is for a server whose CPU is compared, *load_core* for load that must not slow it.
    """

    scale: Scale
    folder: Path
    origin: Origin
    paced: processes.Server
    swift: processes.Server
    mirror: Running
    baseline: processes.Server
    baseline_path: str
    handler: processes.Server
    cold: str
    server_core: int
    load_core: int

    @contextmanager
    def fresh_mirror(self, upstream: processes.Server) -> Iterator[Running]:
        """A mirror with an empty data folder, which finds the bytes at *upstream*; on every core."""
        redirect(self.origin, upstream)
        data = self.folder / "fresh"
        try:
            with Running(data, self.origin) as running:
                yield running
        finally:
            shutil.rmtree(data, ignore_errors=True)


@contextmanager
def standing(scale: Scale, folder: Path, nginx: str | None) -> Iterator[Scene]:
    """Set the scene in *folder*; *nginx* is the program to measure hot files against, `None` for ours."""
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[-1], cores[0]
    contents = folder / "contents"
    contents.mkdir()
    hot, cold = _write(contents, scale.hot, b"hot"), _write(contents, scale.cold, b"cold")
    with ExitStack() as stack:
        origin = stack.enter_context(Origin(folder / "origin"))
        origin.add_repo(
            "models",
            "bench/model",
            {"hot.bin": contents / hot, "cold.bin": contents / cold},
            lfs=("*.bin",),
            xet=False,
        )
        paced = stack.enter_context(processes.file_server(contents, PACE))
        swift = stack.enter_context(processes.file_server(contents))
        redirect(origin, swift)
        with processes.on_cores({server_core}):
            mirror = stack.enter_context(Running(folder / "data", origin))
            handler = stack.enter_context(processes.bare_handler())
        processes.load(
            do="get", address=mirror.address, path=HOT, size=scale.hot, clients=1, ranges=False
        )
        mirror.settle()
        blob = next((folder / "data").glob(f"*/blobs/**/{hot}"))
        with processes.on_cores({server_core}):
            if nginx is not None:
                baseline = stack.enter_context(
                    processes.nginx_server(nginx, folder / "nginx", blob.parent)
                )
            else:
                baseline = stack.enter_context(processes.file_server(blob.parent))
        yield Scene(
            scale,
            folder,
            origin,
            paced,
            swift,
            mirror,
            baseline,
            f"/{hot}",
            handler,
            cold,
            server_core,
            load_core,
        )


def redirect(origin: Origin, upstream: processes.Server) -> None:
    """Let the hub send whoever wants bytes to *upstream*."""
    host, port = upstream.address
    origin._state().cdn_url = f"http://{host}:{port}"


def _write(folder: Path, size: int, seed: bytes) -> str:
    """Write *size* bytes that no layer can compress or deduplicate; the file is named by its sha256."""
    noise = random.Random(seed).randbytes(MIB)
    digest = hashlib.sha256()
    path = folder / seed.decode()
    with path.open("wb") as file:
        for index in range(size // MIB):
            piece = index.to_bytes(8, "big") + noise[8:]
            digest.update(piece)
            file.write(piece)
    path.rename(folder / digest.hexdigest())
    return digest.hexdigest()
