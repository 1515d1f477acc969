"""What the tests of the upstream package share: the objects as the wiring makes them, and certificates."""

import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mirror.clock import SystemClock
from mirror.credential import Credential
from mirror.events import Asked, Event
from mirror.messages import Response, UpstreamRequest
from mirror.upstream.addresses import Addresses, Lookup, system_lookup
from mirror.upstream.client import Client
from mirror.upstream.contract import Timeouts, TransferHead
from mirror.upstream.policy import Policy
from mirror.upstream.proxies import Proxies
from mirror.upstream.stopping import StopToken
from mirror.upstream.transfer import Transfers
from mirror.upstream.trust import tls_context

HUB = "huggingface"
TOKEN = Credential("Bearer hf_canaryTokenOfAlice")


@dataclass
class Got:
    """What a transfer handed over."""

    data: bytearray = field(default_factory=bytearray)
    heads: list[TransferHead] = field(default_factory=list)


class Upstream:
    """The package put together for one test."""

    def __init__(
        self,
        *bases: str,
        hosts: Mapping[str, str] | None = None,
        redirect_hosts: tuple[str, ...] = (),
        timeouts: Timeouts | None = None,
        authorities: Path | None = None,
        lookup: Lookup = system_lookup,
        proxies: Proxies | None = None,
    ) -> None:
        clock = SystemClock()
        proxies = proxies or Proxies()
        self.policy = Policy({HUB: bases}, hosts, redirect_hosts)
        self.addresses = Addresses(
            lambda host: self.policy.named(host) or proxies.named(host), clock, lookup=lookup
        )
        trust = tls_context(authorities)
        self.events: list[Event] = []
        self.client = Client(
            self.policy,
            self.addresses,
            trust=trust,
            clock=clock,
            observe=self.events.append,
            timeouts=timeouts,
            proxies=proxies,
        )
        self.transfers = Transfers(
            self.policy,
            self.addresses,
            trust=trust,
            clock=clock,
            timeouts=timeouts,
            proxies=proxies,
        )

    async def ask(
        self,
        target: str = "/api/models/x",
        *,
        method: str = "GET",
        body: bytes = b"",
        credential: Credential | None = TOKEN,
        limit: int = 1 << 20,
        follow_redirects: bool = True,
    ) -> Response:
        """Ask once with a client of its own."""
        await self.client.open()
        try:
            return await self.client.ask(
                HUB,
                UpstreamRequest(method, target, (), body),
                credential,
                limit=limit,
                follow_redirects=follow_redirects,
            )
        finally:
            await self.client.close()

    def fetch(
        self,
        size: int,
        got: Got | None = None,
        *,
        target: str = "/x/resolve/main/f",
        offset: int = 0,
        end: int | None = None,
        validator: str | None = None,
        stop: StopToken | None = None,
    ) -> Got:
        """Fetch a blob, or a part of it, into memory."""
        got = Got() if got is None else got
        self.transfers.fetch(
            HUB,
            UpstreamRequest("GET", target),
            TOKEN,
            offset=offset,
            size=size,
            validator=validator,
            sink=got.data.extend,
            head=got.heads.append,
            stop=stop or StopToken(),
            end=end,
        )
        return got

    @property
    def asked(self) -> list[Asked]:
        """The requests that were reported."""
        return [event for event in self.events if isinstance(event, Asked)]

    def close(self) -> None:
        """Close what is open."""
        self.transfers.close()
        self.addresses.close()


@pytest.fixture
def make() -> Iterator[Callable[..., Upstream]]:
    """Make an `Upstream` that is closed after the test."""
    made: list[Upstream] = []

    def build(*bases: str, **settings: object) -> Upstream:
        made.append(Upstream(*bases, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for item in made:
        item.close()


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate: the file, and the server's context that shows it."""

    file: Path
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Certificate]:
    """Make a certificate for a name, valid for some days (negative: expired)."""
    folder = tmp_path_factory.mktemp("certificates")
    made: dict[tuple[str, int], Certificate] = {}

    def build(name: str = "DNS:localhost", days: int = 2) -> Certificate:
        if (name, days) not in made:
            key, file = folder / f"{len(made)}.key", folder / f"{len(made)}.pem"
            subprocess.run(
                [
                    *("openssl", "req", "-x509", "-newkey", "ec"),
                    *("-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
                    *("-keyout", str(key), "-out", str(file)),
                    *("-subj", "/CN=test", "-addext", f"subjectAltName={name}"),
                ],
                check=True,
                capture_output=True,
            )
            if days < 0:  # Only signing anew takes a negative number.
                subprocess.run(
                    [
                        *("openssl", "x509", "-in", str(file), "-signkey", str(key)),
                        *("-days", str(days), "-out", str(file)),
                    ],
                    check=True,
                    capture_output=True,
                )
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file, key)
            made[name, days] = Certificate(file, context)
        return made[name, days]

    return build
