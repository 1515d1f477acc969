"""From a host name to addresses that may be dialled.

A name in a redirect is upstream's word, and a name server may answer it with an address inside the
operator's network (SSRF), or with a public one first and a private one a moment later (rebinding). So
every address is checked, and what was checked is what is dialled: both clients get their addresses here
and never look a name up themselves.
"""

import asyncio
import errno
import ipaddress
import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from mirror.clock import Clock
from mirror.errors import ForbiddenTargetError
from mirror.upstream.stopping import StopToken

# IANA's special-purpose registries (RFC 6890 and successors), spelled out because the `ipaddress` module
# changed its mind between patch releases of Python (gh-113171).
_REFUSED_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
# Only 2000::/3 is global unicast; in it, Teredo, 6to4 and documentation lead elsewhere or nowhere.
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
# A network that reaches IPv4 by NAT64 (RFC 6052) gets every IPv4-only host in this form.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

# A name is believed this long: short enough to follow a CDN, long enough for the files of one snapshot.
LIFETIME: Final = 30.0
CAPACITY: Final = 256
LOOKUP_TIMEOUT: Final = 10.0
# Look-ups have threads of their own: a dead name server must not hold up those that write blobs.
_LOOKUP_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Address:
    """One checked address: *family* is ``AF_INET`` or ``AF_INET6``, *host* its canonical text."""

    family: int
    host: str


Lookup: TypeAlias = Callable[[str], Sequence[str]]


def system_lookup(host: str) -> Sequence[str]:
    """Ask the system's resolver for the addresses of *host*, best first; raises ``socket.gaierror``."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def is_public(text: str) -> bool:
    """Whether an address (canonical text) is global unicast, so that a stranger's word may lead to it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address.scope_id:
        return False
    if address in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


class Addresses:
    """Checked addresses of hosts, for threads and for coroutines, with a small cache.

    *named* tells whether the operator named a host (normalised), which then may have any address.
    *lookup* turns a name into addresses and may block; it runs in threads of its own. Call `close` at
    the end. Callers that ask for one name at once share one look-up; failures are not remembered.
    """

    def __init__(
        self, named: Callable[[str], bool], clock: Clock, *, lookup: Lookup = system_lookup
    ) -> None:
        self._named = named
        self._clock = clock
        self._lookup = lookup
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, Future[tuple[Address, ...]]]] = OrderedDict()
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookup")
        self._closed = False

    def close(self) -> None:
        """Give up waiting look-ups; one that blocks in the system's resolver ends by itself."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def literal(self, host: str) -> tuple[Address, ...] | None:
        """The address that *host* is, checked; `None` if it is a name.

        Raises `ForbiddenTargetError` for an address that may not be dialled.
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return None
        return self._checked(host, [host])

    def resolve(self, host: str, stop: StopToken) -> tuple[Address, ...]:
        """Look *host* up, blocking for at most 10 s or until *stop*.

        Raises `ForbiddenTargetError` if any of its addresses may not be dialled, ``socket.gaierror``
        or ``TimeoutError`` if there are none, `StoppedError`.
        """
        known = self.literal(host)
        if known is not None:
            return known
        future = self._begin(host)
        woken = threading.Event()
        future.add_done_callback(lambda _: woken.set())
        with stop.cutting(woken.set):
            in_time = woken.wait(LOOKUP_TIMEOUT)
        stop.check()
        if not in_time:
            raise TimeoutError
        if future.cancelled():
            raise ConnectionAbortedError
        return future.result()

    async def resolve_async(self, host: str) -> tuple[Address, ...]:
        """Look *host* up without blocking the loop; raises as `resolve` does."""
        known = self.literal(host)
        if known is not None:
            return known
        future = asyncio.wrap_future(self._begin(host))
        async with asyncio.timeout(LOOKUP_TIMEOUT):
            # Shielded: one caller's cancellation must not take the look-up from those that share it.
            return await asyncio.shield(future)

    def _begin(self, host: str) -> "Future[tuple[Address, ...]]":
        now = self._clock.monotonic()
        with self._lock:
            known = self._known.get(host)
            if known is not None and now < known[0]:
                self._known.move_to_end(host)
                return known[1]
            try:
                future = self._threads.submit(self._look_up, host)
            except RuntimeError:
                if self._closed:
                    raise ConnectionAbortedError from None
                # No memory for a thread; what was queued is done by the next one that starts.
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
            self._known[host] = (now + LIFETIME, future)
            self._known.move_to_end(host)
            while len(self._known) > CAPACITY:
                self._known.popitem(last=False)
        future.add_done_callback(lambda done: self._forget_failure(host, done))
        return future

    def _forget_failure(self, host: str, future: "Future[tuple[Address, ...]]") -> None:
        if future.cancelled() or future.exception() is not None:
            with self._lock:
                known = self._known.get(host)
                if known is not None and known[1] is future:
                    del self._known[host]

    def _look_up(self, host: str) -> tuple[Address, ...]:
        return self._checked(host, self._lookup(host))

    def _checked(self, host: str, found: Sequence[str]) -> tuple[Address, ...]:
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if not self._named(host):
            # One bad address spoils them all: an honest public host has none.
            for text in found:
                if not is_public(text):
                    raise ForbiddenTargetError(
                        f"{host} has the address {text}, which is not public; it is not asked.",
                        hint="If it is yours, name the host in upstream.redirect_hosts "
                        "(MODELMIRROR_REDIRECT_HOSTS).",
                    )
        return tuple(
            Address(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in found
        )


class CheckedResolver(AbstractResolver):
    """`Addresses` in the form aiohttp asks for; its own cache must be off.

    aiohttp does not ask a resolver about a host that is an address: the client checks those itself.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look *host* up; only addresses of *family* are returned unless it is unspecified."""
        found = await self._addresses.resolve_async(host)
        return [
            ResolveResult(
                hostname=host,
                host=item.host,
                port=port,
                family=item.family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for item in found
            if family in (socket.AF_UNSPEC, item.family)
        ]

    async def close(self) -> None:
        """Nothing of its own to close."""
