"""Which URLs the mirror may ask, and whether a credential goes along: pure decisions.

Targets come from hubs and redirects come from upstream; both are words of others. Every URL that is ever
dialled is made here, from parts that were checked, so no other module reads a URL twice in two ways.
That is also why redirects are followed by hand: an HTTP library follows first and asks nobody.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from mirror.errors import ConfigError, ForbiddenTargetError

# The longest chain seen is three: an old repo name, the Hub, its CDN.
MAX_HOPS: Final = 5

# Where the known hubs lead their clients, by https on port 443 and to public addresses only.
# `*.cloudfront.net` and its like are missing on purpose: anyone can own a name there.
BUILT_IN_REDIRECT_HOSTS: Final = (
    "huggingface.co",
    "*.huggingface.co",
    "hf.co",
    "*.hf.co",
    "codeload.github.com",
    "objects.githubusercontent.com",
    "raw.githubusercontent.com",
    "release-assets.githubusercontent.com",
    "www.kaggle.com",
    "storage.googleapis.com",
    # Ollama's registry keeps its blobs in this one bucket.
    "dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com",
)

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(
    r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
)
# A last label that an address parser somewhere would read as a number: 2130706433, 0x7f.1, 127.1.
_NUMERIC: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_HARMFUL: Final = re.compile(r"[\x00-\x20\x7f\\]")
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_NAME_IT: Final = (
    "If it is right, name that host in upstream.redirect_hosts (MODELMIRROR_REDIRECT_HOSTS)."
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 6454): lower case, no trailing dot, IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``, as it stands in a URL and in ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Step:
    """One request to make.

    *target* is the request target (path and query, ASCII), kept out of ``repr`` because the query of a
    CDN is signed; *base* the upstream base URL where the walk began; *trusted* whether the credential
    goes along; *hops* how many redirects led here.
    """

    origin: Origin
    target: str = field(repr=False)
    base: str
    trusted: bool
    hops: int = 0

    @property
    def url(self) -> str:
        """The absolute URL, query and all: for dialling, never for a log."""
        return f"{self.origin}{self.target}"


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One ``[scheme://]host[:port]`` of the redirect allow-list; *suffix* is set for a wildcard."""

    schemes: frozenset[str]
    host: str
    suffix: str
    port: int

    def covers_host(self, host: str) -> bool:
        return (
            host.endswith(self.suffix) and host != self.suffix if self.suffix else host == self.host
        )

    def covers(self, origin: Origin) -> bool:
        return (
            origin.port == self.port
            and origin.scheme in self.schemes
            and self.covers_host(origin.host)
        )


@dataclass(frozen=True, slots=True)
class _Base:
    """A base URL: its origin, and a path without a trailing slash that all targets are put behind."""

    text: str
    origin: Origin
    path: str


class Policy:
    """What the operator and the route table allow.

    *hubs* maps a hub's name to its base URLs, asked in order. *hosts* maps an allow-listed host
    (``host`` or ``host:port``) to the base URL where it is really asked. *redirect_hosts* are further
    ``[scheme://]host[:port]`` patterns, ``*.`` standing for any labels in front: without a port they
    mean https on 443; with one, and without a scheme, http and https on that port. *allowed* are hosts
    that absolute targets may name and that are asked where their name says, by https.

    A host named in *hubs*, *hosts* or *redirect_hosts* is the operator's word and may be private.
    Raises `ConfigError` for what is no base URL or no pattern.
    """

    def __init__(
        self,
        hubs: Mapping[str, tuple[str, ...]],
        hosts: Mapping[str, str] | None = None,
        redirect_hosts: tuple[str, ...] = (),
        allowed: tuple[str, ...] = (),
    ) -> None:
        self._hubs = {hub: tuple(_base(url) for url in urls) for hub, urls in hubs.items()}
        self._hosts = {_host_and_port(key): _base(url) for key, url in (hosts or {}).items()}
        self._allowed = frozenset(_configured_host(host) for host in allowed)
        bases = [base for hub in self._hubs.values() for base in hub] + list(self._hosts.values())
        self._origins = frozenset(base.origin for base in bases)
        self._named = tuple(_pattern(text) for text in redirect_hosts)
        self._named_hosts = frozenset(origin.host for origin in self._origins)
        self._known = tuple(_pattern(text) for text in BUILT_IN_REDIRECT_HOSTS)

    def steps(self, hub: str, *targets: str) -> tuple[Step, ...]:
        """Name the first requests to try for *targets*, in order: one for each base that can serve one.

        A target is a path beginning with ``/`` on the hub's own bases, or an absolute URL on one of
        them or on an allow-listed host. The credential of the question is meant for the hub's bases
        and for nothing else. Raises `ForbiddenTargetError` where no step is allowed.
        """
        return tuple(step for target in targets for step in self._steps(hub, target))

    def _steps(self, hub: str, target: str) -> tuple[Step, ...]:
        bases = self._hubs.get(hub, ())
        if target.startswith("/"):
            path = _clean(target)
            if "#" in path:
                raise ForbiddenTargetError("A request target holds a raw '#', which no path may.")
            found = tuple(
                Step(base.origin, base.path + path, base.text, trusted=True) for base in bases
            )
            if not found:
                raise ForbiddenTargetError(f"No upstream is configured for the hub {hub}.")
            return found
        origin, path = _split(target)
        for base in bases:
            if origin == base.origin and path.startswith(base.path + "/"):
                return (Step(origin, path, base.text, trusted=True),)
        mapped = self._mapped(origin, path)
        if mapped is not None:
            return (mapped,)
        if origin.scheme == "https" and origin.port == 443 and origin.host in self._allowed:
            return (Step(origin, path, str(origin), trusted=False),)
        raise ForbiddenTargetError(
            f"{origin} is not a host that this mirror asks.",
            hint="Hosts are listed under upstream.hosts (MODELMIRROR_UPSTREAM_HOSTS).",
        )

    def follow(self, step: Step, location: str) -> Step:
        """Name the request that a redirect asks for, or refuse it.

        *location* is the ``Location`` header as it came, resolved against the URL that was asked
        (RFC 9110 §10.2.2). The credential goes along only while the walk has not left its origin; it
        does not come back after a detour. Raises `ForbiddenTargetError` with hosts, never with the URL.
        """
        if step.hops >= MAX_HOPS:
            raise ForbiddenTargetError(
                f"{step.origin.authority} redirects in circles: more than {MAX_HOPS} hops."
            )
        try:
            joined = urljoin(step.url, _clean(location))
        except ValueError:  # An unclosed bracket, for one.
            raise ForbiddenTargetError(f"{step.origin.authority} redirects to no URL.") from None
        origin, target = _split(joined)
        mapped = self._mapped(origin, target)
        if mapped is not None:
            # Never with the credential, even where the operator serves that host from the hub's origin.
            return Step(mapped.origin, mapped.target, step.base, trusted=False, hops=step.hops + 1)
        if not self._may_lead_to(origin):
            raise ForbiddenTargetError(
                f"{step.origin.authority} redirects to {origin}, which is not allowed.",
                hint=_NAME_IT,
            )
        trusted = step.trusted and origin == step.origin
        return Step(origin, target, step.base, trusted=trusted, hops=step.hops + 1)

    def named(self, host: str) -> bool:
        """Whether the operator named *host* (normalised), so that it may be private or loopback."""
        return host in self._named_hosts or any(item.covers_host(host) for item in self._named)

    def _may_lead_to(self, origin: Origin) -> bool:
        if origin in self._origins or any(item.covers(origin) for item in self._named):
            return True
        if origin.scheme != "https" or origin.port != 443:
            return False
        return origin.host in self._allowed or any(item.covers(origin) for item in self._known)

    def _mapped(self, origin: Origin, target: str) -> Step | None:
        base = self._hosts.get((origin.host, origin.port))
        if base is None and origin.port == _DEFAULT_PORTS[origin.scheme]:
            base = self._hosts.get((origin.host, None))
        if base is None:
            return None
        return Step(base.origin, base.path + target, base.text, trusted=False)


def normal_host(host: str) -> str:
    """Bring a host into the one form that all checks compare: lower case, no trailing dot.

    An IPv6 literal comes without brackets. Raises `ForbiddenTargetError` for what is no plain host
    name or canonical address: another notation of an IPv4 address (``2130706433``, ``0x7f.1``,
    ``127.1``), a zone, an empty label, non-ASCII (RFC 3986 §3.2.2, WHATWG URL "ends in a number").
    """
    name = host.lower()
    if ":" in name:
        try:
            return ipaddress.IPv6Address(name if "%" not in name else "").compressed
        except ValueError:
            raise ForbiddenTargetError("A URL names a host that is no IPv6 address.") from None
    name = name.removesuffix(".")
    if len(name) > 253 or not _HOST.fullmatch(name):
        raise ForbiddenTargetError("A URL names a host that is no host name.")
    if _NUMERIC.fullmatch(name.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise ForbiddenTargetError(
                f"{name} is an address in a notation that hides it; it is not asked."
            ) from None
    return name


def _clean(text: str) -> str:
    """Refuse what parsers disagree about; percent-encode raw non-ASCII, as clients do."""
    if _HARMFUL.search(text):
        raise ForbiddenTargetError("A URL holds a space, a backslash or a control character.")
    if text.isascii():
        return text
    return quote(text.encode("utf-8", "surrogateescape"), safe=_PRINTABLE)


def _split(url: str) -> tuple[Origin, str]:
    """Take an absolute http(s) URL apart into its origin and its request target, without a fragment."""
    try:
        parts = urlsplit(_clean(url))
        port = parts.port
    except ValueError:
        raise ForbiddenTargetError("A URL cannot be read.") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ForbiddenTargetError("A URL is neither http nor https.")
    if "@" in parts.netloc:
        raise ForbiddenTargetError("A URL carries a user name; such URLs are not followed.")
    if not parts.hostname or port == 0 or "%" in parts.netloc:
        raise ForbiddenTargetError("A URL names no host.")
    origin = Origin(parts.scheme, normal_host(parts.hostname), port or _DEFAULT_PORTS[parts.scheme])
    query = f"?{parts.query}" if parts.query else ""
    return origin, f"{parts.path or '/'}{query}"


def _base(url: str) -> _Base:
    try:
        origin, target = _split(url)
    except ForbiddenTargetError as error:
        raise ConfigError(f"{url!r} is not a base URL. {error.message}") from error
    if "?" in target:
        raise ConfigError(f"{url!r} is not a base URL: it has a query.")
    return _Base(url.rstrip("/"), origin, target.rstrip("/"))


def _configured_host(host: str) -> str:
    try:
        return normal_host(host)
    except ForbiddenTargetError as error:
        raise ConfigError(f"{host!r} is not a host name. {error.message}") from error


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Read ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        raise ConfigError(f"{text!r} is not a host[:port].") from None
    if not parts.hostname or "@" in text or parts.path or parts.query or parts.fragment:
        raise ConfigError(f"{text!r} is not a host[:port].")
    return _configured_host(parts.hostname), port


def _pattern(text: str) -> _Pattern:
    scheme, separator, rest = text.strip().rpartition("://")
    if separator and scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"{text!r} is neither http nor https.")
    wildcard = rest.startswith("*.")
    host, port = _host_and_port(rest[2:] if wildcard else rest)
    # A bare host is the public web's; whoever names a port knows what listens there.
    spoken = {scheme} if separator else {"https"} if port is None else set(_DEFAULT_PORTS)
    return _Pattern(
        frozenset(spoken),
        host,
        f".{host}" if wildcard else "",
        port if port is not None else _DEFAULT_PORTS[scheme or "https"],
    )
