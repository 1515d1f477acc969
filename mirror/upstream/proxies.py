"""Which forward proxy a request goes through, if any: pure decisions, in curl's and wget's own words.

A proxy changes who is dialled, and nothing about what may be asked: hosts still come from the route table
and redirects from its allow-list. The proxy is the operator's word, so it may have any address; the host
behind it is looked up by the proxy, which sees other addresses than this machine would.
"""

import base64
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from mirror.errors import ConfigError, ForbiddenTargetError
from mirror.upstream.policy import Origin, normal_host

_DEFAULT_PORT: Final = 80
_LIKE: Final = (
    "Write it like http://proxy.example.org:3128 or http://user:password@proxy.example.org:3128."
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy: its *origin*, and the ``Proxy-Authorization`` that it wants, if any."""

    origin: Origin
    authorization: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that are for the proxy alone."""
        if self.authorization is None:
            return ()
        return (("Proxy-Authorization", self.authorization),)

    def __str__(self) -> str:
        return self.origin.authority


class Proxies:
    """The proxies for each scheme, and who is asked without one.

    *https* and *http* are the proxies' URLs, empty for none. *no* lists hosts that are asked directly,
    as ``NO_PROXY`` does: ``host`` and ``.domain`` mean a host and all below it, each with a ``:port`` if
    wanted; an address or a network (``10.0.0.0/8``) means hosts written as addresses; ``*`` is everyone.
    This machine is always asked directly. Raises `ConfigError` for a URL that is no proxy's, without
    repeating it.
    """

    def __init__(self, https: str = "", http: str = "", no: Sequence[str] = ()) -> None:
        self._by_scheme = {
            scheme: _proxy(name, url)
            for scheme, name, url in (("https", "https_proxy", https), ("http", "http_proxy", http))
            if url
        }
        self._no = tuple(item.strip().lower() for item in no if item.strip())

    def of(self, origin: Origin) -> Proxy | None:
        """The proxy that *origin* is asked through, `None` for none."""
        proxy = self._by_scheme.get(origin.scheme)
        if proxy is None or _this_machine(origin.host):
            return None
        return None if any(_covers(item, origin) for item in self._no) else proxy

    def named(self, host: str) -> bool:
        """Whether *host* (normalised) is a proxy's, which may be private or loopback."""
        return any(proxy.origin.host == host for proxy in self._by_scheme.values())

    def __str__(self) -> str:
        return ", ".join(f"{proxy} for {scheme}" for scheme, proxy in self._by_scheme.items())


def _proxy(name: str, url: str) -> Proxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
        host = normal_host(parts.hostname or "")
        words = unquote(parts.username or ""), unquote(parts.password or "")
        user = ":".join(words).encode()
    except (ValueError, ForbiddenTargetError):
        raise ConfigError(f"The setting upstream.{name} is no proxy's URL.", hint=_LIKE) from None
    if parts.scheme != "http":
        raise ConfigError(
            f"The setting upstream.{name} names a proxy that speaks {parts.scheme[:10]}; only plain "
            "HTTP proxies are used, with TLS to upstream inside.",
            hint=_LIKE,
        )
    if parts.path not in {"", "/"} or parts.query or parts.fragment or ":" in words[0]:
        raise ConfigError(f"The setting upstream.{name} is no proxy's URL.", hint=_LIKE)
    known = None if parts.username is None else f"Basic {base64.b64encode(user).decode('ascii')}"
    return Proxy(Origin("http", host, port or _DEFAULT_PORT), known)


def _this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _covers(item: str, origin: Origin) -> bool:
    """Whether one entry of ``NO_PROXY`` means *origin*; an entry that nobody can read means nobody."""
    if item == "*":
        return True
    try:
        network = ipaddress.ip_network(item.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        try:
            return ipaddress.ip_address(origin.host) in network
        except ValueError:
            return False
    name, colon, port = item.rpartition(":")
    if colon and not (port.isascii() and port.isdigit() and int(port) == origin.port):
        return False
    domain = (name if colon else item).removeprefix("*").strip("[]").strip(".")
    return bool(domain) and (origin.host == domain or origin.host.endswith(f".{domain}"))
