"""The programs that a measurement needs beside the mirror, and how one comes by them.

What is missing is no failure: the rows that need it say so. nginx is unpacked from Debian's package into
the checkout's cache when it is not installed; nothing is installed and no service starts.
"""

import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.house.checkout import ROOT

CACHE: Final = ROOT / ".cache" / "bench"
_SOURCE: Final = Path(__file__).with_name("load.c")
_PLACES: Final = "/usr/sbin:/usr/local/sbin"
_APT_SECONDS: Final = 60


class LackingError(Exception):
    """Something that a row needs is not here; the text says what, and what brings it."""


def find(name: str, package: str) -> str:
    """The path of a program; raises `LackingError` naming the Debian *package* that brings it."""
    found = shutil.which(name) or shutil.which(name, path=_PLACES)
    if found is None:
        raise LackingError(f"{name} is not installed (apt-get install {package})")
    return found


def nginx(named: str | None) -> str:
    """The nginx to measure against: the one *named*, else the installed one, else Debian's, unpacked.

    Raises `LackingError` where there is none and none can be fetched.
    """
    if named is not None:
        return find(named, "nginx")
    try:
        return find("nginx", "nginx")
    except LackingError:
        unpacked = CACHE / "nginx"
        program = unpacked / "usr" / "sbin" / "nginx"
        if not program.exists():
            _unpack("nginx", unpacked)
        if not program.exists() or not _runs(program):
            raise
        return str(program)


def _unpack(package: str, folder: Path) -> None:
    """Fetch a Debian package and lay its files out in *folder*; leaves nothing where that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    (CACHE.parent / ".gitignore").write_text("*\n")
    try:
        subprocess.run(
            ["apt-get", "download", package],
            cwd=folder, check=True, capture_output=True, timeout=_APT_SECONDS,
        )  # fmt: skip
        for file in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", file, folder], check=True, capture_output=True)
            file.unlink()
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(folder, ignore_errors=True)


def _runs(program: Path) -> bool:
    """Whether a program finds its libraries here."""
    done = subprocess.run([program, "-v"], capture_output=True, check=False)
    return done.returncode == 0


def compiled(folder: Path) -> Path | None:
    """The load in C, compiled into *folder*; `None` where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    program = folder / "load"
    done = subprocess.run(
        [compiler, "-O2", "-o", program, _SOURCE], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the load does not compile: {done.stderr.strip()}")
    return program


def version(said: Callable[[], str], arguments: list[str]) -> str:
    """What a program says of its version, on its last line; the reason where there is none."""
    try:
        done = subprocess.run(
            [said(), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except LackingError as error:
        return str(error)
    return (done.stdout + done.stderr).strip().splitlines()[-1].removeprefix("nginx version: ")


def processor() -> str:
    """The name of this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
