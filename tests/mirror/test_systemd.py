"""As systemd runs it: readiness, a watchdog, a socket that outlives the process, and the units themselves."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.house.checkout import ROOT
from tests.mirror.running import Process, Running
from tests.origin import Origin

UNITS = ROOT / "config"
PROGRAM = "/opt/modelmirror/bin/modelmirror"

# Becomes the program that its arguments name, with the descriptor $1 where systemd would have put it.
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd would listen for what services say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(10)
        yield made


def _silent(ear: socket.socket, seconds: float) -> bool:
    """Whether nothing is said for so long."""
    ear.settimeout(seconds)
    with contextlib.suppress(TimeoutError):
        ear.recv(1000)
        return False
    return True


def test_readiness_life_and_stop_are_told(
    tmp_path: Path, origin: Origin, ear: socket.socket
) -> None:
    """READY comes when requests are answered, WATCHDOG while the loop turns, STOPPING at the end."""
    settings = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    mirror = Running(tmp_path / "data", origin, settings=settings)
    mirror.launch()
    with contextlib.closing(_stopped(mirror)):
        assert mirror.process.stdout is not None
        told = ear.recv(1000).decode().split("\n")
        mirror.url = told[1].split()[-1]

        assert told == ["READY=1", f"STATUS=Listening on {mirror.url}"]
        assert mirror.ask("/-/ready").status == 200
        assert [ear.recv(1000) for _ in range(5)] == [b"WATCHDOG=1"] * 5

        # A process that hangs says nothing, and that is what a watchdog waits for.
        mirror.process.send_signal(signal.SIGSTOP)
        ear.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while True:
                ear.recv(1000)
        assert _silent(ear, 0.5)
        mirror.process.send_signal(signal.SIGCONT)
        ear.settimeout(10)
        assert ear.recv(1000) == b"WATCHDOG=1"

        mirror.process.send_signal(signal.SIGTERM)
        while (last := ear.recv(1000)) == b"WATCHDOG=1":
            pass
        assert last.startswith(b"STOPPING=1\n")


def _stopped(mirror: Running) -> "_Stop":
    return _Stop(mirror)


@dataclass(frozen=True)
class _Stop:
    mirror: Running

    def close(self) -> None:
        """Stop the mirror; it has been told already, or the test failed."""
        assert self.mirror.stop() == 0


@dataclass
class Activated(Running):
    """A mirror that finds its socket open."""

    listener: socket.socket | None = None

    def spawn(
        self, arguments: list[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> Process:
        """Hand the socket over as systemd does."""
        assert self.listener is not None
        number = self.listener.fileno()
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                _HAND_OVER,
                str(number),
                sys.executable,
                "-m",
                "mirror",
                *arguments,
            ],
            env=environment,
            pass_fds=(number,),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def test_no_connection_is_refused_while_it_restarts(tmp_path: Path, origin: Origin) -> None:
    """What comes while no process is there waits in the socket and is answered by the next one."""
    origin.add_repo("models", "acme/tiny", files={"config.json": b"{}"})
    path = "/acme/tiny/resolve/main/config.json"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with Activated(tmp_path / "data", origin, listener=listener) as mirror:
            assert mirror.url == f"http://127.0.0.1:{port}"
            assert mirror.ask(path).body == b"{}"
        bodies: list[bytes] = []
        meanwhile = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        meanwhile.connect()
        meanwhile.request("GET", path)
        waiting = threading.Thread(target=lambda: bodies.append(meanwhile.getresponse().read()))
        waiting.start()
        with Activated(tmp_path / "data", origin, ("--offline",), listener=listener):
            waiting.join()
            meanwhile.close()

    assert bodies == [b"{}"]


def test_systemd_itself_can_start_it(tmp_path: Path, origin: Origin) -> None:
    """The tool of systemd listens, starts the mirror at the first connection, and the mirror answers it."""
    tool = shutil.which("systemd-socket-activate")
    if tool is None:
        pytest.skip("systemd-socket-activate is not installed: apt-get install systemd")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = (tool, f"--listen=127.0.0.1:{port}")
    mirror = Running(tmp_path / "data", origin, ("--port", "1"), before=before)
    mirror.launch()
    mirror.url = f"http://127.0.0.1:{port}"
    with contextlib.closing(_stopped(mirror)):
        mirror.wait_for(lambda: "Listening on" in mirror.log.read_text())
        assert mirror.ask("/-/ready").status == 200
        assert mirror.process.stdout is not None
        assert mirror.process.stdout.readline() == f"modelmirror listening on {mirror.url}\n"


def test_what_is_handed_over_wrongly_is_one_sentence(tmp_path: Path, origin: Origin) -> None:
    """A socket unit that cannot work is a setting that cannot be used: exit code 2 and what to write."""
    with socket.socket() as silent:
        mirror = Activated(tmp_path / "data", origin, listener=silent)
        mirror.launch()
        assert mirror.process.wait(timeout=30) == 2
        assert mirror.process.stdout is not None
        mirror.process.stdout.close()

    text = mirror.log.read_text()
    assert "does not listen" in text
    assert "ListenStream=" in text
    assert "Traceback" not in text


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units in a folder of their own, with a program that is on this machine."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    for file in UNITS.glob("modelmirror.s*"):
        text = file.read_text(encoding="utf-8").replace(PROGRAM, os.path.realpath(sys.executable))
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    return tmp_path


def _analyze(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    """Both units load without a word: systemd warns of unknown keys and exits with 0 all the same."""
    files = sorted(units.glob("modelmirror.s*"))

    assert [file.name for file in files] == ["modelmirror.service", "modelmirror.socket"]
    assert _about_us(_analyze("verify", *files)) == []


def test_a_wrong_unit_is_noticed(units: Path) -> None:
    """The test above would see a key that does not exist, and a socket without its service."""
    service = units / "modelmirror.service"
    service.write_text(service.read_text() + "\n[Service]\nProtectEverything=yes\n")

    assert _about_us(_analyze("verify", service)) != []


def _about_us(text: str) -> list[str]:
    """The lines that are about our units: this machine's own may have their faults."""
    return [line for line in text.splitlines() if "modelmirror" in line]


def test_the_service_is_as_closed_as_the_document_says(units: Path) -> None:
    """The figure of systemd for the exposure of the service is the one of docs/systemd.md, or better."""
    report = _analyze("security", "--offline=true", units / "modelmirror.service")
    figure = re.search(r"Overall exposure level for modelmirror.service: ([0-9.]+)", report)
    page = (ROOT / "docs" / "systemd.md").read_text(encoding="utf-8")
    said = re.search(r"exposure level.* \*\*([0-9.]+)", page)
    assert figure
    assert said

    assert float(figure[1]) <= float(said[1])


def test_the_service_may_call_what_the_mirror_calls(tmp_path: Path, origin: Origin) -> None:
    """No system call of a whole life, cold, warm and stopped, is outside the unit's filter."""
    if not shutil.which("strace") or not shutil.which("systemd-analyze"):
        pytest.skip("needs strace and systemd-analyze: apt-get install strace systemd")
    origin.add_repo("models", "acme/tiny", files={"model.safetensors": os.urandom(3 << 20)})
    path = "/acme/tiny/resolve/main/model.safetensors"
    trace = tmp_path / "trace"
    # With -D the mirror is our child, and strace writes its end a moment later.
    before = ("strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", str(trace))
    with Running(tmp_path / "data", origin, before=before) as mirror:
        for _ in range(2):
            assert mirror.ask(path).status == 200
        mirror.settle()
        mirror.stop()
        end = f"{mirror.process.pid} +++ exited with 0 +++"
        mirror.wait_for(lambda: end in re.sub(" +", " ", trace.read_text()))
    called = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    # For cachestat strace and systemd may have no name yet: it is refused, and the store does without.
    # SQLite gives its files to the database's owner as root alone, which the service never is.
    allowed = _allowed() | {"cachestat", "syscall_0x1c3", "fchown"}

    assert {"openat", "sendfile"} <= called
    assert called - allowed == set()


def _allowed() -> set[str]:
    """The system calls that SystemCallFilter= of the service lets through."""
    text = (UNITS / "modelmirror.service").read_text(encoding="utf-8")
    names: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
        words = line.removeprefix("~").split()
        members = {name for word in words for name in _members(word)}
        names = names - members if line.startswith("~") else names | members
    return names


def _members(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    listed = _analyze("syscall-filter", word).splitlines()[1:]
    inside = [line.strip() for line in listed if line.strip() and "#" not in line]
    return {name for one in inside for name in _members(one)}
