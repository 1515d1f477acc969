"""A whole repo by the Hub's own library: 100 files of 1 MiB, out of a mirror that has them."""

import itertools
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import processes, programs
from tests.bench.figures import Notebook
from tests.bench.loads import fetch, warm
from tests.bench.nginx import Nginx, nginx_server
from tests.bench.pairs import pair
from tests.bench.scene import MIB, Scene

_REPO: Final = "bench/hundred"
_FILES: Final = 100


class Snapshot:
    """The row of a snapshot; keeps its nginx from round to round."""

    def __init__(self) -> None:
        self._nginx: Nginx | None = None
        self._numbers = itertools.count()

    def _prepare(self, scene: Scene) -> Nginx:
        """Let the mirror have the repo, and nginx the same files and answers under the same paths."""
        if self._nginx is not None:
            return self._nginx
        scene.warm()
        files = {
            f"part-{number:03}.bin": scene.content(f"hundred {number}", MIB)
            for number in range(_FILES)
        }
        repo = scene.origin.add_repo("models", _REPO, files, lfs=("*.bin",), xet=False)
        resolve, api = f"{_REPO}/resolve/{repo.commit}", f"api/models/{_REPO}"
        warm(scene.port, [f"/{resolve}/{name}" for name in files])
        scene.mirror.settle()
        root = scene.folder / "hundred"
        (root / resolve).mkdir(parents=True)
        for name, file in files.items():
            (root / resolve / name).symlink_to(scene.blob(scene.mirror.data, file.name))
        for path, query in (("revision/main", ""), (f"tree/{repo.commit}", "?recursive=true")):
            (root / api / path).parent.mkdir(parents=True)
            (root / api / path).write_bytes(fetch(scene.port, f"/{api}/{path}{query}"))
        with processes.on_cores({scene.core}):
            self._nginx = scene.keep(
                nginx_server(
                    programs.nginx(scene.nginx_named),
                    scene.folder / "nginx-hundred",
                    root,
                    scene.authority.issue(),
                    f"    location /api/ {{ default_type application/json; }}\n"
                    f"    location /bench/ {{ add_header X-Repo-Commit {repo.commit}; }}",
                )
            )
        return self._nginx

    def download(self, scene: Scene, book: Notebook, turn: int) -> None:
        """The server's CPU, with the client on its core, beside nginx for the same client."""
        nginx = self._prepare(scene)
        mine, its = pair(
            turn,
            partial(self._served, scene, scene.mirror.process.pid, scene.port),
            partial(self._served, scene, nginx.pid, nginx.address[1]),
        )
        book.note("snapshot-cpu", mine, its)

    def _served(self, scene: Scene, pid: int, port: int) -> float:
        """The server's CPU for one snapshot, in ms."""
        folder = scene.folder / f"client-{next(self._numbers)}"
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        environment = {
            **plain,
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HOME": str(folder),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        arguments: list[str | Path] = [
            sys.executable,
            "-m",
            "tests.bench.client",
            _REPO,
            folder / "hub",
        ]
        try:
            with processes.on_cores({scene.core}):
                before = processes.cpu_of(pid)
                told = processes.run(arguments, environment=environment)
                used = processes.cpu_of(pid) - before
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if told.said.split()[-1:] != [str(_FILES)]:
            raise RuntimeError(f"the client has not all files: {told.said[-500:]}")
        return used * 1e3
