"""The certificate that the door shows: loaded, tried, and loaded again when its files change.

Each handshake looks at the two files, for a few microseconds beside the millisecond it takes. What has
changed is loaded into a context of its own and shown from that handshake on; connections that are open
keep the one they began with. A pair that cannot be used leaves the one before in force, and is named in
the log once.
"""

import logging
import ssl
from pathlib import Path
from typing import Any, Final, TypeAlias

from mirror.clock import Clock
from mirror.errors import ConfigError

# Seconds for a handshake. Clients on bad lines take two; who takes longer only holds a connection.
HANDSHAKE: Final = 15.0
# Renewals come 30 days before the end and more; with this many days left, nothing is renewing it.
SOON: Final = 14
# How often a certificate that does not change is looked at again, in seconds.
CHECK_EVERY: Final = 86_400.0

_DAY: Final = 86_400.0
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_Stamp: TypeAlias = tuple[tuple[int, int, int], ...]

_log: Final = logging.getLogger("mirror.web")


class ServingTls:
    """A certificate and its key as files, and the context that always shows what is in them.

    *certificate* is a PEM file with the certificate first and the chain after it, *key* the PEM file of
    its key, without a pass phrase. Raises `ConfigError` for a pair that cannot be used; one that has
    expired is used, with a warning.
    """

    def __init__(self, certificate: Path, key: Path, clock: Clock) -> None:
        self._files = (certificate, key)
        self._clock = clock
        self._stamp = self._look()
        self._shown = load(certificate, key)
        self._warn()
        # Every connection begins with this one; the callback puts the one to be shown in its place.
        self.context = _context()
        self.context.sni_callback = self._show

    def _show(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            self._load_again()
        elif self._clock.monotonic() - self._checked >= CHECK_EVERY:
            self._warn()
        connection.context = self._shown

    def _load_again(self) -> None:
        try:
            self._shown = load(*self._files)
        except ConfigError as error:
            _log.warning("The certificate was not changed, the one before is shown: %s", error)
            return
        _log.info("The certificate in %s was loaded anew.", self._files[0])
        self._warn()

    def _look(self) -> _Stamp | None:
        """What tells one state of the files from another; `None` while one of them is not there."""
        try:
            seen = [file.stat() for file in self._files]
        except OSError:
            return None
        return tuple((item.st_ino, item.st_size, item.st_mtime_ns) for item in seen)

    def _warn(self) -> None:
        self._checked = self._clock.monotonic()
        trouble = doubts(self._shown, self._files[0], self._clock)
        if trouble:
            _log.warning("%s", trouble)


def load(certificate: Path, key: Path) -> ssl.SSLContext:
    """Make a context that shows *certificate*; raises `ConfigError` that names the file at fault."""
    for file, what in ((certificate, "certificate"), (key, "key")):
        try:
            text = file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"The TLS {what} {file} cannot be read: {error.strerror}.",
                hint="--tls-cert and --tls-key name the two PEM files.",
            ) from error
        if b"-----BEGIN " not in text or (
            what == "certificate" and b" CERTIFICATE-----" not in text
        ):
            raise ConfigError(f"The TLS {what} {file} is not a PEM file with a {what}.")
    context = _context()
    try:
        context.load_cert_chain(certificate, key, password=_no_password(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"The key in {key} does not belong to the certificate in {certificate}.",
                hint="The server's own certificate must stand first in its file, its chain after it.",
            ) from None
        reason = (error.reason or "no reason given").lower().replace("_", " ")
        raise ConfigError(
            f"The TLS certificate {certificate} with the key {key} cannot be used: {reason}."
        ) from None
    return context


def doubts(context: ssl.SSLContext, certificate: Path, clock: Clock) -> str:
    """What clients will not like about the certificate that *context* shows; empty for nothing.

    A client in memory that trusts just this certificate shakes hands with it.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(certificate)
        seen = _handshake(client, context)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            return (
                f"The TLS certificate in {certificate} has expired; clients will refuse it. Renew it: "
                "the new one is shown as soon as it is there."
            )
        return f"Clients will refuse the TLS certificate in {certificate}: {error.verify_message}."
    except OSError as error:
        return f"The TLS certificate in {certificate} could not be tried: {error.strerror}."
    left = (ssl.cert_time_to_seconds(str(seen["notAfter"])) - clock.wall()) / _DAY
    if left >= SOON:
        return ""
    return f"The TLS certificate in {certificate} expires in {max(0, int(left))} days."


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password(key: Path) -> Any:
    """Refuse where OpenSSL would ask the terminal."""

    def refuse() -> str:
        raise ConfigError(
            f"The TLS key {key} has a pass phrase, which nobody is there to type.",
            hint="Write it without one: openssl pkey -in KEY -out NEW-KEY",
        )

    return refuse


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, Any]:
    """Let the two shake hands in memory; the certificate as the client saw it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(10):  # Three turns do; what takes more will not end.
        waiting = False
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True
        if not waiting:
            break
    return dict(ends[0].getpeercert() or {})
