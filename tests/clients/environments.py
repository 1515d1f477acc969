"""The environments that real clients run in, one per client group.

The libraries under test contradict one another (four releases of huggingface_hub, two of them on
different HTTP stacks) and none of them may meet the mirror's own dependencies, so each group gets a
virtualenv of its own. It is made from a lock file with every hash checked, once per content of that
lock: its folder bears the digest, so that a changed lock is a new environment and an unchanged one
is never looked at again.

A lock is made from the `.in` file beside it by `pip-compile --generate-hashes --allow-unsafe
--strip-extras --no-annotate --no-header --no-emit-options`, and with `--no-emit-index-url
--no-emit-find-links` it names no host: where packages come from is the user's own setting. What a group
does without although a package requires it is named as `--unsafe-package`, instead of `--allow-unsafe`:
`torchvision` and `triton` for `torch` (neither is loaded by what runs here), `tensorflow` for `tf` (it has
`tensorflow-cpu`), `pip` for `spacy` and `build`, `numpy` for `faces`, which is used beside another group.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "clients"
LOCKS = HERE / "locks"
#: Groups of JavaScript clients, with the folder of their package and its lock.
NODE_GROUPS = {"node": HERE / "node", "http-cache": HERE / "http_cache"}

#: Groups of Python clients, by the name of their lock file.
PYTHON_GROUPS = (
    "hub24",
    "hub133",
    "hub036",
    "hub025",
    "ml",
    "kagglehub03",
    "torch",
    "tf",
    "spacy",
    "faces",
)

#: Those of them without a client of a hub: packages that what was downloaded is loaded by.
WITHOUT_CLIENT = ("faces",)

#: Locks that a group installs besides its own. Pix2Text requires torchvision and a gigabyte of OCR that
#: does not load beside the CPU build of torch; its downloader, which runs here, needs huggingface_hub alone.
_MORE_LOCKS = {"torch": ("pix2text",)}

#: Groups with packages that come as source. What builds them is locked too and installed first, for pip would
#: fetch it with nothing checked.
_BUILT_HERE = ("torch",)
_BUILDERS = "build"

#: Files that a group does without. torchaudio's package holds a CUDA build of its native library, which
#: does not load beside the CPU build of torch; without it torchaudio runs in Python alone, by its design.
_REMOVED = {"torch": "lib/python*/site-packages/torchaudio/lib/*.so"}

#: Groups with the CPU build of torch.
_TORCH_GROUPS = ("ml", "torch")

_BUILD_SECONDS = 1200
_DIGEST_LENGTH = 12
_READY = ".ready"
_TORCH_PYTHON = (3, 11)


class EnvironmentUnavailableError(Exception):
    """A client cannot run on this machine; the text says what to install."""


class BuildError(Exception):
    """An environment could have been made but was not; the text holds the installer's words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Environment:
    """One ready environment: the folder, and the folder of its commands."""

    group: str
    path: Path

    @property
    def commands(self) -> Path:
        """Folder to put first on PATH, so that `hf` and `python` are this group's."""
        return self.path / ("node_modules/.bin" if self.group in NODE_GROUPS else "bin")

    @property
    def python(self) -> Path:
        """The interpreter of a Python group."""
        return self.commands / "python"


def environment(group: str) -> Environment:
    """Give the environment of a group, making it first if its lock has none yet.

    Args:
        group: One of `PYTHON_GROUPS` or `NODE_GROUPS`.

    Raises:
        EnvironmentUnavailableError: A tool or an interpreter is missing here.
        BuildError: The installer failed.
    """
    path = CACHE / f"{group}-{_digest(group)}"
    if not (path / _READY).exists():
        with _only_one(group):
            if not (path / _READY).exists():
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir(parents=True)
                if group in NODE_GROUPS:
                    _build_node(NODE_GROUPS[group], path)
                else:
                    _build_python(group, path)
                (path / _READY).touch()
                _forget_older(group, path)
    return Environment(group, path)


def command(name: str, package: str) -> str:
    """Give the path of an operating system command.

    Args:
        name: The command, as typed.
        package: The Debian package that brings it.

    Raises:
        EnvironmentUnavailableError: It is not on PATH.
    """
    found = shutil.which(name)
    if found is None:
        raise EnvironmentUnavailableError(f"{name} is not installed: apt-get install {package}")
    return found


def _digest(group: str) -> str:
    """Name what an environment is made of: the lock, and for Python the interpreter's release."""
    if group in NODE_GROUPS:
        folder = NODE_GROUPS[group]
        content = (folder / "package.json").read_bytes()
        content += (folder / "package-lock.json").read_bytes()
    else:
        release = f"{sys.implementation.cache_tag} {sys.platform}\n"
        content = release.encode() + b"".join(lock.read_bytes() for lock in _locks(group))
    return hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]


def _locks(group: str) -> list[Path]:
    """List the locks that a Python group is made from."""
    names = (*((_BUILDERS,) if group in _BUILT_HERE else ()), group, *_MORE_LOCKS.get(group, ()))
    return [LOCKS / f"{name}.lock" for name in names]


def _interpreter(group: str) -> str:
    """Give the Python to make a group's environment with: this one, where the lock allows it.

    The CPU build of torch is locked as one file, for one release of Python on one platform.

    Raises:
        EnvironmentUnavailableError: The release that the lock is for is not installed.
    """
    if group not in _TORCH_GROUPS or sys.version_info[:2] == _TORCH_PYTHON:
        return sys.executable
    return command("python3.{1}".format(*_TORCH_PYTHON), "python3.{1}".format(*_TORCH_PYTHON))


def _build_python(group: str, path: Path) -> None:
    """Make a virtualenv and install a group's locks; they are complete, so nothing is resolved."""
    _run([_interpreter(group), "-m", "venv", str(path)], path)
    pip = [str(path / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    install = [*pip, "install", "--quiet", "--no-deps", "--require-hashes"]
    locks = _locks(group)
    if group in _BUILT_HERE:
        _run([*install, "-r", str(locks.pop(0))], path)
        install.append("--no-build-isolation")
    _run([*install, *(f"--requirement={lock}" for lock in locks)], path)
    for file in path.glob(_REMOVED[group]) if group in _REMOVED else ():
        file.unlink()


def _build_node(source: Path, path: Path) -> None:
    """Install the package lock of a JavaScript client; no package may run a script."""
    npm = command("npm", "npm")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(source / name, path / name)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _run([npm, "ci", *quiet], path)


def _run(arguments: list[str], folder: Path) -> None:
    """Run one step of a build; its output is shown only when it fails."""
    done = subprocess.run(
        arguments,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        hint = ""
        if "torch" in done.stderr:
            hint = (
                "\nThe lock names the CPU build of torch, which the package index does not carry: "
                "set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu, or PIP_FIND_LINKS "
                "to a folder that holds the file."
            )
        raise BuildError(
            f"{' '.join(arguments)} failed with {done.returncode}:\n{done.stderr[-4000:]}{hint}",
        )


@contextlib.contextmanager
def _only_one(group: str) -> Iterator[None]:
    """Let one process at a time make a group's environment; the others wait and find it made."""
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE.parent / ".gitignore").write_text("*\n")
    with (CACHE / f"{group}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_older(group: str, current: Path) -> None:
    """Delete environments of former locks of the same group: one of them is a gigabyte."""
    for other in CACHE.glob(f"{group}-*"):
        if other != current and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)


def main() -> None:
    """Make the environments named on the command line, or all, and print where they are."""
    for group in sys.argv[1:] or (*PYTHON_GROUPS, *NODE_GROUPS):
        sys.stdout.write(f"{group}\t{environment(group).path}{os.linesep}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
