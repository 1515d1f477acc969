"""Starting and stopping, as a person sees it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.mirror.running import Running
from tests.origin import Fault, Origin


def _serve(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mirror", "serve", *flags],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_second_process_on_one_store_is_refused(mirror: Running) -> None:
    """The second process says in one sentence who holds the folder, and leaves it alone."""
    second = _serve("--port", "0", "--data", str(mirror.data))

    assert second.returncode == 4
    assert str(mirror.process.pid) in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """An address that is taken is named, with what to do about it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = _serve("--port", str(port), "--data", str(tmp_path / "data"))

    assert done.returncode == 5
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (("--quota", "many"), "quota"),
        (("--public-url", "not a url"), "public_url"),
        (("--config", "/no/such/file.toml"), "/no/such/file.toml"),
        (("--tls-cert", "/no/such/cert.pem"), "tls.key"),
        (("--tls-key", "/no/such/key.pem"), "tls.cert"),
        (("--tls-cert", "/no/such/cert.pem", "--tls-key", "/no/such/key.pem"), "/no/such/cert.pem"),
        (("--upstream-ca", "/no/such/ca.pem"), "/no/such/ca.pem"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, flags: tuple[str, ...], names: str) -> None:
    """A setting that cannot be used stops the start with its name."""
    done = _serve("--port", "0", "--data", str(tmp_path / "data"), *flags)

    assert done.returncode == 2
    assert names in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_store_version_is_refused(tmp_path: Path) -> None:
    """A data folder of a later version is left alone."""
    (tmp_path / "data" / "v2").mkdir(parents=True)

    done = _serve("--port", "0", "--data", str(tmp_path / "data"))

    assert done.returncode == 4
    assert "v2" in done.stderr
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["v2"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_running_downloads_end(mirror: Running, origin: Origin, number: int) -> None:
    """A download that is under way at the stop arrives whole, and the process exits with 0."""
    content = os.urandom(3 << 20)
    origin.add_repo("models", "acme/slow", files={"model.bin": content}, lfs=("*.bin",))
    origin.fault(Fault(server="cdn", method="GET", path=".*", action="drip", rate=2 << 20))
    connection = http.client.HTTPConnection(*mirror.address, timeout=30)
    connection.request("GET", "/acme/slow/resolve/main/model.bin")
    answer = connection.getresponse()
    begun = answer.read(1000)
    codes: list[int] = []
    stopping = threading.Thread(target=lambda: codes.append(mirror.stop(number)))
    stopping.start()

    body = begun + answer.read()
    stopping.join()
    connection.close()

    assert body == content
    assert codes == [0]


def test_the_banner_says_what_to_set(tmp_path: Path, origin: Origin) -> None:
    """The first lines name HF_ENDPOINT, the data folder, and how containers can reach it."""
    with Running(tmp_path / "data", origin) as mirror:
        assert mirror.process.stdout is not None
        lines = [mirror.process.stdout.readline() for _ in range(8)]

    text = "".join(lines)
    assert f"HF_ENDPOINT={mirror.url}" in text
    assert str(tmp_path / "data") in text
    assert "--host 0.0.0.0" in text


def test_the_probes_answer(mirror: Running) -> None:
    """Live, ready, status, metrics and the home page are there from the start."""
    for path in ("/-/live", "/-/ready", "/-/status", "/health", "/-/metrics", "/metrics", "/"):
        got = mirror.ask(path)
        assert got.status == 200, path
    assert b"HF_ENDPOINT" in mirror.ask("/").body
    assert mirror.ask("/-/status").json()["state"] == "online"
