"""What systemd says in variables, descriptors and datagrams, as its manual pages tell."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.cli.systemd import Manager
from mirror.errors import ConfigError

ME = 4242


def test_variables_of_ours_are_taken_out() -> None:
    """What is meant for this process is read, and no child inherits it."""
    environment = {
        "PATH": "/bin",
        "NOTIFY_SOCKET": "@manager",
        "WATCHDOG_PID": str(ME),
        "WATCHDOG_USEC": "30000000",
        "LISTEN_PID": str(ME),
        "LISTEN_FDS": "2",
        "LISTEN_FDNAMES": "a:b",
    }

    assert Manager.read(environment, ME) == Manager("@manager", 30.0, (3, 4))
    assert environment == {"PATH": "/bin"}


def test_variables_of_another_process_are_left_alone() -> None:
    """A descriptor or a watchdog that was meant for a parent is none of ours."""
    said = {"WATCHDOG_PID": "1", "WATCHDOG_USEC": "5", "LISTEN_PID": "1", "LISTEN_FDS": "1"}
    environment = dict(said)

    assert Manager.read(environment, ME) == Manager()
    assert environment == said


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": str(ME)},
        {"LISTEN_PID": str(ME), "LISTEN_FDS": "-1"},
        {"LISTEN_PID": str(ME), "LISTEN_FDS": "many"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
    ],
)
def test_what_cannot_be_read_is_not_said(environment: dict[str, str]) -> None:
    """A mirror that nobody manages, or by unknown means, runs as from a shell."""
    manager = Manager.read(environment, ME)

    assert manager == Manager()
    assert manager.listener() is None
    manager.tell("READY=1")


def test_a_watchdog_without_a_pid_is_ours() -> None:
    """WATCHDOG_PID may be left out."""
    assert Manager.read({"WATCHDOG_USEC": "2000000"}, ME).watchdog == 2.0


@pytest.mark.parametrize("abstract", [False, True])
def test_words_are_one_datagram(tmp_path: Path, abstract: bool) -> None:  # noqa: FBT001 -- a case
    """They arrive together, by a path and by a name in no folder."""
    name = f"@modelmirror-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.settimeout(5)
        ear.bind(name.replace("@", "\0"))
        Manager(name).tell("READY=1", "STATUS=Listening")

        assert ear.recv(1000) == b"READY=1\nSTATUS=Listening"


def test_a_manager_that_has_gone_stops_nobody(tmp_path: Path) -> None:
    """A socket that nobody reads any more is no reason to fail."""
    Manager(str(tmp_path / "nobody")).tell("READY=1")


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A TCP socket that does not listen yet."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


def _handed(descriptor: int) -> Manager:
    """A manager that handed over a copy of *descriptor*."""
    return Manager(handed=(os.dup(descriptor),))


def test_a_socket_that_listens_is_taken(bound: socket.socket) -> None:
    """It is the manager's own, and no child inherits it."""
    bound.listen()
    manager = Manager(handed=(os.dup(bound.fileno()),))
    os.set_inheritable(manager.handed[0], True)  # noqa: FBT003 -- it has no name there
    taken = manager.listener()
    assert taken is not None
    with taken:
        assert taken.getsockname() == bound.getsockname()
        assert not taken.get_inheritable()


def test_a_socket_that_does_not_listen_is_refused(bound: socket.socket) -> None:
    """With Accept=yes systemd hands a connection over; it is told apart."""
    with pytest.raises(ConfigError, match="does not listen for TCP"):
        _handed(bound.fileno()).listener()


def test_a_socket_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A socket in a folder, or of datagrams, carries no HTTP of clients."""
    with socket.socket(socket.AF_UNIX) as other, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        other.bind(str(tmp_path / "s"))
        other.listen()
        for one in (other, datagrams):
            with pytest.raises(ConfigError, match="does not listen for TCP"):
                _handed(one.fileno()).listener()


def test_what_is_no_socket_is_refused(tmp_path: Path) -> None:
    """A FIFO of the socket unit, for example."""
    with (tmp_path / "file").open("wb") as file, pytest.raises(ConfigError, match="no socket"):
        _handed(file.fileno()).listener()


def test_two_sockets_are_refused() -> None:
    """Which of them clients would be told is not known."""
    with pytest.raises(ConfigError, match="2 sockets"):
        Manager(handed=(3, 4)).listener()


def test_reading_takes_the_variables_of_the_process() -> None:
    """`os.environ` can be handed in: what is taken out of it is taken out of the process."""
    code = (
        "import os; from mirror.cli.systemd import Manager; Manager.read(os.environ, os.getpid()); "
        "import subprocess, sys; sys.exit(subprocess.call(['sh', '-c', 'test -z \"$NOTIFY_SOCKET\"']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "NOTIFY_SOCKET": "@x"}, check=False
    )

    assert done.returncode == 0
