"""From a raw request target to a `RequestHead`, or to a refusal.

Everything hostile that a target can be is refused here, before anything looks at it: hub grammars then
read paths that have one meaning. The framework does not do it; it hands its handlers ``..``, NUL and
backslashes decoded, and takes the host of an absolute-form target for the request's own.

The path stays percent-encoded in the head: ``refs%2Fpr%2F1`` is one segment and must remain one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from mirror.credential import Credential
from mirror.errors import ConfigError, MalformedQuestionError, MethodRefusedError
from mirror.messages import RequestHead
from mirror.web.fields import Fields

MAX_TARGET: Final = 8192
MAX_SEGMENT: Final = 255
# Encoded again and again: two levels occur in the wild, more are an attack.
_MAX_LEVELS: Final = 4

# Reads, and the writes that hubs refuse in their own words. Other methods have no meaning to any hub.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
_ALLOWED: Final = ("GET", "HEAD", "POST", "OPTIONS")

# Nearly every path is plain, and one match says so; what does not match is looked at closely.
_PLAIN: Final = re.compile(
    r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.~!$&'()*+,;=:@-]{1,255})*/?\Z", re.ASCII
)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_RAW_REFUSED: Final = re.compile(r"[\x00-\x20\x7f\"#<>^`{|}\\]")
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    # A port is at most 65535; what is behind it in a number would be cut off by some and refused by others.
    r"(?::(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?\Z",
    re.ASCII,
)

_Network: TypeAlias = IPv4Network | IPv6Network


class Peer(Protocol):
    """Where a request came in."""

    @property
    def peer(self) -> str:
        """The address of the other end, empty if it has none."""
        ...

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        ...

    @property
    def local(self) -> str:
        """Our own end as host:port, for clients that send no Host."""
        ...


class Targets:
    """Reads request heads.

    *public_url* is the base of every URL handed out, `None` for the scheme and Host of each request;
    *trusted_proxies* are addresses or networks whose ``X-Forwarded-*`` is believed. Raises `ConfigError`
    when one of them is neither.
    """

    __slots__ = ("_public_url", "_trusted")

    def __init__(self, public_url: str | None, trusted_proxies: Sequence[str]) -> None:
        self._public_url = public_url
        self._trusted: list[_Network] = []
        for text in trusted_proxies:
            try:
                self._trusted.append(ip_network(text, strict=False))
            except ValueError as error:
                raise ConfigError(
                    f"The setting trusted_proxies names {text!r}, which is no address or network.",
                    hint="Write it like 10.0.0.5 or 10.0.0.0/8.",
                ) from error

    def read(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        peer: Peer,
        *,
        again: bool = False,
    ) -> RequestHead:
        """Read one request head.

        *target* is the raw request target, undecodable bytes as surrogates; *headers* are as they came.
        With *again* the answer may be given again to others, and it is noted which headers are asked for.
        Raises `MethodRefusedError` or `MalformedQuestionError`.
        """
        if method not in METHODS:
            raise MethodRefusedError(
                f"The method {method[:20]} has no meaning here.", allowed=_ALLOWED
            )
        # The asterisk-form asks about the server as a whole (RFC 9112 §3.2.4).
        path, query = ("/", "") if (method, target) == ("OPTIONS", "*") else split(target)
        fields: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            if key in fields:
                if key == "authorization":
                    raise MalformedQuestionError("The request has more than one Authorization.")
                fields[key] += f", {value}"
            else:
                fields[key] = value
        authorization = fields.pop("authorization", None)
        return RequestHead(
            method,
            path,
            query,
            Fields(fields) if again else fields,
            Credential(authorization) if authorization else None,
            self._base_url(fields, peer),
            again,
        )

    def trusts(self, address: str) -> bool:
        """Tell whether *address* is a front proxy of ours."""
        if not self._trusted:
            return False
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._trusted)

    def secure(self, headers: Mapping[str, str], peer: Peer) -> bool:
        """Tell whether a request came by TLS: to us, or to a proxy of ours that says so."""
        if peer.secure or not self._trusted:
            return peer.secure
        proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        return proto == "https" and self.trusts(peer.peer)

    def client(self, headers: Mapping[str, str], address: str) -> str:
        """Name the client for the log: the nearest address that is not a proxy of ours."""
        if not self._trusted:
            return address
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            if not self.trusts(address) or not hop.strip():
                break
            address = hop.strip()
        return address

    def _base_url(self, headers: Mapping[str, str], peer: Peer) -> str:
        if self._public_url is not None:
            return self._public_url
        scheme = "https" if peer.secure else "http"
        host = headers.get("host") or peer.local
        if self._trusted and self.trusts(peer.peer):
            # The last value is the one that our own proxy wrote; those before it may be the client's.
            proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
            scheme = proto if proto in {"http", "https"} else scheme
            host = headers.get("x-forwarded-host", "").rpartition(",")[2].strip() or host
        if _HOST.match(host) is None:
            raise MalformedQuestionError("The request's Host is not a host name with a port.")
        return f"{scheme}://{host}"


def split(target: str) -> tuple[str, str]:
    """Split a raw request target into its path and query; raises `MalformedQuestionError`."""
    if len(target) > MAX_TARGET:
        raise MalformedQuestionError(f"The request target is longer than {MAX_TARGET} bytes.")
    path, _, query = target.partition("?")
    if _PLAIN.match(path) is None or not path:
        path = _close_look(path)
    if query and (not query.isascii() or _CONTROL.search(query)):
        raise MalformedQuestionError("The query holds characters that must be percent-encoded.")
    return path, query


def _close_look(path: str) -> str:
    """Refuse a path that has, or could be given, a second meaning; return it fully percent-encoded."""
    if not path.startswith("/"):
        raise MalformedQuestionError(
            "The request target must be a path that begins with a slash.",
            hint="The mirror is no forward proxy; set HF_ENDPOINT to its address instead.",
        )
    if _RAW_REFUSED.search(path):
        raise MalformedQuestionError("The path holds characters that must be percent-encoded.")
    if not path.isascii():
        try:
            path = quote(path.encode("utf-8"), safe="/%!$&'()*+,;=:@~[]")
        except UnicodeEncodeError:
            raise MalformedQuestionError("The path is not UTF-8.") from None
    if _BAD_ESCAPE.search(path):
        raise MalformedQuestionError("The path has a % that is not followed by two hex digits.")
    text, trailing = path, path.endswith("/")
    for _ in range(_MAX_LEVELS):
        try:
            decoded = unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedQuestionError("The path is not UTF-8.") from None
        _judge(decoded, trailing=trailing)
        if decoded == text:
            return path
        text = decoded
    raise MalformedQuestionError("The path is percent-encoded over and over.")


def _judge(decoded: str, *, trailing: bool) -> None:
    if _CONTROL.search(decoded):
        raise MalformedQuestionError("The path holds control characters.")
    if "\\" in decoded:
        raise MalformedQuestionError("The path holds a backslash.")
    pieces = decoded.split("/")[1:]
    if pieces[-1] == "" and trailing:
        pieces.pop()
    for piece in pieces:
        if piece in {"", ".", ".."}:
            raise MalformedQuestionError("The path has an empty, '.' or '..' segment.")
        if len(piece) > MAX_SEGMENT or len(piece.encode()) > MAX_SEGMENT:
            raise MalformedQuestionError(f"The path has a segment longer than {MAX_SEGMENT} bytes.")
