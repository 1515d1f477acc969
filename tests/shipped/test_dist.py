"""The one file that `make dist` writes installs and runs where there is no network."""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror import __version__
from tests.house import dist
from tests.house.links import dead_links

# Brings the loopback interface up, serves, asks the mirror once, and stops it.
_SERVE = """
import fcntl, socket, struct, subprocess, sys, urllib.request
with socket.socket() as way:
    fcntl.ioctl(way, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
    try:
        way.connect(("192.0.2.1", 80))
    except OSError as error:
        print("unreachable:", error.strerror)
serving = subprocess.Popen(
    [sys.argv[1], "serve", "--port", "0", "--data", sys.argv[2]], stdout=subprocess.PIPE, text=True
)
url = serving.stdout.readline().split()[-1]
print(urllib.request.urlopen(url + "/-/ready").read().decode().strip())
print(subprocess.run([sys.argv[1], "healthcheck", "--url", url]).returncode)
serving.terminate()
print(serving.wait())
"""


@pytest.fixture
def nowhere() -> tuple[str, ...]:
    """A program that runs another where there is no route to anywhere."""
    before = ("unshare", "--map-root-user", "--net")
    if not shutil.which("unshare") or subprocess.run([*before, "true"], check=False).returncode:
        pytest.skip("no network namespace can be made here")
    return before


def _install(
    unpacked: Path, folder: Path, before: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the install script as a person would, with an environment that tells pip nothing."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), **more}
    return subprocess.run(
        [*before, "sh", str(unpacked / "install.sh"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=["this", "debian"])
def python(request: pytest.FixtureRequest) -> str:
    """This Python, and the system's own, which on Debian brings no pip."""
    if request.param == "this":
        return os.path.realpath(sys.executable)
    path = "/usr/bin/python3"
    ask = "import sys; print(sys.version_info[:2])"
    done = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
    if done.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip(f"{path} is not of the release that this Python is")
    return path


def test_the_file_installs_and_serves_without_a_network(
    unpacked: Path, tmp_path: Path, nowhere: tuple[str, ...], python: str
) -> None:
    """With no route to anywhere it installs, says its version, serves and is healthy."""
    folder = tmp_path / "program"
    done = _install(unpacked, folder, nowhere, PYTHON=python)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"modelmirror {__version__}\n"

    program = folder / "bin" / "modelmirror"
    ran = subprocess.run(
        [*nowhere, python, "-u", "-c", _SERVE, str(program), str(tmp_path / "data")],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.stdout.splitlines() == [
        "unreachable: Network is unreachable", "ready", "ready", "0", "0",
    ], ran.stderr  # fmt: skip


def test_installing_again_is_an_upgrade(unpacked: Path, tmp_path: Path) -> None:
    """Over what it installed itself it installs; over anything else it does not."""
    folder = tmp_path / "program"
    for _ in range(2):
        done = _install(unpacked, folder, PYTHON=sys.executable)
        assert done.returncode == 0, done.stderr
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()

    done = _install(unpacked, other, PYTHON=sys.executable)

    assert done.returncode == 1
    assert "holds something else" in done.stderr
    assert [path.name for path in other.iterdir()] == ["precious"]


@pytest.fixture
def copy(unpacked: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the folder that a test may spoil."""
    folder = tmp_path / "copy"
    shutil.copytree(unpacked, folder)
    yield folder
    shutil.rmtree(folder)


def test_a_damaged_copy_is_not_installed(copy: Path, tmp_path: Path) -> None:
    """One flipped bit is noticed before anything is touched, and the file is named."""
    wheel = next((copy / "wheels").glob("aiohttp-*.whl"))
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)

    done = _install(copy, tmp_path / "program", PYTHON=sys.executable)

    assert done.returncode == 1
    assert wheel.name in done.stderr
    assert "damaged" in done.stderr
    assert not (tmp_path / "program").exists()


def test_a_python_that_does_not_fit_is_named(copy: Path, tmp_path: Path) -> None:
    """Packages for other releases are not tried: which ones are wanted is said."""
    release = "{}.{}".format(*sys.version_info)
    for name in ("PYTHONS", "SHA256SUMS"):
        path = copy / name
        text = path.read_text()
        path.write_text(
            "3.99\n"
            if name == "PYTHONS"
            else "".join(line for line in text.splitlines(keepends=True) if "PYTHONS" not in line)
        )

    done = _install(copy, tmp_path / "program", PYTHON=sys.executable)

    assert done.returncode == 1
    assert f"Python {release}" in done.stderr
    assert "3.99" in done.stderr


def test_two_builds_are_the_same_file(
    one_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another time, in another zone and with another umask, every byte is the same."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    before = os.umask(0o077)
    try:
        release = "{}.{}".format(*sys.version_info)
        again = dist.build(tmp_path, (release,), platform.machine())
    finally:
        os.umask(before)

    assert again.read_bytes() == one_file.read_bytes()


def test_the_time_inside_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SOURCE_DATE_EPOCH is the time of every member, and of nothing is any other."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made = dist.build(tmp_path, ("{}.{}".format(*sys.version_info),), platform.machine())
    with tarfile.open(made) as tar:
        members = tar.getmembers()

    assert {member.mtime for member in members} == {1700000000}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {
        (0, 0, "", "")
    }


def test_the_documents_inside_are_whole(unpacked: Path) -> None:
    """No link of a page in the file leads to what was left out."""
    assert [str(link) for link in dead_links(unpacked)] == []


def test_everything_promised_is_inside(unpacked: Path) -> None:
    """What INSTALL.md names is there, and checksums cover every file but their own."""
    listed = {line.split("  ")[1] for line in (unpacked / "SHA256SUMS").read_text().splitlines()}
    found = {str(p.relative_to(unpacked)) for p in unpacked.rglob("*") if p.is_file()}

    assert found - listed == {"SHA256SUMS"}
    for name in (
        "config/modelmirror.service", "docker/Dockerfile", "docs/air-gap.md", "install.sh",
        "hook/modelmirror_hook.py", "hook/sitecustomize.py", "requirements.txt",
    ):  # fmt: skip
        assert (unpacked / name).exists(), name
