"""olah, the other mirror of the Hub: run from an environment of its own, made from ``olah.lock``.

The lock is made as those of the client groups are (tests/clients/environments.py).
"""

import hashlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench.processes import Server, await_port
from tests.bench.programs import CACHE, LackingError

NAME: Final = "olah"
_LOCK: Final = Path(__file__).with_name("olah.lock")
_INSTALL: Final = (
    "--quiet",
    "--disable-pip-version-check",
    "--no-input",
    "--no-deps",
    "--require-hashes",
)
_SECONDS: Final = 600


def program() -> Path:
    """The command, in an environment that is made when the lock has none yet.

    Raises `LackingError` with the installer's words where it cannot be made.
    """
    content = sys.version.encode() + _LOCK.read_bytes()
    folder = CACHE / f"olah-{hashlib.sha256(content).hexdigest()[:12]}"
    command = folder / "bin" / "olah-cli"
    ready = folder / ".ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE.parent / ".gitignore").write_text("*\n")
        python = folder / "bin" / "python"
        for words in (
            (sys.executable, "-m", "venv", folder),
            (python, "-m", "pip", "install", *_INSTALL, "-r", _LOCK),
        ):
            done = subprocess.run(
                [str(word) for word in words],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
            if done.returncode:
                raise LackingError(f"olah cannot be installed: {done.stderr.strip()[-300:]}")
        ready.touch()
    return command


def version() -> str:
    """Its version by its lock, once its environment is there; raises `LackingError` where it cannot be."""
    program()
    lines = _LOCK.read_text(encoding="utf-8").splitlines()
    return next(line.split()[0].partition("==")[2] for line in lines if line.startswith("olah=="))


@contextmanager
def olah_server(folder: Path, hub: int, cdn: int) -> Iterator[Server]:
    """Run olah on *folder* in front of the hub and the CDN on these ports of the loopback."""
    command = program()
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    arguments = {
        "host": "127.0.0.1",
        "port": str(port),
        "hf-scheme": "http",
        "hf-netloc": f"127.0.0.1:{hub}",
        "hf-lfs-netloc": f"127.0.0.1:{cdn}",
        "mirror-netloc": f"127.0.0.1:{port}",
        "mirror-lfs-netloc": f"127.0.0.1:{port}",
        "repos-path": str(folder / "repos"),
        "log-path": str(folder / "logs"),
    }
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [command, *(f"--{name}={value}" for name, value in arguments.items())],
            stdout=said,
            stderr=said,
            text=True,
            cwd=folder,
        )
    server = Server(process, port, NAME)
    try:
        await_port(process, port)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
