"""What the command line does with many bytes or many files, beside openssl, GNU tar and the clock.

Every command is run on something next to nothing, too, and what that takes is taken off: the start of the
program is a row of its own.
"""

import itertools
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import processes, programs
from tests.bench.figures import Notebook
from tests.bench.loads import warm
from tests.bench.pairs import pair
from tests.bench.processes import Ended
from tests.bench.scene import GIB, Scene, redirect
from tests.mirror.running import Running

_BLOBS: Final = 4
_FILES: Final = 1000
# The repos in them, and the data folders with nothing else: one file of a few bytes, many bytes, many files.
_LITTLE, _BYTES, _MANY = "bench/little", "bench/bytes", "bench/thousand"


class Tools:
    """The rows of commands; keeps data folders at rest from round to round."""

    def __init__(self) -> None:
        self._folder = Path()
        self._files: list[Path] = []
        self._numbers = itertools.count()

    def _prepare(self, scene: Scene) -> None:
        """Let three mirrors fetch one repo each, and lay two client caches out."""
        if self._files:
            return
        self._folder = scene.folder / "tools"
        self._folder.mkdir()
        share = scene.scale.tools // _BLOBS
        self._files = [scene.content(f"tools {number}", share) for number in range(_BLOBS)]
        little = scene.content("little", 100)
        # Of files outside LFS the hub tells no sha256, and an export has them come as a client would.
        many = [scene.content(f"one of many {number}", 100) for number in range(_FILES)]
        repos = {_LITTLE: [little], _BYTES: self._files, _MANY: many}
        redirect(scene.origin, scene.swift.address[1])
        for name, files in repos.items():
            named = {f"{number:04}.bin": file for number, file in enumerate(files)}
            scene.origin.add_repo("models", name, named, lfs=("*.bin",), xet=False)
            with Running(self._data(name), scene.origin) as mirror:
                warm(mirror.address[1], [f"/{name}/resolve/main/{file}" for file in named])
                mirror.settle()
        for name, file in ((_LITTLE, little), (_BYTES, scene.hot)):
            self._lay_out(name, file)

    def _data(self, name: str) -> Path:
        return self._folder / name.rpartition("/")[2]

    def _cache(self, name: str) -> Path:
        return self._folder / f"cache-{name.rpartition('/')[2]}"

    def _lay_out(self, name: str, file: Path) -> None:
        """Write a client's cache of a repo with one file, as huggingface_hub keeps it."""
        commit = "0123456789abcdef" * 2 + "01234567"
        repo = self._cache(name) / "hub" / f"models--{name.replace('/', '--')}"
        for folder in ("blobs", "refs", f"snapshots/{commit}"):
            (repo / folder).mkdir(parents=True)
        os.link(file, repo / "blobs" / file.name)
        (repo / "refs" / "main").write_text(commit)
        (repo / "snapshots" / commit / "model.bin").symlink_to(f"../../blobs/{file.name}")

    def verify(self, scene: Scene, book: Notebook, turn: int) -> None:
        """Every stored byte read and hashed again: on one core beside openssl, and on two beside one."""
        self._prepare(scene)

        def mirror(cores: frozenset[int]) -> float:
            with processes.on_cores(cores):
                took = [
                    _command("verify", self._data(name), "--data").seconds
                    for name in (_BYTES, _LITTLE)
                ]
            return _rate(scene.scale.tools, took[0] - took[1])

        def openssl() -> float:
            with processes.on_cores({scene.core}):
                took = processes.run([_openssl(), "dgst", "-sha256", *self._files]).seconds
            return _rate(scene.scale.tools, took)

        one, its = pair(turn, partial(mirror, frozenset({scene.core})), openssl)
        book.note("verify-rate", one, its)
        if len(scene.cores) > 1:
            book.note("verify-cores", mirror(frozenset({scene.core, scene.other})), one)

    def adopt(self, scene: Scene, book: Notebook, turn: int) -> None:
        """A client's cache taken over by copies, beside openssl that hashes the same file."""
        self._prepare(scene)

        def mirror() -> float:
            took = []
            for name in (_BYTES, _LITTLE):
                data = self._fresh()
                words = ("--data", data, "--link", "none", "--no-ask", "--grant", "*")
                done = _command("adopt", self._cache(name), *words)
                if not list(data.glob("*/blobs/sha256/*/*")):
                    raise RuntimeError(f"nothing was adopted: {done.said[-500:]}")
                took.append(done.seconds)
                shutil.rmtree(data)
            return (took[0] - took[1]) / (scene.scale.hot / GIB)

        def openssl() -> float:
            took = processes.run([_openssl(), "dgst", "-sha256", scene.hot]).seconds
            return took / (scene.scale.hot / GIB)

        book.note("adopt-time", *pair(turn, mirror, openssl))

    def links(self, scene: Scene, book: Notebook, turn: int) -> None:
        """A client's own cache of 1000 files, laid out by hard links."""
        del turn
        self._prepare(scene)
        took = []
        for name in (_MANY, _LITTLE):
            where = self._fresh()
            words = ("--format", "cache", "--links", "hard", "--data", self._data(name))
            done = _command("export", where, name, *words)
            linked = sum(path.is_file() and path.stat().st_nlink > 1 for path in where.rglob("*"))
            if linked < (_FILES if name == _MANY else 1):
                raise RuntimeError(f"{linked} files were linked: {done.said[-500:]}")
            took.append(done.seconds)
            shutil.rmtree(where)
        book.note("links-time", (took[0] - took[1]) / (_FILES - 1) * 1e3)

    def export(self, scene: Scene, book: Notebook, turn: int) -> None:
        """A bundle into a pipe, beside GNU tar with the same files into a pipe; cat reads both."""
        self._prepare(scene)

        def mirror() -> float:
            used = [
                _command("export", "-", "--all", "--data", self._data(name), into="cat").cpu
                for name in (_BYTES, _LITTLE)
            ]
            return (used[0] - used[1]) / (scene.scale.tools / GIB)

        def tar() -> float:
            program = programs.find("tar", "tar")
            names = [file.name for file in self._files]
            used = processes.run(
                [program, "-cf", "-", "-C", scene.contents, *names], into="cat"
            ).cpu
            return used / (scene.scale.tools / GIB)

        book.note("export-cpu", *pair(turn, mirror, tar))

    def _fresh(self) -> Path:
        return self._folder / f"fresh-{next(self._numbers)}"


def _rate(size: int, seconds: float) -> float:
    """GiB per second; raises `RuntimeError` when so little time is left that it says nothing."""
    if seconds <= 0:
        raise RuntimeError("the command took no longer with all the bytes than with none")
    return size / GIB / seconds


def _openssl() -> str:
    return programs.find("openssl", "openssl")


def _command(verb: str, *words: str | Path, into: str | None = None) -> Ended:
    """Run a command of the mirror offline."""
    arguments: Sequence[str | Path] = [sys.executable, "-m", "mirror", verb, *words]
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MODELMIRROR_", "HF_"))
    }
    environment = {**plain, "MODELMIRROR_OFFLINE": "true", "MODELMIRROR_MIN_FREE": "1MiB"}
    return processes.run(arguments, environment=environment, into=into)
