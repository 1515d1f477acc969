"""The way out, from settings: the two clients that ask upstream, and nothing else does."""

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from ssl import SSLContext
from typing import Final

from mirror.clock import Clock
from mirror.config import Settings
from mirror.events import Observer
from mirror.parts import policy_of, proxies_of
from mirror.upstream.addresses import Addresses
from mirror.upstream.client import Client
from mirror.upstream.clients import open_clients
from mirror.upstream.contract import Timeouts
from mirror.upstream.transfer import Transfers

# Seconds for a connection to upstream: one lost SYN is repeated after one, and clients that wait for the
# answer give up after 10. What cannot be connected to is told within 4 s.
CONNECT: Final = 3.0

_LOG: Final = logging.getLogger("modelmirror")


async def way_out(
    stack: AsyncExitStack,
    settings: Settings,
    clock: Clock,
    trust: Callable[[], SSLContext],
    observe: Observer,
) -> tuple[Client, Transfers]:
    """Open the clients for metadata and for content; they are closed with *stack*.

    *trust* waits for what `mirror.upstream.trust` made of the settings, and raises what that raised.
    """
    policy, proxies = policy_of(settings), proxies_of(settings)
    if str(proxies) and not settings.offline:
        _LOG.info("Upstream is asked through %s.", proxies)
    addresses = Addresses(lambda host: policy.named(host) or proxies.named(host), clock)
    return await open_clients(
        stack,
        policy,
        addresses,
        trust=trust(),
        clock=clock,
        observe=observe,
        timeouts=Timeouts(connect=CONNECT),
        proxies=proxies,
    )
