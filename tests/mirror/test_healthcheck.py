"""`modelmirror healthcheck` says what a probe wants to know: 0 or 1, soon, and why."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.house.certificates import Authority
from tests.mirror.running import Running
from tests.origin import Fault, Origin


def _check(*flags: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing set but *settings*."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MODELMIRROR_")}
    return subprocess.run(
        [sys.executable, "-m", "mirror", "healthcheck", *flags],
        env={**environment, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "localhost"])
def test_a_mirror_is_found_by_its_settings(tmp_path: Path, origin: Origin, host: str) -> None:
    """Where the settings say that it listens it is asked, and it is ready."""
    flags = ("--host", host)
    with Running(tmp_path / "data", origin, flags) as mirror:
        port = mirror.url.rpartition(":")[2]
        done = _check(MODELMIRROR_HOST=host, MODELMIRROR_PORT=port)

    assert (done.returncode, done.stdout) == (0, "ready\n"), done.stderr


def test_a_mirror_that_serves_https_is_asked_by_https(tmp_path: Path, origin: Origin) -> None:
    """Its certificate is made out to the name that clients use, and the probe goes by another."""
    issued = Authority(tmp_path).issue("DNS:models.example.org")
    pair = {
        "MODELMIRROR_TLS_CERT": str(issued.certificate),
        "MODELMIRROR_TLS_KEY": str(issued.key),
    }
    with Running(tmp_path / "data", origin, settings=pair) as mirror:
        done = _check(MODELMIRROR_PORT=mirror.url.rpartition(":")[2], **pair)

    assert done.returncode == 0, done.stderr


def test_where_nobody_listens_is_told(tmp_path: Path, origin: Origin) -> None:
    """A mirror that has stopped does not answer: exit code 1, its address, and why."""
    with Running(tmp_path / "data", origin) as mirror:
        url = mirror.url

    done = _check("--url", url)

    assert done.returncode == 1
    assert f"{url} does not answer: Connection refused" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mirror_that_stops_is_not_ready(mirror: Running, origin: Origin) -> None:
    """While running downloads may end, nothing new should be sent its way."""
    origin.add_repo("models", "acme/slow", files={"m.bin": os.urandom(4 << 20)}, lfs=("*.bin",))
    origin.fault(Fault(server="cdn", method="GET", path=".*", action="drip", rate=1 << 20))
    reading = threading.Thread(target=lambda: mirror.ask("/acme/slow/resolve/main/m.bin"))
    reading.start()
    mirror.wait_for(lambda: bool(mirror.ask("/-/status").json()["fills"]))
    stopping = threading.Thread(target=mirror.stop)
    stopping.start()
    mirror.wait_for(lambda: "is stopping" in mirror.log.read_text())

    done = _check("--url", mirror.url)
    reading.join()
    stopping.join()

    assert done.returncode == 1
    assert mirror.url in done.stderr


def test_a_mirror_that_hangs_is_not_waited_for() -> None:
    """A connection that is taken and never answered fails in the time that was said."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        done = _check("--url", url, "--timeout", "0.2")

    assert done.returncode == 1
    assert "no answer in time" in done.stderr
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ((), {"MODELMIRROR_PORT": "0"}),
        (("--url", "ftp://mirror"), {}),
        (("--url", "mirror:8090"), {}),
    ],
)
def test_what_cannot_be_asked_is_a_wrong_flag(
    flags: tuple[str, ...], settings: dict[str, str]
) -> None:
    """Where to ask must be known; the message says how to tell it."""
    done = _check(*flags, **settings)

    assert done.returncode == 2
    assert "--url" in done.stderr or "http://" in done.stderr
