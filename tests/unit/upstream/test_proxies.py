"""Which proxy is used for whom, and both clients through a real one."""

import asyncio
import base64
from collections.abc import Callable, Iterator

import pytest

from mirror.errors import ConfigError, ForbiddenTargetError, UpstreamUnreachableError
from mirror.upstream.contract import Timeouts
from mirror.upstream.policy import Origin
from mirror.upstream.proxies import Proxies
from tests.doubles.forward_proxy import ForwardProxy
from tests.unit.upstream.conftest import Certificate, Upstream
from tests.unit.upstream.listener import Listener, ranged, redirect, says

Make = Callable[..., Upstream]
BODY = bytes(range(256)) * 64
CANARY = "canary-of-the-proxy"
BASIC = "Basic " + base64.b64encode(f"us er:{CANARY}:x".encode()).decode()


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    """A proxy that leads nowhere yet."""
    with ForwardProxy({}) as running:
        yield running


def _origin(url: str) -> Origin:
    scheme, _, rest = url.partition("://")
    host, _, port = rest.partition(":")
    return Origin(scheme, host, int(port or {"http": 80, "https": 443}[scheme]))


@pytest.mark.parametrize(
    ("no", "url", "used"),
    [
        ("", "https://hub.example", True),
        ("", "http://hub.example", False),  # there is no proxy for that scheme
        ("*", "https://hub.example", False),
        ("example", "https://hub.example", False),
        ("hub.example", "https://hub.example", False),
        ("HUB.example", "https://hub.example", False),
        ("hub.example", "https://cdn.hub.example", False),
        ("hub.example", "https://xhub.example", True),
        (".hub.example", "https://cdn.hub.example", False),
        (".hub.example", "https://hub.example", False),
        ("*.hub.example", "https://cdn.hub.example", False),
        ("hub.example:443", "https://hub.example", False),
        ("hub.example:8443", "https://hub.example", True),
        ("hub.example:8443", "https://hub.example:8443", False),
        ("10.0.0.0/8", "https://10.1.2.3", False),
        ("10.0.0.0/8", "https://11.1.2.3", True),
        ("10.0.0.0/8", "https://hub.example", True),
        ("10.1.2.3", "https://10.1.2.3", False),
        (" , ,hub.example ", "https://hub.example", False),
        (".", "https://hub.example", True),
        ("hub.example:", "https://hub.example", True),
        ("", "https://localhost", False),
        ("", "https://127.0.0.1:8443", False),
    ],
)
def test_who_is_asked_through_it(no: str, url: str, *, used: bool) -> None:
    """NO_PROXY is read as curl reads it, and this machine never needs a proxy."""
    proxies = Proxies("http://proxy.example:3128", "", no.split(","))
    assert (proxies.of(_origin(url)) is not None) is used


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://proxy.example:3128", "proxy.example:3128"),
        ("proxy.example:3128", "proxy.example:3128"),
        ("http://proxy.example/", "proxy.example"),
        (f"http://us%20er:{CANARY}%3Ax@10.0.0.1:3128", "10.0.0.1:3128"),
    ],
)
def test_a_proxy_is_read(url: str, authority: str) -> None:
    """With and without scheme, port and password; the password is not in its words."""
    proxies = Proxies(url)
    found = proxies.of(_origin("https://hub.example"))
    assert found is not None
    assert str(found) == authority
    assert found.authorization == (BASIC if CANARY in url else None)
    assert CANARY not in f"{proxies} {found} {found!r}"


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{CANARY}@proxy.example",
        f"socks5://user:{CANARY}@proxy.example",
        f"http://user:{CANARY}@",
        f"http://user:{CANARY}@proxy.example:port",
        f"http://user:{CANARY}@proxy.example/path",
        f"http://user:{CANARY}@pro xy",
        f"http://a%3Ab:{CANARY}@proxy.example",
    ],
)
def test_what_is_no_proxy_is_refused_without_repeating_it(url: str) -> None:
    """The sentence names the setting and not its value."""
    with pytest.raises(ConfigError, match=r"upstream\.https_proxy") as caught:
        Proxies(url)
    assert CANARY not in str(caught.value)


def test_https_goes_through_connect_and_is_verified(
    make: Make, proxy: ForwardProxy, certificates: Callable[..., Certificate]
) -> None:
    """Both clients ask for the name, check the certificate for it inside, and keep the connection."""
    certificate = certificates("DNS:hub.example")
    proxy.wants = BASIC
    with Listener(ranged(BODY), tls=certificate.context) as hub:
        proxy.routes["hub.example:443"] = ("127.0.0.1", hub.port)
        upstream = make(
            "https://hub.example",
            authorities=certificate.file,
            proxies=Proxies(f"http://us%20er:{CANARY}%3Ax@127.0.0.1:{proxy.port}"),
            lookup=_unknown,
        )
        assert asyncio.run(upstream.ask()).body == BODY
        assert upstream.fetch(len(BODY)).data == BODY
        assert upstream.fetch(len(BODY)).data == BODY

        assert proxy.lines == ["CONNECT hub.example:443 HTTP/1.1"] * 2
        assert not any("authorization: bearer" in head.lower() for head in proxy.heads)
        assert all("proxy-authorization" not in seen.headers for seen in hub.seen)
        assert hub.seen[0].headers["authorization"] == "Bearer hf_canaryTokenOfAlice"


def test_a_certificate_of_another_is_refused_behind_the_proxy_too(
    make: Make, proxy: ForwardProxy, certificates: Callable[..., Certificate]
) -> None:
    """What the proxy leads to must be who was asked for."""
    certificate = certificates("DNS:other.example")
    with Listener(says(200, b"ok"), tls=certificate.context) as hub:
        proxy.routes["hub.example:443"] = ("127.0.0.1", hub.port)
        upstream = make(
            "https://hub.example", authorities=certificate.file, proxies=Proxies(proxy.url)
        )
        with pytest.raises(UpstreamUnreachableError, match="certificate"):
            asyncio.run(upstream.ask())
        with pytest.raises(UpstreamUnreachableError, match="certificate"):
            upstream.fetch(5)
        assert hub.seen == []


def test_http_goes_in_absolute_form(make: Make, proxy: ForwardProxy) -> None:
    """A plain upstream is asked by its URL; what is for the proxy stays there."""
    proxy.wants = BASIC
    with Listener(says(200, b"bytes")) as hub:
        proxy.routes["hub.example:80"] = ("127.0.0.1", hub.port)
        through = f"http://us%20er:{CANARY}%3Ax@127.0.0.1:{proxy.port}"
        upstream = make("http://hub.example", proxies=Proxies("", through), lookup=_unknown)
        assert asyncio.run(upstream.ask("/api/x?a=%2F")).body == b"bytes"
        assert upstream.fetch(5, target="/file?a=%2F").data == b"bytes"

        assert proxy.lines == [
            "GET http://hub.example/api/x?a=%2F HTTP/1.1",
            "GET http://hub.example/file?a=%2F HTTP/1.1",
        ]
        assert [seen.headers["host"] for seen in hub.seen] == ["hub.example"] * 2


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_wrong_password_is_said_without_it(make: Make, proxy: ForwardProxy, scheme: str) -> None:
    """407 names the proxy and what to do, and counts as upstream that cannot be reached."""
    proxy.wants = "Basic somethingElse"
    through = f"http://user:{CANARY}@127.0.0.1:{proxy.port}"
    upstream = make(f"{scheme}://hub.example", proxies=Proxies(through, through))
    for ask in (lambda: asyncio.run(upstream.ask()), lambda: upstream.fetch(5)):
        with pytest.raises(UpstreamUnreachableError, match="407") as caught:
            ask()
        assert CANARY not in str(caught.value)
        if scheme == "https":
            assert f"through the proxy 127.0.0.1:{proxy.port}" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "words", "passing"), [(403, "answered 403", False), (503, "answered 503", True)]
)
def test_a_proxy_that_refuses_is_named(
    make: Make, proxy: ForwardProxy, status: int, words: str, *, passing: bool
) -> None:
    """What the proxy answers to CONNECT is its word and not upstream's."""
    proxy.status = status
    upstream = make("https://hub.example", proxies=Proxies(proxy.url))
    for ask in (lambda: asyncio.run(upstream.ask()), lambda: upstream.fetch(5)):
        with pytest.raises(UpstreamUnreachableError, match=f"the proxy {words}") as caught:
            ask()
        assert caught.value.passing is passing


def test_a_silent_and_a_missing_proxy_are_given_up(make: Make, proxy: ForwardProxy) -> None:
    """Nothing waits for a proxy without end."""
    proxy.silent = True
    timeouts = Timeouts(connect=0.1)
    upstream = make("https://hub.example", proxies=Proxies(proxy.url), timeouts=timeouts)
    for ask in (lambda: asyncio.run(upstream.ask()), lambda: upstream.fetch(5)):
        with pytest.raises(UpstreamUnreachableError, match="in time"):
            ask()
    with ForwardProxy({}) as gone:
        missing = gone.url
    upstream = make("https://hub.example", proxies=Proxies(missing))
    for ask in (lambda: asyncio.run(upstream.ask()), lambda: upstream.fetch(5)):
        with pytest.raises(UpstreamUnreachableError, match=r"through the proxy.*refused"):
            ask()


def test_redirects_keep_to_the_allow_list_behind_a_proxy(
    make: Make, proxy: ForwardProxy, certificates: Callable[..., Certificate]
) -> None:
    """The proxy is asked for allowed hosts alone, and never for a private address in a URL."""
    certificate = certificates("DNS:hub.example")
    for location in ("https://elsewhere.example/x", "https://10.0.0.1/x", "https://127.0.0.1/x"):
        with Listener(redirect(location), tls=certificate.context) as hub:
            proxy.heads.clear()
            proxy.routes["hub.example:443"] = ("127.0.0.1", hub.port)
            upstream = make(
                "https://hub.example", authorities=certificate.file, proxies=Proxies(proxy.url)
            )
            for ask in (lambda: asyncio.run(upstream.ask()), lambda: upstream.fetch(5)):  # noqa: B023
                with pytest.raises(ForbiddenTargetError):
                    ask()
            assert set(proxy.lines) == {"CONNECT hub.example:443 HTTP/1.1"}


def test_the_proxys_address_is_no_way_in_for_redirects(
    make: Make, proxy: ForwardProxy, certificates: Callable[..., Certificate]
) -> None:
    """That the operator named the proxy opens its address to dialling and not to redirects."""
    certificate = certificates("DNS:hub.example")
    with Listener(redirect(f"http://127.0.0.1:{proxy.port}/x"), tls=certificate.context) as hub:
        proxy.routes["hub.example:443"] = ("127.0.0.1", hub.port)
        upstream = make(
            "https://hub.example", authorities=certificate.file, proxies=Proxies(proxy.url)
        )
        with pytest.raises(ForbiddenTargetError):
            asyncio.run(upstream.ask())
        with pytest.raises(ForbiddenTargetError):
            upstream.fetch(5)
        assert set(proxy.lines) == {"CONNECT hub.example:443 HTTP/1.1"}


def _unknown(host: str) -> list[str]:
    raise AssertionError(f"{host} was looked up, where the proxy should be dialled")
