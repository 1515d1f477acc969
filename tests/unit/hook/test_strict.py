"""In strict mode no known host is asked past the mirror, however a program tries."""

import json
from typing import Final

import pytest

from tests.unit.hook.scripted import Program, Scripted
from tests.unit.hook.test_leading import CLIENTS, WITH_HEADERS

STRICT: Final = {"MODELMIRROR_STRICT": "1"}
DOWN: Final = "http://127.0.0.1:9"  # discard: nothing listens there
ISSUES: Final = "https://github.com/acme/tools/issues"

# Ways past the libraries that the hook leads, each with what asks for a known host by it.
PAST: Final = {
    "getaddrinfo": "import socket; socket.getaddrinfo('huggingface.co', 443)",
    "keywords": "import socket; socket.getaddrinfo(host='Huggingface.CO.', port=443)",
    "bytes": "import socket; socket.getaddrinfo(b'huggingface.co', 443)",
    "gethostbyname": "import socket; socket.gethostbyname('huggingface.co')",
    "create_connection": "import socket; socket.create_connection(('huggingface.co', 443))",
    "connect": "import socket; socket.socket().connect(('huggingface.co', 443))",
    "connect_ex": "import socket; socket.socket().connect_ex(('huggingface.co', 443))",
    "http.client": "import http.client as h; h.HTTPSConnection('huggingface.co').request('GET', '/')",
    "urllib3": "from pip._vendor import urllib3\n"
    "urllib3.PoolManager().request('GET', 'https://huggingface.co/', retries=False)",
    "asyncio": "import asyncio\n"
    "async def ask(): await asyncio.open_connection('huggingface.co', 443)\n"
    "asyncio.run(ask())",
    "imported before": "import socket, modelmirror_hook\n"
    "modelmirror_hook.stop(); modelmirror_hook.start(); socket.getaddrinfo('huggingface.co', 443)",
}


@pytest.mark.parametrize("way", PAST)
def test_strict_refuses_every_way_past(way: str) -> None:
    """A known host is not looked up nor connected to, and the refusal says which, and what to do."""
    done = Program(url="http://127.0.0.1:9", variables=STRICT).run("-c", PAST[way])

    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "PermissionError" in done.stderr
    assert "MODELMIRROR_STRICT: huggingface.co is not asked" in last
    assert "MODELMIRROR_DIRECT=huggingface.co" in last


def test_strict_refuses_a_proxy_for_known_hosts() -> None:
    """A proxy is not asked to connect to a known host."""
    with Scripted() as proxy:
        done = Program(url=DOWN, variables=STRICT).run(
            "-c",
            "import http.client\n"
            f"connection = http.client.HTTPSConnection('127.0.0.1', {proxy.port})\n"
            "connection.set_tunnel('huggingface.co:443')\n"
            "connection.request('GET', '/')",
        )

    assert "MODELMIRROR_STRICT: huggingface.co is not asked" in done.stderr
    assert proxy.seen == []


@pytest.mark.parametrize("client", CLIENTS)
def test_strict_refuses_what_the_mirror_does_not_serve(client: str) -> None:
    """A path of a shared host that is no model is refused before anything is sent, with its reason."""
    with Scripted() as proxy, Scripted() as mirror:
        variables = {**STRICT, "HTTPS_PROXY": proxy.url}
        (outcome,) = Program(url=mirror.url, variables=variables).ask(client, ISSUES)

    assert outcome["error"][0] == "PermissionError"
    assert (
        f"the mirror at {mirror.url} does not serve GET /acme/tools/issues of it" in outcome["text"]
    )
    assert (proxy.seen, mirror.seen) == ([], [])


@pytest.mark.parametrize("client", WITH_HEADERS)
def test_strict_lets_the_mirror_answer(client: str) -> None:
    """Strict mode refuses nothing that is led, and no other host."""
    with Scripted() as mirror:
        program = Program(url=mirror.url.replace("127.0.0.1", "localhost"), variables=STRICT)
        outcomes = program.ask(client, "https://huggingface.co/x", f"{mirror.url}/other")

    assert [outcome["body"] for outcome in outcomes] == ["/x", "/other"]


def test_direct_hosts_are_left_alone_in_strict_mode() -> None:
    """A host that MODELMIRROR_DIRECT names is neither led nor refused."""
    with Scripted() as proxy, Scripted() as mirror:
        direct = {"MODELMIRROR_DIRECT": "example.org, GitHub.com", "HTTP_PROXY": proxy.url}
        (outcome,) = Program(url=mirror.url, variables={**STRICT, **direct}).ask(
            "urllib", "http://github.com/acme/tools/raw/main/x"
        )

    assert outcome["status"] == 200
    assert proxy.targets == ["http://github.com/acme/tools/raw/main/x"]
    assert mirror.seen == []


@pytest.mark.parametrize("url", ["", "mirror:8090", "http://user:secret@mirror:8090"])
def test_strict_without_a_mirror_refuses_known_hosts(url: str) -> None:
    """With an address that is none, strict mode refuses and says so; other hosts are asked."""
    with Scripted() as other:
        program = Program(url=url, variables=STRICT)
        refused, answered = program.ask("urllib", "https://huggingface.co/x", f"{other.url}/x")
        socket = program.run("-c", "import socket; socket.getaddrinfo('tfhub.dev', 443)")

    assert refused["error"][0] == "PermissionError"
    assert "MODELMIRROR_URL is" in refused["text"]
    assert answered["status"] == 200
    assert "MODELMIRROR_STRICT: tfhub.dev is not asked, because MODELMIRROR_URL is" in socket.stderr
    assert "secret" not in refused["text"] + socket.stderr


def test_strict_catches_a_library_that_changed() -> None:
    """A library that cannot be led says so in one line, and strict mode refuses what it asks then."""
    code = (
        "import json, sys, types\n"
        "import modelmirror_hook as hook\n"
        "hook.LIBRARIES['urllib.request'] = lambda module: 1 / 0\n"
        "import urllib.request\n"
        "try:\n"
        "    urllib.request.urlopen('https://tfhub.dev/google/yamnet/1?tf-hub-format=compressed')\n"
        "except Exception as error:\n"
        "    print(json.dumps([str(error), hook.installed()['modules']['urllib.request']]))"
    )
    done = Program(url=DOWN, variables=STRICT).run("-c", code)

    said, module = json.loads(done.stdout)
    assert "MODELMIRROR_STRICT: tfhub.dev is not asked" in said
    assert "not led: urllib.request (failed: ZeroDivisionError" in said
    assert module == "failed: ZeroDivisionError: division by zero"
    assert done.stderr == (
        "modelmirror: requests by urllib.request are not led to the mirror "
        "(ZeroDivisionError: division by zero)\n"
    )
