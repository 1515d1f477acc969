"""Whose certificates are believed: one TLS context for everything that goes upstream.

There is no switch that turns verification off. A site with its own certificate authority adds it.
"""

import ssl
from pathlib import Path

from mirror.errors import ConfigError


def tls_context(authorities: Path | None = None) -> ssl.SSLContext:
    """Make the context: TLS 1.2 or newer, host names checked, the system's authorities trusted.

    *authorities* is a PEM file with certificate authorities to trust as well. Raises `ConfigError` if
    it cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except OSError as error:
            reason = error.strerror or "not a PEM file"
            raise ConfigError(
                f"The certificate authorities in {authorities} cannot be used: {reason}."
            ) from error
    return context
