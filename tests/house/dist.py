"""`make dist`: everything that a machine without a network needs, as one file.

A plain tar, for wheels are compressed already: the package, the packages of requirements.lock for several
releases of Python, pip, an install script, settings, units, container files and documents. Made from the
same commit it is the same file, byte for byte: names are sorted, and owners, modes and times say nothing.

Usage: ``python -m tests.house.dist [--python 3.12]… [--machine aarch64] [--folder dist]``
"""

import argparse
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from mirror import __version__
from tests.house import checkout
from tests.house.checkout import ROOT

PYTHONS: Final = ("3.11", "3.12", "3.13")
# Releases of the C library that wheels may be made for: 2.28 is Debian 10, RHEL 8 and Ubuntu 20.04.
_GLIBC: Final = range(28, 16, -1)
_FOLDERS: Final = ("config", "docker", "docs", "mirror")
_PAGES: Final = ("CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md")
# What docker/Dockerfile builds from, beside `mirror` and pages: the image can be made of the file too.
_SOURCE: Final = (".dockerignore", "pyproject.toml", "requirements.lock")
_HOOK: Final = ("modelmirror_hook.py", "sitecustomize.py")
_CACHE: Final = ROOT / ".cache" / "dist"


def main() -> None:
    """Make the file, and print its path and its sha256."""
    parser = argparse.ArgumentParser(prog="make dist", description="Everything in one file.")
    parser.add_argument("--python", action="append", metavar="3.12", help="a release of Python")
    parser.add_argument("--machine", default=platform.machine(), help="x86_64 or aarch64")
    parser.add_argument("--folder", type=Path, default=ROOT / "dist", help="where to write it")
    asked = parser.parse_args()
    made = build(asked.folder, tuple(asked.python or PYTHONS), asked.machine)
    sys.stdout.write(f"{hashlib.sha256(made.read_bytes()).hexdigest()}  {made}\n")


def build(folder: Path, pythons: Sequence[str] = PYTHONS, machine: str = "x86_64") -> Path:
    """Write the file into *folder*; return its path.

    Args:
        folder: where it goes; made if need be.
        pythons: releases of Python like ``3.12``.
        machine: as ``uname -m`` says it; the system is Linux with the GNU C library.

    Raises:
        SystemExit: a step of it failed, and has said why.
    """
    epoch = _epoch()
    name = f"modelmirror-{__version__}-linux-{machine}"
    wheels = {"pip": _fetch(ROOT / "tests" / "house" / "dist.lock", pythons[0], machine)}
    for python in pythons:
        wheels[python] = _fetch(ROOT / "requirements.lock", python, machine)
    members = {
        f"wheels/{wheel.name}": wheel.read_bytes()
        for group in wheels.values()
        for wheel in sorted(group.glob("*.whl"))
    }
    own, content = _package(epoch)
    members[f"wheels/{own}"] = content
    members |= _documents()
    members["VERSION"] = f"{__version__}\n".encode()
    members["PYTHONS"] = f"{' '.join(pythons)}\n".encode()
    members["requirements.txt"] = _requirements(content)
    members["SHA256SUMS"] = "".join(
        f"{hashlib.sha256(members[path]).hexdigest()}  {path}\n" for path in sorted(members)
    ).encode()
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{name}.tar"
    half = made.with_suffix(".part")
    _write(half, name, members, epoch)
    half.replace(made)
    return made


def _epoch() -> int:
    """The one time of everything inside: that of the commit, unless SOURCE_DATE_EPOCH says another."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if not said:
        asked = ["git", "log", "-1", "--format=%ct"]
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
        said = done.stdout.strip()
    if not said.isdigit():
        raise SystemExit("This is no git checkout: say SOURCE_DATE_EPOCH=…, seconds since 1970.")
    return int(said)


def _fetch(lock: Path, python: str, machine: str) -> Path:
    """The folder with the wheels of *lock* for one Python on one machine; fetched once for each lock."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    platforms.append(f"manylinux2014_{machine}")
    abis = [f"cp{python.replace('.', '')}", "abi3", "none"]
    words = [python, *platforms, *abis]
    key = hashlib.sha256(lock.read_bytes() + " ".join(words).encode()).hexdigest()[:12]
    folder = _CACHE / f"{lock.stem}-{python}-{machine}-{key}"
    if not folder.is_dir():
        _CACHE.mkdir(parents=True, exist_ok=True)
        (_CACHE.parent / ".gitignore").write_text("*\n")
        half = Path(tempfile.mkdtemp(dir=_CACHE))
        _run(
            [
                *_pip("download"), "--no-deps", "--require-hashes", "--only-binary", ":all:",
                "--python-version", python, "--implementation", "cp",
                *(word for tag in platforms for word in ("--platform", tag)),
                *(word for abi in abis for word in ("--abi", abi)),
                "--dest", str(half), "--requirement", str(lock),
            ]
        )  # fmt: skip
        half.chmod(0o755)
        half.rename(folder)
        for other in _CACHE.glob(f"{lock.stem}-{python}-{machine}-*"):
            if other != folder:
                shutil.rmtree(other)
    return folder


def _package(epoch: int) -> tuple[str, bytes]:
    """The name and the bytes of our own wheel, made from the files of the checkout alone."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        for path in checkout.files():
            if path.parts[0] in {"mirror", "config"} or path.name in {"pyproject.toml", *_PAGES}:
                (source / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, source / path)
        _run(
            [
                *_pip("wheel"), "--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir",
                "--wheel-dir", name, str(source),
            ],
            {"SOURCE_DATE_EPOCH": str(epoch)},
        )  # fmt: skip
        (made,) = Path(name).glob("*.whl")
        return made.name, made.read_bytes()


def _documents() -> dict[str, bytes]:
    """What is no wheel: pages, settings, units, container files, the source, the hook, the install script."""
    found = {}
    for path in checkout.files():
        if path.parts[0] in _FOLDERS or str(path) in {*_PAGES, *_SOURCE}:
            found[path.as_posix()] = (ROOT / path).read_bytes()
    for name in ("install.sh", "INSTALL.md"):
        found[name] = found.pop(f"config/dist/{name}")
    for name in _HOOK:
        found[f"hook/{name}"] = (ROOT / "mirror" / "hook" / name).read_bytes()
    return found


def _requirements(own: bytes) -> bytes:
    """The lock, with our own package and its hash in front."""
    first = f"modelmirror-server=={__version__} \\\n    --hash=sha256:{hashlib.sha256(own).hexdigest()}\n"
    return first.encode() + (ROOT / "requirements.lock").read_bytes()


def _write(path: Path, name: str, members: Mapping[str, bytes], epoch: int) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for one in _with_folders(members):
            entry = tarfile.TarInfo(f"{name}/{one}".rstrip("/"))
            entry.mtime = epoch
            if one in members:
                entry.size = len(members[one])
                entry.mode = 0o755 if members[one].startswith(b"#!") else 0o644
                tar.addfile(entry, io.BytesIO(members[one]))
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)


def _with_folders(members: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the names of *members*, sorted, each folder before what is in it."""
    yield ""
    seen = set()
    for path in sorted(members):
        for end in (match.start() for match in re.finditer("/", path)):
            if path[:end] not in seen:
                seen.add(path[:end])
                yield path[:end]
        yield path


def _pip(verb: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", verb, "-q"]


def _run(arguments: list[str], more: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        arguments, env={**os.environ, **(more or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
