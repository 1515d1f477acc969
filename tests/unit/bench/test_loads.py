"""The load in C does what the one in Python does, and what is run and how is told apart."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.bench import processes, programs
from tests.bench.loads import Loads
from tests.bench.programs import LackingError


@pytest.fixture(scope="module")
def loads(tmp_path_factory: pytest.TempPathFactory) -> Loads:
    """The compiled load."""
    program = programs.compiled(tmp_path_factory.mktemp("load"))
    if program is None:
        pytest.skip("no C compiler")
    return Loads(program)


@contextmanager
def _server(*answers: bytes) -> Iterator[int]:
    """A server whose connections, in turn, give one of *answers* to each of their requests; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(wire: socket.socket, answer: bytes) -> None:
            with wire, suppress(ConnectionError):
                while wire.recv(65536):
                    wire.sendall(answer)
                    if b"Connection: close" in answer:
                        break

        def accept() -> None:
            for turn in range(100):
                with suppress(OSError):
                    wire, _ = listener.accept()
                    answer = answers[turn % len(answers)]
                    threading.Thread(target=serve, args=(wire, answer), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def _ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_get_counts_the_bytes_of_every_client(loads: Loads) -> None:
    """Each client reads the whole body; the first byte comes before the last, and both within the run."""
    with _server(_ok(b"hello")) as port:
        told = loads.get(port, "/x", 5, clients=3)

    assert told["bytes"] == 15
    assert len(told["first"]) == 3
    assert all(
        0 < f <= t <= told["seconds"] for f, t in zip(told["first"], told["total"], strict=True)
    )


def test_get_follows_a_redirect(loads: Loads) -> None:
    """A hub's redirect leads to the bytes, on another port, and none of its own bytes count."""
    with _server(_ok(b"hello")) as cdn:
        moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/y?z\r\nContent-Length: 2\r\n\r\nno"
        with _server(moved % cdn) as port:
            assert loads.get(port, "/x", 5)["bytes"] == 5


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhel",
    ],
    ids=["status", "part", "length", "short"],
)
def test_get_refuses_another_answer(loads: Loads, answer: bytes) -> None:
    """A wrong status, a wrong length or a body that ends early is an error and no figure."""
    with _server(answer) as port, pytest.raises(RuntimeError, match="wrong answer"):
        loads.get(port, "/x", 5)


def test_ask_waits_for_what_it_asked(loads: Loads) -> None:
    """However short the time, each connection has its answer counted, of a HEAD and of a GET."""
    with _server(_ok(b"hello")) as port:
        assert loads.ask(port, "/x", method="GET", clients=3, seconds=0)["count"] == 3
    with _server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") as port:
        told = loads.ask(port, "/x", clients=2, seconds=0.05)

    assert told["count"] >= 2
    assert 0 < told["median"] <= told["p99"]


def test_ask_pauses_between_requests(loads: Loads) -> None:
    """A pause is kept: in three pauses' time there are not five answers."""
    with _server(_ok(b"")) as port:
        told = loads.ask(port, "/x", clients=1, seconds=0.15, pause_ms=50)

    assert 1 <= told["count"] <= 4


def test_slow_clients_keep_their_rate(loads: Loads) -> None:
    """Two clients that read 64 KiB a second do not take more in a third of a second."""
    with _server(_ok(bytes(1 << 20))) as port:
        told = loads.slow(port, "/x", 1 << 20, clients=2, rate=64 << 10, seconds=0.3)

    assert 2 * 16384 <= told["bytes"] <= 2 * (16384 + 65536 * (told["seconds"] + 0.3))


def test_script_stands_in_without_a_compiler() -> None:
    """Without a compiler bodies and heads are still read, and what only C can do says what it lacks."""
    loads = Loads(None)
    with _server(_ok(b"hello")) as port:
        assert loads.get(port, "/x", 5)["bytes"] == 5
        with pytest.raises(LackingError, match="compiler"):
            loads.slow(port, "/x", 5, clients=1, rate=1, seconds=1)
        with pytest.raises(LackingError, match="compiler"):
            loads.ask(port, "/x", method="GET", seconds=1)


def test_missing_program_is_named_with_its_package() -> None:
    """Who lacks a program reads which, and what brings it."""
    with pytest.raises(LackingError, match=r"no-such-program .*apt-get install a-package"):
        programs.find("no-such-program", "a-package")


def test_run_tells_what_a_command_and_its_children_used(tmp_path: Path) -> None:
    """CPU of a command counts that of its children; its failure is told in its own words."""
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    parent = tmp_path / "parent.py"
    parent.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])")

    assert processes.run([sys.executable, "-S", parent]).cpu >= 0.2
    assert processes.run([sys.executable, "-c", "print('x' * 10**6)"], into="cat").said == ""
    with pytest.raises(RuntimeError, match="why not"):
        processes.run([sys.executable, "-c", "import sys; sys.exit('why not')"])


def test_cpu_counts_threads_and_children_that_have_ended() -> None:
    """What a thread and a child used stays counted when they are gone."""
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    before = processes.cpu_of(os.getpid())
    subprocess.run([sys.executable, "-S", "-c", burn], check=True)
    after_child = processes.cpu_of(os.getpid())

    def work() -> None:
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert after_child - before >= 0.19
    assert processes.cpu_of(os.getpid()) - after_child >= 0.1
