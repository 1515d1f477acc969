"""Which addresses may be dialled, and that what was checked is what is dialled."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from mirror.clock import FixedClock
from mirror.errors import ForbiddenTargetError, UpstreamUnreachableError
from mirror.upstream import addresses as subject
from mirror.upstream.addresses import CAPACITY, LIFETIME, Addresses, CheckedResolver, is_public
from mirror.upstream.failures import StoppedError
from mirror.upstream.stopping import StopToken
from tests.unit.upstream.conftest import Upstream
from tests.unit.upstream.listener import Listener, ranged, redirect

Make = Callable[..., Upstream]


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.168.1.1", "198.18.0.1", "224.0.0.1",
        "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
        "::127.0.0.1", "fe80::1", "fe80::1%eth0", "2600::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "2001::1", "2001:db8::1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "", "localhost",
    ],
)  # fmt: skip
def test_is_public_refuses(text: str) -> None:
    """Loopback, private, link-local, shared, mapped, translated, multicast, reserved, and no address."""
    assert not is_public(text)


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8",
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "2600:9000::1",
        "2a00::1",
        "64:ff9b::808:808",
    ],
)
def test_is_public_allows(text: str) -> None:
    """Global unicast, by NAT64 too."""
    assert is_public(text)


def _addresses(
    *answers: Sequence[str], named: bool = False
) -> tuple[Addresses, list[str], FixedClock]:
    """Addresses whose look-ups give *answers* one after another, the last one for ever."""
    clock, looked_up = FixedClock(), []
    left = list(answers)

    def lookup(host: str) -> Sequence[str]:
        looked_up.append(host)
        return left.pop(0) if len(left) > 1 else left[0]

    return Addresses(lambda _: named, clock, lookup=lookup), looked_up, clock


def test_resolve_refuses_a_host_with_one_private_address_among_public_ones() -> None:
    """One bad address spoils the answer: dialling might pick it."""
    addresses, _, _ = _addresses(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(ForbiddenTargetError, match=r"10\.0\.0\.1"):
        addresses.resolve("a.example", StopToken())
    addresses.close()


def test_resolve_lets_a_named_host_be_private() -> None:
    """The operator's word opens the operator's network."""
    addresses, _, _ = _addresses(["10.0.0.1", "fd00::1"], named=True)
    assert [item.host for item in addresses.resolve("a.corp", StopToken())] == [
        "10.0.0.1",
        "fd00::1",
    ]
    addresses.close()


def test_resolve_checks_every_answer_of_a_flip_flop_name() -> None:
    """A name that was public a moment ago is checked again when it is looked up again."""
    addresses, looked_up, clock = _addresses(["8.8.8.8"], ["127.0.0.1"])
    assert addresses.resolve("a.example", StopToken())[0].host == "8.8.8.8"
    assert addresses.resolve("a.example", StopToken())[0].host == "8.8.8.8"
    assert looked_up == ["a.example"]
    clock.advance(LIFETIME)
    with pytest.raises(ForbiddenTargetError):
        addresses.resolve("a.example", StopToken())
    addresses.close()


def test_resolve_does_not_remember_failures() -> None:
    """A name server that comes back is noticed at once."""
    fails = [True]

    def lookup(_: str) -> Sequence[str]:
        if fails:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return ["8.8.8.8"]

    addresses = Addresses(lambda _: False, FixedClock(), lookup=lookup)
    with pytest.raises(socket.gaierror):
        addresses.resolve("a.example", StopToken())
    fails.clear()
    assert addresses.resolve("a.example", StopToken())[0].host == "8.8.8.8"
    addresses.close()


def test_resolve_memory_is_bounded() -> None:
    """Redirects to ever new names do not grow the cache."""
    addresses, looked_up, _ = _addresses(["8.8.8.8"])
    for number in range(CAPACITY + 50):
        addresses.resolve(f"{number}.example", StopToken())
    assert len(addresses._known) == CAPACITY
    addresses.resolve(f"{CAPACITY + 49}.example", StopToken())
    assert len(looked_up) == CAPACITY + 50
    addresses.close()


def test_resolve_shares_one_look_up() -> None:
    """Sixteen threads that want one name ask for it once."""
    asked, go = [], threading.Event()

    def lookup(host: str) -> Sequence[str]:
        asked.append(host)
        go.wait(10)
        return ["8.8.8.8"]

    addresses = Addresses(lambda _: False, FixedClock(), lookup=lookup)
    with ThreadPoolExecutor(16) as threads:
        waiting = [threads.submit(addresses.resolve, "a.example", StopToken()) for _ in range(16)]
        go.set()
        assert {item.result(10)[0].host for item in waiting} == {"8.8.8.8"}
    assert asked == ["a.example"]
    addresses.close()


def test_resolve_is_woken_by_a_stop() -> None:
    """A dead name server does not hold a stop up."""
    asked, go = threading.Event(), threading.Event()

    def lookup(_: str) -> Sequence[str]:
        asked.set()
        go.wait(10)
        return ["8.8.8.8"]

    addresses, stop = Addresses(lambda _: False, FixedClock(), lookup=lookup), StopToken()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(addresses.resolve, "a.example", stop)
        assert asked.wait(10)
        stop.set()
        with pytest.raises(StoppedError):
            waiting.result(5)
        go.set()
    addresses.close()


def test_resolve_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that hangs ends as a time-out, in threads and in coroutines."""
    monkeypatch.setattr(subject, "LOOKUP_TIMEOUT", 0.05)
    go = threading.Event()

    def lookup(_: str) -> Sequence[str]:
        go.wait(10)
        return ["8.8.8.8"]

    addresses = Addresses(lambda _: False, FixedClock(), lookup=lookup)
    with pytest.raises(TimeoutError):
        addresses.resolve("a.example", StopToken())
    with pytest.raises(TimeoutError):
        asyncio.run(addresses.resolve_async("a.example"))
    go.set()
    addresses.close()


def test_resolve_after_close_is_a_socket_error() -> None:
    """What still runs while the mirror ends gets an error that its caller knows."""
    addresses, _, _ = _addresses(["8.8.8.8"])
    addresses.close()
    with pytest.raises(ConnectionAbortedError):
        addresses.resolve("a.example", StopToken())


def test_resolver_hands_aiohttp_only_checked_addresses() -> None:
    """The asynchronous client dials what was checked, of the family it asks for."""

    async def run() -> None:
        addresses, _, _ = _addresses(["8.8.8.8", "2600::1"], ["127.0.0.1"])
        resolver = CheckedResolver(addresses)
        both = await resolver.resolve("a.example", 443)
        assert [(item["host"], item["port"]) for item in both] == [
            ("8.8.8.8", 443),
            ("2600::1", 443),
        ]
        only = await resolver.resolve("a.example", 443, socket.AF_INET6)
        assert [item["host"] for item in only] == ["2600::1"]
        with pytest.raises(ForbiddenTargetError):
            await resolver.resolve("b.example", 443)
        await resolver.close()
        addresses.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0"]
)
def test_literal_addresses_are_checked(host: str) -> None:
    """A host that is an address never meets a resolver, so it is checked by itself."""
    addresses, looked_up, _ = _addresses(["8.8.8.8"])
    with pytest.raises(ForbiddenTargetError):
        addresses.literal(host)
    with pytest.raises(ForbiddenTargetError):
        addresses.resolve(host, StopToken())
    assert looked_up == []
    addresses.close()


@pytest.mark.parametrize("answer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_listed_cdn_that_resolves_inward_is_not_dialled(make: Make, answer: str) -> None:
    """DNS that leads a built-in CDN name to loopback gets no connection, from either client."""
    with Listener(ranged(b"inside")) as inside, Listener(redirect("https://cdn.hf.co/a")) as hub:
        inward = [answer] if answer != "127.0.0.1" else ["8.8.8.8", answer]
        upstream = make(
            hub.named_url,
            lookup=lambda host: ["127.0.0.1"] if host == "localhost" else inward,
        )
        with pytest.raises(ForbiddenTargetError):
            upstream.fetch(6)
        with pytest.raises(ForbiddenTargetError):
            asyncio.run(upstream.ask())
        assert inside.connections == 0


def test_the_dialled_address_is_the_checked_one(make: Make) -> None:
    """A second look-up at dial time would get another answer; there is none."""
    with Listener(ranged(b"hello")) as hub:
        asked: list[str] = []

        def lookup(host: str) -> Sequence[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

        upstream = make(f"http://name.example:{hub.port}", lookup=lookup)
        assert upstream.fetch(5).data == b"hello"
        assert asyncio.run(upstream.ask()).body == b"hello"
        assert asked == ["name.example"]


def test_a_name_without_an_address_is_unreachable(make: Make) -> None:
    """NXDOMAIN is upstream being unreachable, said in words, from either client."""

    def lookup(_: str) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    upstream = make("http://nowhere.example", lookup=lookup)
    with pytest.raises(UpstreamUnreachableError, match="looked up"):
        upstream.fetch(5)
    with pytest.raises(UpstreamUnreachableError, match="looked up"):
        asyncio.run(upstream.ask())
