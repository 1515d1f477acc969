"""The whole way in TLS: clients by HTTPS, the hub by HTTPS with a site's own authority, behind a proxy."""

import base64
import contextlib
import http.client
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.doubles.forward_proxy import ForwardProxy
from tests.house.certificates import Authority, Issued
from tests.mirror.running import Running, files_below
from tests.origin import Origin

PASSWORD = "canary-proxy-password"
WEIGHTS = bytes(range(256)) * 8192  # 2 MiB


class _Front:
    """Ends TLS in front of a plain server of this machine."""

    def __init__(self, port: int, issued: Issued) -> None:
        self._target = ("127.0.0.1", port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(issued.certificate, issued.key)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._door.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(raw, server_side=True) as client:
            with socket.create_connection(self._target) as server:
                # One request a connection: the two directions never run at once in one TLS object.
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(65536)
                first, _, rest = head.partition(b"\r\n")
                server.sendall(first + b"\r\nConnection: close\r\n" + rest)
                while data := server.recv(65536):
                    client.sendall(data)
            client.unwrap()

    def close(self) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The site's own authority."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def proxy(origin: Origin, authority: Authority) -> Iterator[ForwardProxy]:
    """A proxy with a password that leads to the origin by HTTPS, as ``hub.test``."""
    basic = base64.b64encode(f"site:{PASSWORD}".encode()).decode()
    front = _Front(int(origin.url.rpartition(":")[2]), authority.issue("DNS:hub.test"))
    with contextlib.closing(front):
        routes = {"hub.test:443": front.address}
        with ForwardProxy(routes, wants=f"Basic {basic}") as running:
            yield running


def _ask(mirror: Running, authority: Authority, path: str) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(authority.file))
    host, port = mirror.address
    connection = http.client.HTTPSConnection(host, port, timeout=30, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": "Bearer tokenA"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_https_in_and_out_behind_a_proxy(
    tmp_path: Path, origin: Origin, authority: Authority, proxy: ForwardProxy
) -> None:
    """A file comes through proxy and TLS into the store and out by HTTPS; its password goes nowhere."""
    origin.add_repo("models", "acme/tiny", files={"model.safetensors": WEIGHTS}, lfs=())
    mine = authority.issue("IP:127.0.0.1")
    settings = {
        "HTTPS_PROXY": f"http://site:{PASSWORD}@127.0.0.1:{proxy.port}",
        "MODELMIRROR_UPSTREAM_CA": str(authority.file),
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": "https://hub.test",
        "MODELMIRROR_LOG_LEVEL": "debug",
    }
    flags = ("--tls-cert", str(mine.certificate), "--tls-key", str(mine.key))
    with Running(tmp_path / "data", origin, flags, settings) as mirror:
        assert mirror.url.startswith("https://127.0.0.1:")
        path = "/acme/tiny/resolve/main/model.safetensors"
        assert _ask(mirror, authority, path) == (200, WEIGHTS)
        assert _ask(mirror, authority, path) == (200, WEIGHTS)
        page = _ask(mirror, authority, "/")[1].decode()
        metrics = _ask(mirror, authority, "/-/metrics")[1].decode()
        proxy.wants = "another"
        code, said = _ask(mirror, authority, "/acme/other/resolve/main/config.json")
        assert code == 501
        mirror.wait_for(lambda: "407" in mirror.log.read_text())

    assert set(proxy.lines) == {"CONNECT hub.test:443 HTTP/1.1"}
    with Running(tmp_path / "data", origin, (*flags, "--offline"), settings):
        pass  # Nobody is asked then, and nothing of a proxy is said a second time.
    log = mirror.log.read_text()
    hidden = base64.b64encode(f"site:{PASSWORD}".encode()).decode()
    for text in (log, page, metrics, said.decode()):
        assert PASSWORD not in text
        assert hidden not in text
    assert log.count(f"Upstream is asked through 127.0.0.1:{proxy.port} for https.") == 1
    assert not any("proxy-authorization" in seen.headers for seen in origin.log)
    for name, _ in files_below(mirror.data):
        data = (mirror.data / name).read_bytes()
        assert PASSWORD.encode() not in data
        assert hidden.encode() not in data


def test_the_hub_client_downloads_by_https(
    tmp_path: Path, origin: Origin, authority: Authority
) -> None:
    """Told of the site's authority by SSL_CERT_FILE, hf fetches a repo; untold, it refuses to."""
    origin.add_repo("models", "acme/tiny", files={"model.safetensors": WEIGHTS})
    mine = authority.issue("IP:127.0.0.1")
    flags = ("--tls-cert", str(mine.certificate), "--tls-key", str(mine.key))
    program = "from huggingface_hub.cli.hf import main; main()"
    with Running(tmp_path / "data", origin, flags) as mirror:
        command = [sys.executable, "-c", program, "download", "acme/tiny", "model.safetensors"]
        for told in ({}, {"SSL_CERT_FILE": str(authority.file)}):
            folder = tmp_path / ("told" if told else "untold")
            environment = {"HF_ENDPOINT": mirror.url, "HF_HOME": str(folder), "PATH": "", **told}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=60
            )
            assert (done.returncode == 0) is bool(told), done.stderr
            assert bool(list(folder.rglob("snapshots/*/model.safetensors"))) is bool(told)


def test_no_proxy_and_small_letters_are_heeded(
    tmp_path: Path, origin: Origin, proxy: ForwardProxy
) -> None:
    """An upstream that NO_PROXY names is asked directly; so is this machine, whatever is set."""
    origin.add_repo("models", "acme/tiny", files={"config.json": b"{}"})
    cases = (
        (origin.url, {"http_proxy": proxy.url}, 200),
        ("http://hub.test", {"http_proxy": proxy.url, "no_proxy": "hub.test"}, 501),  # no such name
    )
    for url, settings, status in cases:
        settings["MODELMIRROR_HUGGINGFACE_UPSTREAMS"] = url
        with Running(tmp_path / str(status), origin, (), settings) as mirror:
            assert mirror.ask("/acme/tiny/resolve/main/config.json").status == status
    assert proxy.heads == []


def test_config_show_leaves_the_password_out(tmp_path: Path) -> None:
    """What is shown of a proxy is where it is."""
    command = [sys.executable, "-m", "mirror", "config", "show"]
    environment = {
        "https_proxy": f"http://site:{PASSWORD}@proxy.test:3128",
        "HOME": str(tmp_path),
        "PATH": "",
    }
    for more in ([], ["--json"]):
        done = subprocess.run(
            [*command, *more], env=environment, capture_output=True, text=True, check=True
        )
        assert PASSWORD not in done.stdout
        assert "@proxy.test:3128" in done.stdout
