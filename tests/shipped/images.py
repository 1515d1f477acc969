"""Images built and run here, where there is no container engine: buildah builds them, a chroot runs them.

A container is run as an engine would run the image's process: its user, its environment, no capability and
no way to new ones, its root read-only unless it is said otherwise, volumes and temporary folders mounted.
What is left out: namespaces of processes and users, and a network of its own except "none".
"""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from tests.house.checkout import ROOT

BASE: Final = "localhost/base"
_CACHE: Final = ROOT / ".cache" / "shipped"
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_BUILD_SECONDS: Final = 600
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"

# $1 is the root, $2 the user's number, $3 the group's, $4 the working folder; the mounts come before.
_CONFINE: Final = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
touch "$1/etc/hosts"
mount --bind /etc/hosts "$1/etc/hosts"
{mounts}
mount -o remount,bind,{access} "$1"
cd "$1"
user=$2 group=$3 folder=$4
set -- "$1" "${{@:5}}"
exec chroot "$1" /usr/bin/setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs \
    --bounding-set=-all --inh-caps=-all env --chdir="$folder" "${{@:2}}"
"""


class UnavailableError(Exception):
    """Images cannot be built on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its name, and its configuration as an engine reads it."""

    name: str
    config: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(pair.split("=", 1) for pair in self.config.get("Env") or ())


@dataclass
class Builder:
    """buildah with a storage of its own in *folder*."""

    folder: Path
    _mounted: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write where images are kept, and how: as layers where the kernel has them, else as copies."""
        driver = "overlay" if "\toverlay\n" in Path("/proc/filesystems").read_text() else "vfs"
        self._conf = self.folder / "storage.conf"
        self._conf.write_text(
            f'[storage]\ndriver = "{driver}"\n'
            f'runroot = "{self.folder}/run"\ngraphroot = "{self.folder}/graph"\n'
        )

    def run(self, *arguments: str | Path) -> str:
        """Run buildah; what it writes."""
        done = subprocess.run(
            ["buildah", *map(str, arguments)],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("PIP_")},
                "CONTAINERS_STORAGE_CONF": str(self._conf),
                "BUILDAH_ISOLATION": "chroot",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
        return done.stdout.strip()

    def build(self, name: str, file: Path, context: Path, *flags: str) -> Image:
        """Build an image from a Dockerfile; none is fetched from anywhere."""
        self.run(
            "build", "--quiet", "--format", "docker", "--pull-never", "--network", "host",
            "--layers=false", "--file", file, "--tag", name, *flags, context,
        )  # fmt: skip
        return self.image(name)

    def image(self, name: str) -> Image:
        """Look at an image."""
        docker = json.loads(self.run("inspect", "--type", "image", name))["Docker"]
        return Image(name, docker["config"], docker["history"])

    def root(self, image: Image) -> Path:
        """Where the files of *image* are; they are never written."""
        if image.name not in self._mounted:
            container = self.run("from", "--pull-never", image.name)
            self._mounted[image.name] = Path(self.run("mount", container))
        return self._mounted[image.name]

    def close(self) -> None:
        """Unmount everything and remove it; nothing is removed below what could not be unmounted."""
        self.run("rm", "--all")
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in sorted(mounts, reverse=True):  # the inner ones first
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", place], check=True)
        subprocess.run(["rm", "-rf", "--one-file-system", str(self.folder)], check=True)

    def base(self) -> None:
        """Make an image of Debian with Python, from the packages that this machine takes."""
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, _base_files(), "/")
        self.run("commit", "--quiet", "--format", "docker", container, BASE)
        self.run("rm", container)


@contextmanager
def builder() -> Iterator[Builder]:
    """A builder with its base, until the end of the block.

    Raises `UnavailableError` where it lacks a program or a right.
    """
    for program, package in (("buildah", "buildah"), ("mmdebstrap", "mmdebstrap")):
        if not shutil.which(program):
            raise UnavailableError(f"{program} is not installed: apt-get install {package}")
    if os.geteuid() != 0:
        raise UnavailableError("building an image in a chroot needs root")
    _CACHE.mkdir(parents=True, exist_ok=True)
    (_CACHE.parent / ".gitignore").write_text("*\n")
    folder = Path(tempfile.mkdtemp(dir=_CACHE))
    folder.chmod(0o755)
    made = Builder(folder)
    try:
        made.base()
        yield made
    finally:
        made.close()


def _base_files() -> Path:
    """A tar of a small Debian with Python; made once, for it takes a minute.

    Raises `UnavailableError` where this is no Debian.
    """
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    suite = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" or not suite:
        raise UnavailableError("the base image is made of Debian's packages, and this is no Debian")
    made = _CACHE / f"base-{suite}.tar"
    if not made.exists():
        half = made.with_suffix(".part.tar")
        sources = Path("/etc/apt/sources.list.d/debian.sources")
        done = subprocess.run(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--include={_PACKAGES}",
                "--quiet",
                suite,
                str(half),
            ]
            + ([str(sources)] if sources.exists() else []),
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        half.replace(made)
    return made


@dataclass(frozen=True)
class Container:
    """How a process of *image* is run; *root* is where its files are.

    *volumes* are paths inside with folders outside and "ro" or "rw"; *network* is whether there is one.
    """

    image: Image
    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[tuple[Path, str, str]] = ()
    temporary: Sequence[str] = ("/tmp",)  # noqa: S108 -- its own
    entrypoint: Sequence[str] | None = None
    command: Sequence[str] | None = None
    read_only: bool = True
    network: bool = True
    user: str = ""

    def arguments(self, instead: Sequence[str] | None = None) -> list[str]:
        """The command that runs its process, or *instead* in its place, as `docker exec` does."""
        config = self.image.config
        program = (
            list(config.get("Entrypoint") or ()) if self.entrypoint is None else self.entrypoint
        )
        words = config.get("Cmd") or () if self.command is None and self.entrypoint is None else ()
        asked = [*program, *(words if self.command is None else self.command)]
        user, _, group = (self.user or config.get("User") or "0:0").partition(":")
        variables = {"HOME": self._home(user), **self.image.environment, **self.environment}
        flags = ["--mount", *(() if self.network else ("--net",))]
        script = _CONFINE.format(mounts=self._mounts(), access="ro" if self.read_only else "rw")
        folder = config.get("WorkingDir") or "/"
        return [
            "unshare", *flags, "bash", "-c", script, "confine", str(self.root), user, group or user, folder,
            "--ignore-environment", *(f"{k}={v}" for k, v in variables.items()), *(instead or asked),
        ]  # fmt: skip

    def start(self, log: IO[bytes], instead: Sequence[str] | None = None) -> subprocess.Popen[str]:
        """Start its process; *log* is its standard error."""
        return subprocess.Popen(
            self.arguments(instead),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={"PATH": PATH},
        )

    def run(self, instead: Sequence[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run its process to its end."""
        return subprocess.run(
            self.arguments(instead),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={"PATH": PATH},
        )

    def _mounts(self) -> str:
        lines = [f'mount -t tmpfs -o mode=1777 tmpfs "$1{path}"' for path in self.temporary]
        for outside, inside, access in self.volumes:
            place = f'"$1"{shlex.quote(inside)}'
            made = f'mkdir -p "$(dirname {place})" && touch {place}'
            lines += [
                made if outside.is_file() else f"mkdir -p {place}",
                f"mount --bind {shlex.quote(str(outside))} {place}",
                f"mount -o remount,bind,{access} {place}",
            ]
        return "\n".join(lines)

    def _home(self, user: str) -> str:
        for line in (self.root / "etc" / "passwd").read_text().splitlines():
            fields = line.split(":")
            if user in {fields[0], fields[2]}:
                return fields[5]
        return "/"
