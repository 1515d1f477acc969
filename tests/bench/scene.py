"""Everything that measurements share: contents, a hub, upstreams, a warm mirror, the baselines.

Each of them is started when it is first asked for, so that one row alone costs what it needs. The hub's
metadata comes from the scripted origin, the bytes from the bare file server, which the origin redirects
to as the Hub does to its CDN: the origin's own sending shares a process with the harness and would be part
of what is measured.
"""

import hashlib
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

from tests.bench import processes, programs
from tests.bench.loads import Loads
from tests.bench.nginx import Nginx, nginx_server
from tests.bench.olah import olah_server
from tests.house.certificates import Authority
from tests.mirror.running import Running
from tests.origin import Origin

MIB: Final = 1 << 20
GIB: Final = 1 << 30
# What one connection to a CDN gives on a good day, in bytes per second.
PACE: Final = 100_000_000
REPO: Final = "bench/model"
HOT: Final = f"/{REPO}/resolve/main/hot.bin"
_PEERS_SECONDS: Final = 180.0
_LOOPBACK: Final = "http://127.0.0.1"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: sizes in bytes, *asking*, *slow* and *limit* in seconds.

    *limit* is for the whole run, the start of servers included.
    """

    name: str
    hot: int
    cold: int
    tools: int
    memory: int
    asking: float
    slow: float
    limit: float


FULL: Final = Scale("full", 1024 * MIB, 512 * MIB, 2048 * MIB, 4096 * MIB, 1.0, 6.0, 13 * 60.0)
QUICK: Final = Scale("quick", 256 * MIB, 128 * MIB, 256 * MIB, 512 * MIB, 0.3, 2.0, 90.0)


class Scene:
    """What stands while a run lasts, below *folder*; *stack* takes down whatever was started.

    *nginx_named* is the nginx to use instead of the installed one; *peers* says
    whether olah is measured, too. Servers whose CPU is compared, and what
    loads them then, run on *core*; *other* is for load that must not slow a server.
    """

    def __init__(
        self, scale: Scale, folder: Path, stack: ExitStack, nginx_named: str | None, *, peers: bool
    ) -> None:
        self.scale = scale
        self.folder = folder
        self._stack = stack
        self.nginx_named = nginx_named
        self.peers = peers
        self.limit = scale.limit + (_PEERS_SECONDS if peers else 0)
        cores = sorted(os.sched_getaffinity(0))
        self.core, self.other = cores[-1], cores[0]
        self.cores = frozenset(cores)

    def keep(self, context: AbstractContextManager[_T]) -> _T:
        """Enter a context that ends with the run."""
        return self._stack.enter_context(context)

    @cached_property
    def loads(self) -> Loads:
        """The load generator."""
        return Loads(programs.compiled(self.folder))

    # -- contents and upstreams -------------------------------------------------------------------

    @cached_property
    def contents(self) -> Path:
        """A folder of files named by their sha256: what upstreams have."""
        folder = self.folder / "contents"
        folder.mkdir()
        return folder

    def content(self, seed: str, size: int) -> Path:
        """Make a file of *size* bytes that no layer can compress or deduplicate, one for each *seed*."""
        noise = random.Random(seed).randbytes(min(size + 8, MIB))
        digest = hashlib.sha256()
        path = self.contents / seed
        with path.open("wb") as file:
            for place in range(0, size, MIB):
                piece = (place.to_bytes(8, "big") + noise[8:])[: size - place]
                digest.update(piece)
                file.write(piece)
        return path.rename(self.contents / digest.hexdigest())

    @cached_property
    def hot(self) -> Path:
        """The hot file, as upstream has it."""
        return self.content("hot", self.scale.hot)

    @cached_property
    def origin(self) -> Origin:
        """The hub, with no repo yet; its CDN is `swift`."""
        origin = self.keep(Origin(self.folder / "origin"))
        redirect(origin, self.swift.address[1])
        return origin

    @property
    def hub(self) -> int:
        """The port of the hub."""
        return int(self.origin.url.rpartition(":")[2])

    def upstream(self, rate: int) -> processes.Server:
        """A file server that gives each connection *rate* bytes per second (0: no limit)."""
        with processes.on_cores({self.other}):
            server: processes.Server = self.keep(processes.file_server(self.contents, rate))
        return server

    @cached_property
    def swift(self) -> processes.Server:
        """The upstream without a pace."""
        return self.upstream(0)

    # -- the mirror and what is beside it ---------------------------------------------------------

    @cached_property
    def mirror(self) -> Running:
        """The mirror that has the hot file, on `core`."""
        self.origin.add_repo("models", REPO, {"hot.bin": self.hot}, lfs=("*.bin",), xet=False)
        redirect(self.origin, self.swift.address[1])
        with processes.on_cores({self.core}):
            mirror = self.keep(Running(self.folder / "data", self.origin))
        self.loads.get(mirror.address[1], HOT, self.scale.hot)
        mirror.settle()
        return mirror

    def warm(self) -> None:
        """Let upstream have the hot file, and the mirror."""
        self.mirror.settle()

    @property
    def port(self) -> int:
        """The port of that mirror."""
        return self.mirror.address[1]

    @cached_property
    def handler(self) -> int:
        """The port of the bare handler, on `core`."""
        with processes.on_cores({self.core}):
            server: processes.Server = self.keep(processes.bare_handler())
        return server.address[1]

    @cached_property
    def secure_mirror(self) -> Running:
        """A mirror that speaks TLS and has the hot file, on `core`."""
        self.warm()
        redirect(self.origin, self.swift.address[1])
        issued = self.authority.issue("DNS:localhost,IP:127.0.0.1")
        flags = ("--tls-cert", str(issued.certificate), "--tls-key", str(issued.key))
        with processes.on_cores({self.core}):
            mirror = self.keep(Running(self.folder / "secure", self.origin, flags))
        # Once to fetch it, once to have all of it verified and published.
        for _ in range(2):
            self.fetch_secure(mirror.address[1], HOT, self.scale.hot)
        return mirror

    def fetch_secure(self, port: int, path: str, size: int) -> None:
        """Read the *size* bytes at *path* over TLS with curl; raises `RuntimeError` if some are missing."""
        url = f"https://127.0.0.1:{port}{path}"
        curl = programs.find("curl", "curl")
        said = processes.run(
            [
                curl,
                "-sSf",
                "--tlsv1.3",
                "--cacert",
                self.authority.file,
                "-o",
                "/dev/null",
                "-w",
                _SIZE,
                url,
            ]
        ).said
        if said != str(size):
            raise RuntimeError(f"{url} gave {said} bytes, and {size} were wanted")

    def blob(self, data: Path, digest: str) -> Path:
        """The file of a blob in a data folder."""
        return next(data.glob(f"*/blobs/sha256/*/{digest}"))

    @contextmanager
    def fresh_mirror(
        self,
        upstream: int | None = None,
        *,
        cores: frozenset[int] | None = None,
        settings: Mapping[str, str] | None = None,
        base: str = _LOOPBACK,
    ) -> Iterator[Running]:
        """A mirror with an empty data folder that finds bytes on the port *upstream*; on every core."""
        redirect(self.origin, upstream or self.swift.address[1], base)
        data = self.folder / "fresh"
        try:
            with processes.on_cores(cores or self.cores):
                running = Running(data, self.origin, settings=settings or {})
                running.start()
            with running_until_end(running):
                yield running
        finally:
            shutil.rmtree(data, ignore_errors=True)

    @cached_property
    def authority(self) -> Authority:
        """Who signs the certificates."""
        programs.find("openssl", "openssl")
        return Authority(self.folder / "authority")

    @contextmanager
    def fresh_olah(self, upstream: int | None = None) -> Iterator[processes.Server]:
        """An olah with an empty folder, on every core; for *upstream* see `fresh_mirror`."""
        cdn = upstream or self.swift.address[1]
        redirect(self.origin, cdn)
        with (
            processes.on_cores(self.cores),
            olah_server(self.folder / "olah-fresh", self.hub, cdn) as server,
        ):
            yield server

    @cached_property
    def olah(self) -> processes.Server:
        """The olah that has the hot file, on `core`."""
        self.warm()
        redirect(self.origin, self.swift.address[1])
        folder = self.folder / "olah"
        with processes.on_cores({self.core}):
            server = self.keep(olah_server(folder, self.hub, self.swift.address[1]))
        self.loads.get(server.address[1], HOT, self.scale.hot)
        return server

    @cached_property
    def static(self) -> Path:
        """What nginx serves: ``hot`` is the mirror's own file, ``contents`` are upstream's."""
        folder = self.folder / "static"
        folder.mkdir()
        (folder / "hot").symlink_to(self.blob(self.mirror.data, self.hot.name))
        (folder / "contents").symlink_to(self.contents)
        return folder

    @cached_property
    def nginx(self) -> Nginx:
        """Nginx on `core`, with the files of `static`; raises `LackingError` where there is none."""
        program = programs.nginx(self.nginx_named)
        issued = self.authority.issue("DNS:localhost,IP:127.0.0.1")
        with processes.on_cores({self.core}):
            return self.keep(
                nginx_server(program, self.folder / "nginx", self.static, issued, _AS_CDN)
            )


_SIZE: Final = "%{size_download}"
# The paths that the scripted hub redirects to end with a digest.
_AS_CDN: Final = "    location /repos/ { rewrite ^.*/([0-9a-f]+)$ /contents/$1 last; }"


@contextmanager
def running_until_end(mirror: Running) -> Iterator[None]:
    """Stop a started mirror at the end of the block."""
    try:
        yield
    finally:
        if mirror.process.poll() is None:
            mirror.stop()


def redirect(origin: Origin, port: int, base: str = _LOOPBACK) -> None:
    """Let the hub send whoever wants bytes to *port*."""
    origin._state().cdn_url = f"{base}:{port}"
