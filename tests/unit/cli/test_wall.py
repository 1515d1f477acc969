"""The wall around a client that is tried: nothing gets out but to the mirror, and what would have is told."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import mirror.cli.diagnosis
from mirror.hook import FOLDER

CHILD: Final = Path(mirror.cli.diagnosis.__file__).parent / "child"

IN_A_CHILD: Final = """
import subprocess, sys
code = "import socket; socket.create_connection(('hub.example', 80))"
subprocess.run([sys.executable, "-c", code], check=True)
"""


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Something that listens on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def _walled(
    folder: Path, script: str, mirror: str = "127.0.0.1 9", **variables: str
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Run *script* behind the wall; how it ended, and what the wall wrote down."""
    report = folder / "report"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(CHILD), *map(str, [folder / "own"])]),
            "MODELMIRROR_DOCTOR_REPORT": str(report),
            "MODELMIRROR_DOCTOR_MIRROR": mirror,
            **variables,
        },
    )
    lines = report.read_text().splitlines() if report.exists() else []
    return ran, [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "import http.client; http.client.HTTPSConnection('hub.example').request('GET', '/')",
            {"host": "hub.example", "port": 443},
        ),
        (
            "import _socket; _socket.socket().connect(('203.0.113.7', 443))",
            {"host": "203.0.113.7", "port": 443},
        ),
        (
            "import socket; print(socket.socket().connect_ex(('203.0.113.7', 443)))",
            {"host": "203.0.113.7", "port": 443},
        ),
        (
            "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'?', ('203.0.113.7', 53))",
            {"host": "203.0.113.7", "port": 53},
        ),
        (
            "import socket; socket.gethostbyname('hub.example')",
            {"host": "hub.example", "port": None},
        ),
        (
            "import asyncio; asyncio.run(asyncio.open_connection('hub.example', 443))",
            {"host": "hub.example", "port": 443},
        ),
        ("import subprocess; subprocess.run(['/usr/bin/curl', 'x'])", {"program": "curl"}),
        ("import os; os.execv('/usr/bin/git', ['git', 'clone', 'x'])", {"program": "git"}),
        ("import os; os.system('wget x')", {"program": "wget"}),
        (
            IN_A_CHILD,
            {"host": "hub.example", "port": 80},
        ),
    ],
)
def test_wall_refuses_and_tells(tmp_path: Path, script: str, told: dict[str, Any]) -> None:
    """Names and addresses, by whatever socket, in child processes too; programs that use the network."""
    ran, report = _walled(tmp_path, script)

    assert ran.returncode != 0, ran.stdout
    assert report == [told]
    assert "modelmirror doctor" in ran.stderr


def test_wall_is_open_to_the_mirror_alone(tmp_path: Path, server: socket.socket) -> None:
    """By its name and by its address; another port of the same machine is closed."""
    port = server.getsockname()[1]
    script = (
        "import socket\n"
        f"socket.create_connection(('localhost', {port})).close()\n"
        f"socket.create_connection(('127.0.0.1', {port})).close()\n"
    )
    ran, report = _walled(tmp_path, script, f"localhost {port}")
    assert (ran.returncode, report) == (0, []), ran.stderr

    ran, report = _walled(tmp_path, script, f"localhost {port + 1}")
    assert ran.returncode != 0
    assert {"host": "127.0.0.1", "port": port} in report


def test_wall_lets_other_programs_and_local_sockets_be(tmp_path: Path) -> None:
    """What asks nobody goes on: a program, a pair of sockets, the name of the machine itself."""
    script = (
        "import socket, subprocess\n"
        "subprocess.run(['true'], check=True)\n"
        "one, two = socket.socketpair()\n"
        "one.sendall(b'x'); assert two.recv(1) == b'x'\n"
        "socket.getaddrinfo('127.0.0.1', 80); socket.getaddrinfo(None, 80)\n"
    )
    ran, report = _walled(tmp_path, script)

    assert (ran.returncode, report) == (0, []), ran.stderr


def test_wall_stands_in_nobodys_way(tmp_path: Path) -> None:
    """The sitecustomize that would have been found without it runs, behind the wall."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text(
        "import socket\n"
        "try: socket.gethostbyname('hub.example')\n"
        "except OSError as error: print('mine:', error)\n"
    )
    ran, report = _walled(tmp_path, "import sitecustomize; print(sitecustomize.__file__)")

    said, file = ran.stdout.splitlines()
    assert said.startswith("mine:")
    assert "would have been asked" in said
    assert file == str(own / "sitecustomize.py")
    assert report == [{"host": "hub.example", "port": None}]


@pytest.mark.parametrize("hook_first", [False, True])
def test_wall_and_hook_both_go_on(tmp_path: Path, hook_first: bool) -> None:  # noqa: FBT001
    """Each runs the next sitecustomize on the path: they do not go round and round, and mine runs once."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("print('mine')")
    folders = [FOLDER, CHILD] if hook_first else [CHILD, FOLDER]
    ran, _ = _walled(
        tmp_path,
        "import sys; print('modelmirror_hook' in sys.modules)",
        PYTHONPATH=os.pathsep.join(map(str, [*folders, own])),
        MODELMIRROR_URL="http://127.0.0.1:9",
    )

    assert (ran.stdout.split(), ran.stderr) == (["mine", "True"], "")


def test_wall_is_not_there_unless_it_is_asked_for(tmp_path: Path, server: socket.socket) -> None:
    """The folder alone changes nothing."""
    host, port = server.getsockname()
    script = f"import socket; socket.create_connection(('{host}', {port})).close()"
    ran, report = _walled(tmp_path, script, MODELMIRROR_DOCTOR_MIRROR="")

    assert (ran.returncode, report) == (0, []), ran.stderr
