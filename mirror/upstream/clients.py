"""The two clients of one mirror, which share what they learn of hosts."""

import ssl
from contextlib import AsyncExitStack

from mirror.clock import Clock
from mirror.events import Observer
from mirror.upstream.addresses import Addresses
from mirror.upstream.client import Client
from mirror.upstream.contract import Timeouts
from mirror.upstream.policy import Policy
from mirror.upstream.proxies import Proxies
from mirror.upstream.standing import Standing
from mirror.upstream.transfer import Transfers


async def open_clients(  # noqa: PLR0913 -- what both are made of
    stack: AsyncExitStack,
    policy: Policy,
    addresses: Addresses,
    *,
    trust: ssl.SSLContext,
    clock: Clock,
    observe: Observer,
    timeouts: Timeouts,
    proxies: Proxies,
) -> tuple[Client, Transfers]:
    """Open the client for documents and the one for blobs; *stack* closes them, and *addresses*."""
    stack.callback(addresses.close)
    standing = Standing(clock)
    client = Client(
        policy,
        addresses,
        trust=trust,
        clock=clock,
        observe=observe,
        standing=standing,
        timeouts=timeouts,
        proxies=proxies,
    )
    await client.open()
    stack.push_async_callback(client.close)
    transfers = Transfers(
        policy,
        addresses,
        trust=trust,
        clock=clock,
        standing=standing,
        timeouts=timeouts,
        proxies=proxies,
    )
    stack.callback(transfers.close)
    return client, transfers
