"""What a large index costs: a dataset of 100 000 files beside a small one, a million entries beside none."""

import time
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.bench.figures import Notebook
from tests.bench.loads import fetch, warm
from tests.bench.million import LARGE, write_entries
from tests.bench.pairs import pair
from tests.bench.scene import QUICK, Scene
from tests.bench.small import cpu
from tests.mirror.running import Running

_PAGE: Final = 1000
_FILE: Final = "/datasets/bench/{}/resolve/main/data/part-000/file-000005.bin"
_LISTING: Final = "/api/datasets/bench/{}/tree/main?recursive=true"
# Entries of the large repo in a first look.
_FIRST_LOOK: Final = 20_000
# Repos of 100 000 and of 100 entries that make a million, and for a first look.
_MILLION: Final = (5, 5000)
_TENTH: Final = (1, 100)
_SECONDS: Final = 240.0


class Large:
    """A repo of 100 000 files (a first look: 20 000) in the mirror, beside one of 10 and one of 1000."""

    def __init__(self) -> None:
        self._page = ""

    def _prepare(self, scene: Scene) -> None:
        if self._page:
            return
        scene.warm()
        size = _FIRST_LOOK if scene.scale is QUICK else LARGE
        files = {
            f"data/part-{number // _PAGE:03}/file-{number:06}.bin": b"%d" % number
            for number in range(size)
        }
        # The file that is asked for is stored; of the others, the mirror knows names alone.
        asked = "data/part-000/file-000005.bin"
        for name, count in (("ten", 10), ("page", _PAGE), ("large", size)):
            chosen = {path: files[path] for path in list(files)[:count]}
            digest = scene.content(f"in {name}", 100)
            scene.origin.add_repo(
                "datasets", f"bench/{name}", {**chosen, asked: digest}, lfs=("*.bin",), xet=False
            )
            warm(scene.port, [_FILE.format(name)])
            fetch(scene.port, _LISTING.format(name))
        self._page = self._middle(scene, size)

    def _middle(self, scene: Scene, size: int) -> str:
        """The path of a page in the middle of the large listing, once all of that is known."""
        deadline = time.monotonic() + _SECONDS
        while len(scene.origin.seen("hub", "GET", "/datasets/bench/large/tree/")) < size / _PAGE:
            if time.monotonic() > deadline:
                raise RuntimeError("the mirror did not read the whole listing")
            time.sleep(0.5)
        path = _LISTING.format("large")
        for _ in range(size // _PAGE // 2):
            path = _next(scene.port, path)
        before = len(scene.origin.log)
        fetch(scene.port, path)
        if len(scene.origin.seen("hub", "GET", "/tree/")) > before:
            raise RuntimeError("a page of the large listing came from upstream")
        return path

    def ask(self, scene: Scene, book: Notebook, turn: int) -> None:
        """HEAD of a stored file, and a page from the middle, as in a small repo."""
        self._prepare(scene)
        pid, port = scene.mirror.process.pid, scene.port
        for key, method, large, small in (
            ("scale-head", "HEAD", _FILE.format("large"), _FILE.format("ten")),
            ("scale-page", "GET", self._page, _LISTING.format("page")),
        ):
            book.note(
                key,
                *pair(
                    turn,
                    partial(cpu, scene, pid, port, large, method),
                    partial(cpu, scene, pid, port, small, method),
                ),
            )


def _next(port: int, path: str) -> str:
    """The path of the page after the one at *path*."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        link = urlsplit((answer.getheader("Link") or "").partition("<")[2].partition(">")[0])
    finally:
        connection.close()
    if not link.path:
        raise RuntimeError(f"{path} was answered {answer.status} and has no next page")
    return f"{link.path}?{link.query}"


def ready(scene: Scene, book: Notebook, turn: int) -> None:
    """From ``serve`` to its first line with a million entries, and with none."""
    full, empty = scene.folder / "million", scene.folder / "none"
    if turn == 0:
        for data in (full, empty):
            _started(scene, data)
        large, small = _TENTH if scene.scale is QUICK else _MILLION
        index = next(full.glob("*/index.sqlite3"))
        for old in index.parent.glob("index.sqlite3*"):
            old.unlink()
        write_entries(index, large_repos=large, small_repos=small, stored=False)
        _started(scene, full)
    mine, its = pair(turn, partial(_started, scene, full), partial(_started, scene, empty))
    book.note("scale-ready", mine, its)


def _started(scene: Scene, data: Path) -> float:
    """Seconds from the command to the first line."""
    begun = time.perf_counter()
    with Running(data, scene.origin):
        return time.perf_counter() - begun
