"""Where the mirror is that clients are to use, and whether it answers."""

import http.client
import json
import os
import queue
import ssl
import threading
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mirror.cli.settings import read
from mirror.errors import ConfigError

VARIABLE: Final = "MODELMIRROR_URL"
# Begins the reason why a mirror whose certificate nobody vouches for is not asked.
UNTRUSTED: Final = "its certificate is not trusted"
# What a server listens on that listens on every address; it cannot be asked there.
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 -- compared
_PORTS: Final = {"http": 80, "https": 443}
# More than any page of the mirror that is read here.
_MAX_PAGE: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Address:
    """The base URL of a mirror, without a slash at its end, and its parts; *host* is without brackets."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        """Host and port as they stand in the URL."""
        return urlsplit(self.url).netloc

    @property
    def loopback(self) -> bool:
        """Whether it means the machine itself."""
        return self.host == "localhost" or self.host.startswith("127.") or self.host == "::1"

    def ask(self, path: str, seconds: float) -> tuple[int, bytes]:
        """Ask for *path* by GET, through no proxy, each step within *seconds*; raises `OSError`."""
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=seconds)
        try:
            connection.request("GET", self.path + path, headers={"Accept": "*/*"})
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_PAGE)
        except http.client.HTTPException as error:
            raise ConnectionError(f"it does not speak HTTP ({type(error).__name__})") from error
        finally:
            connection.close()

    def silence(self, seconds: float) -> str:
        """Why no mirror answers here within *seconds* altogether; ``""`` if one does."""
        said: queue.SimpleQueue[str] = queue.SimpleQueue()

        def look() -> None:
            try:
                status, body = self.ask("/-/live", seconds)
            except OSError as error:
                said.put(reason(error))
            else:
                live = status == 200 and body == b"live\n"
                said.put("" if live else f"what answers there is no mirror (status {status})")

        # Resolving a name cannot be interrupted, and a drop a second is no answer: it is left behind.
        threading.Thread(target=look, daemon=True).start()
        try:
            return said.get(timeout=seconds)
        except queue.Empty:
            return f"nothing came within {seconds:g} s"

    def status(self, seconds: float) -> dict[str, Any]:
        """The mirror's own report; raises `OSError`, also when it is none."""
        status, body = self.ask("/-/status", seconds)
        try:
            report = json.loads(body)
        except ValueError:
            report = None
        if status != 200 or not isinstance(report, dict):
            raise ConnectionError(f"its status cannot be read (status {status})")
        return report


def parse(text: str) -> Address:
    """Read the base URL of a mirror; raises `ConfigError`."""
    url = text.rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = url.isascii() and url.isprintable() and not set(url) & set(" \"'\\<>`{}|^")
    if parts.scheme not in _PORTS or not parts.hostname or not plain or port == 0:
        raise ConfigError(
            f"{text!r} is no address of a mirror.", hint="Write it like http://mirror:8090."
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"The address of a mirror has nothing but a host, a port and a path: not {bare(url)!r}."
        )
    return Address(url, parts.scheme, parts.hostname, port or _PORTS[parts.scheme], parts.path)


def mirror_address(given: str | None) -> Address:
    """The mirror that was *given*, else the one MODELMIRROR_URL names, else the one that `serve` would be.

    Raises `ConfigError`.
    """
    named = given or os.environ.get(VARIABLE)
    if named:
        return parse(named)
    settings = read({}, None).settings
    if settings.public_url:
        return parse(settings.public_url)
    if settings.port == 0:
        raise ConfigError(
            "The settings have the mirror pick a port, so its address is not known.",
            hint="Name it: --url http://127.0.0.1:PORT",
        )
    host = _EVERYWHERE.get(settings.host, settings.host)
    scheme = "https" if settings.tls_cert else "http"
    return parse(f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}")


def bare(url: str) -> str:
    """*url* without who it is for: it may hold a password."""
    scheme, mark, rest = url.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def reason(error: OSError) -> str:
    """Why a server could not be asked, in its own words but for their decoration."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{UNTRUSTED} ({error.verify_message})"
    return error.strerror or str(error) or type(error).__name__
