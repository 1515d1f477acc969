"""What happens while the mirror is down: an error that names it, or, where that is wished, the hub itself."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.unit.hook.scripted import Program, Reply, Scripted
from tests.unit.hook.test_leading import CLIENTS, WITH_HEADERS

FALLBACK: Final = {"MODELMIRROR_FALLBACK": "1"}
ASSET: Final = "http://github.com/acme/tools/raw/main/model.pt"
KINDS: Final = {"URLError", "ConnectionError", "ConnectError", "ClientConnectorError"}
TOKEN: Final = {"Authorization": "Bearer secret"}
SAID: Final = "does not answer; requests go to the hubs themselves (MODELMIRROR_FALLBACK is set)"


@pytest.fixture
def internet() -> Iterator[Scripted]:
    """A proxy that answers for every host: what reaches it went past the mirror."""
    with Scripted({ASSET: Reply(body=b"theirs")}) as proxy:
        yield proxy


@pytest.mark.parametrize("client", CLIENTS)
def test_mirror_that_is_down_is_named(client: str) -> None:
    """The error is of the library's own kind and names the mirror, its variable and the remedies."""
    url = _closed()
    (outcome,) = Program(url=url).ask(client, ASSET)

    assert KINDS & set(outcome["error"])
    text = outcome["text"]
    assert text.count(f"the mirror at {url} (MODELMIRROR_URL) cannot be reached: ") == 1
    assert "refused" in text or "Connect call failed" in text or "attempts failed" in text
    assert "MODELMIRROR_FALLBACK=1" in text


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("strict", [False, True])
def test_fallback_goes_direct_while_the_mirror_is_down(
    client: str, internet: Scripted, *, strict: bool
) -> None:
    """The hub itself is asked, by the request as it was, credentials and all; strict mode lets it."""
    variables = {**FALLBACK, "HTTP_PROXY": internet.url}
    if strict:
        variables["MODELMIRROR_STRICT"] = "1"
    program = Program(url=_closed(), variables=variables)
    outcomes = program.ask(client, ASSET, ASSET, headers=TOKEN)

    assert [outcome["body"] for outcome in outcomes] == ["theirs"] * 2
    assert {request.headers["host"] for request in internet.seen} == {"github.com"}
    if client in WITH_HEADERS:
        assert [request.headers["authorization"] for request in internet.seen] == [
            "Bearer secret"
        ] * 2


@pytest.mark.parametrize("client", CLIENTS)
def test_fallback_alone_goes_direct(client: str, internet: Scripted) -> None:
    """Without MODELMIRROR_FALLBACK nothing is asked directly."""
    Program(url=_closed(), variables={"HTTP_PROXY": internet.url}).ask(client, ASSET, headers=TOKEN)

    assert internet.seen == []


@pytest.mark.parametrize("client", WITH_HEADERS)
def test_fallback_leads_while_the_mirror_is_up(client: str, internet: Scripted) -> None:
    """A mirror that answers is used, and asked once whether it lives for several requests."""
    with Scripted() as mirror:
        Program(url=mirror.url, variables={**FALLBACK, "HTTP_PROXY": internet.url}).ask(
            client, ASSET, ASSET, ASSET
        )

    assert mirror.targets == ["/-/host/github.com/acme/tools/raw/main/model.pt"] * 3
    assert [request.target for request in mirror.seen].count("/-/live") == 1
    assert internet.seen == []


@pytest.mark.parametrize("client", WITH_HEADERS)
def test_fallback_takes_over_when_the_mirror_goes(client: str, internet: Scripted) -> None:
    """A mirror that was believed to be up, and is not, loses no request."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import modelmirror_hook as hook, time\n"
        "hook._state.up, hook._state.seen_at = True, time.monotonic()\n"
        "import asker\n"
        f"print(json.dumps(asker.CLIENTS[{client!r}]('GET', {ASSET!r}, {TOKEN!r})))"
    )
    said = Program(url=_closed(), variables={**FALLBACK, "HTTP_PROXY": internet.url}).said(code)

    assert said["body"] == "theirs"
    assert internet.seen[0].headers["authorization"] == "Bearer secret"


def test_fallback_lets_names_be_looked_up() -> None:
    """Strict mode refuses no way to a known host while it may be asked directly, and every way after."""
    variables = {**FALLBACK, "MODELMIRROR_STRICT": "1"}
    # It comes to the system's own function, which looks nothing up and says that this is no address.
    code = "import socket; socket.getaddrinfo('huggingface.co', 443, flags=socket.AI_NUMERICHOST)"
    down = Program(url=_closed(), variables=variables).run("-c", code)
    with Scripted() as mirror:
        up = Program(url=mirror.url, variables=variables).run("-c", code)

    assert "socket.gaierror" in down.stderr
    assert "MODELMIRROR_STRICT: huggingface.co is not asked" in up.stderr


def test_fallback_says_so_once(internet: Scripted) -> None:
    """A person learns that the mirror is passed over, in one line for all requests."""
    url = _closed()
    code = f"import urllib.request as u\nfor _ in range(3): u.urlopen({ASSET!r}).close()"
    done = Program(url=url, variables={**FALLBACK, "HTTP_PROXY": internet.url}).run("-c", code)

    assert done.stderr.splitlines() == [f"modelmirror: the mirror at {url} {SAID}"]


def test_fallback_waits_a_second_for_a_silent_mirror(internet: Scripted) -> None:
    """A mirror that takes a connection and says nothing is down, and not waited for again."""
    code = (
        "import json, time, urllib.request as u, modelmirror_hook as hook\n"
        "hook.ALIVE_LIFETIME = 3600\n"
        "begun = time.monotonic()\n"
        f"for _ in range(3): u.urlopen({ASSET!r}).close()\n"
        "print(json.dumps(time.monotonic() - begun))"
    )
    variables = {**FALLBACK, "HTTP_PROXY": internet.url}
    with _silent() as (url, taken):
        seconds = Program(url=url, variables=variables).said(code)
        connections = len(taken)

    assert len(internet.seen) == 3
    assert connections == 1
    assert seconds > 0.9


def test_fallback_returns_to_the_mirror(internet: Scripted) -> None:
    """Once the mirror answers again it is used again, and that is said."""
    with Scripted({"/-/live": Reply(503)}) as mirror:
        code = (
            "import json, urllib.request as u, modelmirror_hook as hook\n"
            f"first = u.urlopen({ASSET!r}).geturl()\n"
            "hook._answers, hook._state.seen_at = lambda: True, None\n"
            f"print(json.dumps([first, u.urlopen({ASSET!r}).geturl()]))"
        )
        program = Program(url=mirror.url, variables={**FALLBACK, "HTTP_PROXY": internet.url})
        done = program.run("-c", code)

    assert f'"{ASSET}"' in done.stdout
    assert mirror.targets == ["/-/host/github.com/acme/tools/raw/main/model.pt"]
    assert done.stderr.splitlines()[1:] == [
        f"modelmirror: the mirror at {mirror.url} answers again; requests are led to it"
    ]


def _closed() -> str:
    """The address of a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def _silent() -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that takes connections and never answers, and what it has taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", taken
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in taken:
                one.close()
