"""`modelmirror env` and `modelmirror run`, in front of a mirror and of none."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.cli.exits import NO_MIRROR, NOT_EXECUTABLE, NOT_FOUND
from mirror.hook import FOLDER
from tests.mirror.commands import environment, run
from tests.mirror.running import Running
from tests.origin import Origin

# A second for the mirror, the rest for the interpreter to start on a busy machine.
SOON = 10.0
CONFIG = b'{"model_type": "bert"}'


@pytest.fixture
def closed() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def hanging() -> Iterator[str]:
    """An address at which every connection is taken and none answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def dripping() -> Iterator[str]:
    """An address at which an answer comes, a byte every fifth of a second, and does not end."""
    done = threading.Event()

    def drip(listening: socket.socket) -> None:
        listening.settimeout(30)
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not done.wait(0.2):
                try:
                    connection.sendall(b"l")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        done.set()
        thread.join()


def test_env_that_a_shell_evaluates_leads_a_client_here(
    mirror: Running, origin: Origin, tmp_path: Path
) -> None:
    """After eval, a Python program that names the Hub's own address gets its file from the mirror."""
    origin.add_repo("models", "acme/tiny", {"config.json": CONFIG})
    script = (
        'eval "$("$PYTHON" -m mirror env --url "$URL")" && exec "$PYTHON" -c "'
        "import urllib.request as r; "
        "print(r.urlopen('https://huggingface.co/acme/tiny/resolve/main/config.json').read())"
        '"'
    )
    ran = subprocess.run(
        ["sh", "-c", script],
        env=environment(tmp_path, PYTHON=sys.executable, URL=mirror.url),
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout.strip() == repr(CONFIG)


@pytest.mark.parametrize("where", ["closed", "hanging", "dripping"])
def test_env_if_up_prints_nothing_when_no_mirror_answers(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """At once where nothing listens, and after a second where something does that does not answer."""
    url = request.getfixturevalue(where)
    begun = time.monotonic()
    ran = run("env", "--if-up", "--url", url, variables=environment(tmp_path))

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert time.monotonic() - begun < SOON


def test_env_if_up_prints_what_env_prints_when_one_does(mirror: Running, tmp_path: Path) -> None:
    """A mirror that answers is there."""
    variables = environment(tmp_path, MODELMIRROR_URL=mirror.url)
    ran = run("env", "--if-up", variables=variables)

    assert ran.stdout == run("env", variables=variables).stdout
    assert f"export HF_ENDPOINT={mirror.url}\n" in ran.stdout


def test_env_is_not_taken_in_by_another_server(origin: Origin, tmp_path: Path) -> None:
    """Something that answers, and is no mirror, is none."""
    ran = run("env", "--if-up", "--url", origin.url, variables=environment(tmp_path))

    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:8090"),
        ({"MODELMIRROR_HOST": "0.0.0.0", "MODELMIRROR_PORT": "9000"}, "http://127.0.0.1:9000"),
        ({"MODELMIRROR_HOST": "::"}, "http://[::1]:8090"),
        ({"MODELMIRROR_PUBLIC_URL": "https://models.corp/mirror"}, "https://models.corp/mirror"),
        ({"MODELMIRROR_URL": "http://mirror:80/", "MODELMIRROR_PORT": "9"}, "http://mirror:80"),
    ],
)
def test_env_knows_the_mirror_by_its_settings(
    variables: dict[str, str], url: str, tmp_path: Path
) -> None:
    """By MODELMIRROR_URL, else as serve would be reached with the same settings."""
    ran = run("env", "--json", variables=environment(tmp_path, **variables))

    assert json.loads(ran.stdout)["url"] == url
    assert json.loads(ran.stdout)["set"]["MODELMIRROR_URL"] == url


@pytest.mark.parametrize("shell", ["docker", "compose"])
def test_env_for_containers_has_the_hook_as_a_comment(shell: str, tmp_path: Path) -> None:
    """Its folder is not there: the mount and the variable are told. A loopback address is warned of."""
    variables = environment(tmp_path, PYTHONPATH="/mine", NO_PROXY="of.this.machine")
    ran = run("env", "--shell", shell, variables=variables)
    comments = [line for line in ran.stdout.splitlines() if line.startswith("#")]
    rest = [line for line in ran.stdout.splitlines() if not line.startswith("#")]

    assert str(FOLDER) in "".join(comments)
    assert "PYTHONPATH" in "".join(comments)
    assert "is the container itself" in comments[0]
    assert "PYTHONPATH" not in "".join(rest)
    assert "of.this.machine" not in ran.stdout


def test_env_refuses_what_means_nothing(tmp_path: Path) -> None:
    """No address, and words for the hook without it: one sentence and the code for usage."""
    for flags in (("--url", "mirror"), ("--no-hook", "--strict"), ("--no-hook", "--fallback")):
        ran = run("env", *flags, variables=environment(tmp_path))
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "Traceback" not in ran.stderr


# ── run ────────────────────────────────────────────────────────────────────────────────────────────


def test_run_leads_a_command_here_and_gives_its_exit_code(
    mirror: Running, origin: Origin, tmp_path: Path
) -> None:
    """The command's output, its flags and its code are its own; its clients use the mirror."""
    origin.add_repo("models", "acme/tiny", {"config.json": CONFIG})
    script = (
        "import sys, urllib.request as r\n"
        "url = 'https://huggingface.co/acme/tiny/resolve/main/config.json'\n"
        "sys.stdout.buffer.write(r.urlopen(url).read())\n"
        "sys.exit(int(sys.argv[2]))"
    )
    command = (sys.executable, "-c", script, "--strict", "7")
    ran = run("run", "--url", mirror.url, "--", *command, variables=environment(tmp_path))

    assert (ran.returncode, ran.stdout.encode()) == (7, CONFIG), ran.stderr


def test_run_is_the_command_for_signals(mirror: Running, tmp_path: Path) -> None:
    """The process that was started is the command's: it gets the signal, and dies by it."""
    command = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)")
    with subprocess.Popen(
        [sys.executable, "-m", "mirror", "run", "--url", mirror.url, "--", *command],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == -signal.SIGTERM


def test_run_does_not_start_a_command_without_a_mirror(closed: str, tmp_path: Path) -> None:
    """It says why, and what to do."""
    mark = tmp_path / "started"
    ran = run("run", "--url", closed, "--", "touch", str(mark), variables=environment(tmp_path))

    assert ran.returncode == NO_MIRROR
    assert not mark.exists()
    assert f"The mirror at {closed} does not answer" in ran.stderr
    assert "--fallback" in ran.stderr


def test_run_with_fallback_starts_it_and_names_no_dead_mirror(closed: str, tmp_path: Path) -> None:
    """What would fail without the mirror is not set, not even when the shell had it set."""
    variables = environment(tmp_path, HF_ENDPOINT=closed, PIP_FIND_LINKS="/opt/wheels")
    command = (sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")
    ran = run("run", "--fallback", "--url", closed, "--", *command, variables=variables)
    seen = json.loads(ran.stdout)

    assert ran.returncode == 0
    assert "goes direct" in ran.stderr
    assert "HF_ENDPOINT" not in seen
    assert seen["PIP_FIND_LINKS"] == "/opt/wheels"
    assert (seen["MODELMIRROR_URL"], seen["MODELMIRROR_FALLBACK"]) == (closed, "1")
    assert seen["PYTHONPATH"].split(os.pathsep)[0] == str(FOLDER)


def test_run_says_what_it_cannot_start(mirror: Running, tmp_path: Path) -> None:
    """A command that is not there, and one that is no program: the codes of a shell."""
    text = tmp_path / "text"
    text.write_text("no program")
    for command, code in (("no-such-command", NOT_FOUND), (str(text), NOT_EXECUTABLE)):
        ran = run("run", "--url", mirror.url, "--", command, variables=environment(tmp_path))
        assert ran.returncode == code
        assert command in ran.stderr
        assert "Traceback" not in ran.stderr
