"""Saying so when a token comes over the network in the clear, where everybody on the way can read it.

Once per address, and for so many addresses: a warning on each request would bury the log, and whoever can
make up addresses must not fill memory with them.
"""

import logging
from ipaddress import IPv6Address, ip_address
from typing import Final

MOST: Final = 256

_log: Final = logging.getLogger("mirror.web")


class PlainTokens:
    """Warns of callers who sent a credential over plain HTTP from beyond this machine."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: set[str] = set()

    def came_from(self, address: str) -> None:
        """Note that a credential came in the clear from *address*, which may be anything."""
        if address in self._said or len(self._said) > MOST:
            return
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return  # A caller without an address is on this machine.
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if parsed.is_loopback:
            return
        self._said.add(address)
        if len(self._said) > MOST:
            _log.warning(
                "Tokens came over plain HTTP from more than %d addresses; no more are named.", MOST
            )
            return
        _log.warning(
            "A token from %s came over plain HTTP: everybody on the way can read it. Serve HTTPS with "
            "--tls-cert and --tls-key; where a server in front does, name it in trusted_proxies.",
            parsed,
        )
