"""Certificates over real sockets, for both clients."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from mirror.errors import (
    UpstreamUnreachableError,
)
from mirror.upstream.contract import Timeouts
from tests.unit.upstream.conftest import Certificate, Upstream
from tests.unit.upstream.listener import (
    Listener,
    redirect,
    says,
)

Make = Callable[..., Upstream]
CANARY = "X-Amz-Signature=canary"


def test_ask_gives_up_on_a_handshake_that_hangs(make: Make) -> None:
    """A port that accepts and never speaks TLS is a time-out of connecting."""
    door = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{door.getsockname()[1]}"
    upstream = make(url, timeouts=Timeouts(connect=0.2))
    with pytest.raises(UpstreamUnreachableError, match="in time"):
        asyncio.run(upstream.ask())
    with pytest.raises(UpstreamUnreachableError, match="in time"):
        upstream.fetch(5)
    door.close()


@pytest.mark.parametrize(("name", "days"), [("DNS:other.example", 2), ("DNS:localhost", -1)])
def test_tls_refuses_wrong_and_expired_certificates(
    make: Make, certificates: Callable[..., Certificate], name: str, days: int
) -> None:
    """Another name, or a time that has passed: no request is sent, from either client."""
    certificate = certificates(name, days)
    with Listener(redirect("/"), tls=certificate.context) as hub:
        upstream = make(hub.named_url, authorities=certificate.file)
        with pytest.raises(UpstreamUnreachableError, match="certificate"):
            asyncio.run(upstream.ask())
        with pytest.raises(UpstreamUnreachableError, match="certificate"):
            upstream.fetch(5)
        assert hub.seen == []


def test_tls_believes_an_added_authority_and_no_stranger(
    make: Make, certificates: Callable[..., Certificate]
) -> None:
    """A site's own authority is added by name; without it, its certificate is a stranger's."""
    certificate = certificates()
    with Listener(says(200, b"ok"), tls=certificate.context) as hub:
        assert asyncio.run(make(hub.named_url, authorities=certificate.file).ask()).body == b"ok"
        with pytest.raises(UpstreamUnreachableError, match="certificate"):
            asyncio.run(make(hub.named_url).ask())
