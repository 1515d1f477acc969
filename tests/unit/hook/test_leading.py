"""Requests of known hosts are led to the mirror, by whichever library they are made, and nothing leaks."""

from pathlib import Path
from typing import Final

import pytest

from tests.unit.hook.scripted import Program, Reply, Scripted

CLIENTS: Final = ("urllib", "urlretrieve", "pip", "httpx2", "httpx2 async", "aiohttp")
WITH_HEADERS: Final = tuple(client for client in CLIENTS if client != "urlretrieve")

YAMNET: Final = "https://tfhub.dev/google/yamnet/1?tf-hub-format=compressed"
ASSET: Final = "https://github.com/acme/tools/releases/download/v1/model.pt"
LED_ASSET: Final = "/-/host/github.com/acme/tools/releases/download/v1/model.pt"
CALL: Final = "/v1/models.ModelApiService/GetModelInstance"


@pytest.mark.parametrize("client", CLIENTS)
def test_known_hosts_are_led_to_the_mirror(client: str) -> None:
    """A request goes to the mirror with its query; the Hub's goes to the root, under either of its names."""
    urls = (
        YAMNET,
        "https://huggingface.co/acme/tiny/resolve/main/x?download=true",
        "http://HF-Mirror.com/api/models/a/b",
    )
    with Scripted() as mirror:
        outcomes = Program(url=mirror.url).ask(client, *urls)

    assert mirror.targets == [
        "/-/host/tfhub.dev/google/yamnet/1?tf-hub-format=compressed",
        "/acme/tiny/resolve/main/x?download=true",
        "/api/models/a/b",
    ]
    assert [outcome["body"] for outcome in outcomes] == mirror.targets
    assert {request.headers["host"] for request in mirror.seen} == {
        mirror.url.removeprefix("http://")
    }


@pytest.mark.parametrize("client", [client for client in WITH_HEADERS if client != "httpx2 async"])
def test_kaggle_calls_are_led(client: str) -> None:
    """A POST with its body is led, where the mirror answers one."""
    with Scripted() as mirror:
        (outcome,) = Program(url=mirror.url).ask(
            client, f"https://api.kaggle.com{CALL}", method="POST"
        )

    assert outcome["status"] == 200
    assert [(request.method, request.target) for request in mirror.seen] == [
        ("POST", f"/-/host/api.kaggle.com{CALL}")
    ]
    assert mirror.seen[0].headers["content-length"] == "2"


@pytest.mark.parametrize("client", CLIENTS)
def test_mirror_below_a_path_is_reached(client: str) -> None:
    """A mirror behind another server may have a path of its own."""
    with Scripted() as mirror:
        Program(url=f"{mirror.url}/mm/").ask(client, ASSET)

    assert mirror.targets == [f"/mm{LED_ASSET}"]


@pytest.mark.parametrize("client", CLIENTS)
def test_redirects_of_the_mirror_are_followed(client: str) -> None:
    """A redirect of the mirror's own, relative or absolute, ends at the mirror."""
    replies = {
        LED_ASSET: Reply(302, {"Location": "/-/host/www.kaggle.com/file"}),
        "/acme/old/resolve/main/x": Reply(307, {"Location": "/acme/new/resolve/main/x"}),
    }
    with Scripted(replies) as mirror:
        replies["/acme/new/resolve/main/x"] = Reply(302, {"Location": f"{mirror.url}/end"})
        mirror.replies.update(replies)
        asset, old = Program(url=mirror.url).ask(
            client, ASSET, "https://huggingface.co/acme/old/resolve/main/x"
        )

    assert asset["body"] == "/-/host/www.kaggle.com/file"
    assert old["body"] == "/end"


@pytest.mark.parametrize("client", WITH_HEADERS)
def test_programs_see_the_host_that_they_asked(client: str) -> None:
    """An answer bears the address that was asked for: huggingface_hub sends its token to that host alone."""
    hub = "https://huggingface.co/acme/tiny/resolve/main/x"
    with Scripted() as mirror:
        outcomes = Program(url=mirror.url).ask(client, hub, ASSET)

    assert [outcome["url"] for outcome in outcomes] == [hub, ASSET]


@pytest.mark.parametrize("client", [client for client in WITH_HEADERS if client != "urllib"])
@pytest.mark.parametrize("base", ["", "{url}"])
def test_token_stays_with_a_redirect_of_the_hub(client: str, base: str) -> None:
    """Where the mirror redirects within the Hub, the token goes along, and the program sees the Hub."""
    target = "/acme/old/resolve/main/x"
    with Scripted() as mirror:
        location = base.format(url=mirror.url) + "/acme/new/resolve/main/x"
        mirror.replies[target] = Reply(307, {"Location": location})
        headers = {"Authorization": "Bearer hf_1"}
        (outcome,) = Program(url=mirror.url).ask(
            client, f"https://huggingface.co{target}", headers=headers
        )

    tokens = [request.headers.get("authorization") for request in mirror.seen]
    if client == "aiohttp" and base:
        assert tokens == ["Bearer hf_1", None]  # To it the mirror's own address is another host's.
    else:
        assert tokens == ["Bearer hf_1"] * 2
        assert outcome["url"] == "https://huggingface.co/acme/new/resolve/main/x"


@pytest.mark.parametrize("client", CLIENTS)
def test_redirects_to_known_hosts_are_led(client: str) -> None:
    """What another server redirects to a known host goes to the mirror all the same."""
    with Scripted() as mirror, Scripted({"/go": Reply(302, {"Location": ASSET})}) as other:
        (outcome,) = Program(url=mirror.url).ask(client, f"{other.url}/go")

    assert outcome["body"] == LED_ASSET
    assert other.targets == ["/go"]


@pytest.mark.parametrize("client", WITH_HEADERS)
def test_credentials_stay_behind(client: str) -> None:
    """What was meant for another hub, and any cookie, does not reach the mirror; the Hub's token does."""
    secret = {"Authorization": "Bearer hf_secret", "Cookie": "session=1", "X-Mine": "yes"}
    with Scripted() as mirror:
        program = Program(url=mirror.url)
        program.ask(client, ASSET, "https://huggingface.co/api/whoami-v2", headers=secret)
        program.ask(
            client, "https://huggingface.co/x", headers={"authorization": "Basic aGY6c2VjcmV0"}
        )

    to_asset, to_hub, basic = (request.headers for request in mirror.seen)
    assert "authorization" not in to_asset
    assert to_hub["authorization"] == "Bearer hf_secret"
    assert "authorization" not in basic
    assert [headers.get("cookie") for headers in (to_asset, to_hub, basic)] == [None] * 3
    assert to_asset["x-mine"] == "yes"


@pytest.mark.parametrize("client", [client for client in CLIENTS if "url" not in client])
def test_userinfo_of_addresses_stays_behind(client: str) -> None:
    """A name and password in the address of a known host do not reach the mirror."""
    with Scripted() as mirror:
        Program(url=mirror.url).ask(client, ASSET.replace("https://", "https://me:secret@"))

    assert mirror.targets == [LED_ASSET]
    assert "authorization" not in mirror.seen[0].headers


@pytest.mark.parametrize("client", [client for client in CLIENTS if "url" not in client])
def test_netrc_adds_nothing(client: str, tmp_path: Path) -> None:
    """What a netrc has for the hub or for the mirror is not sent, nor where the mirror redirects to."""
    netrc = tmp_path / ".netrc"
    netrc.write_text(
        "machine github.com login me password secret\nmachine 127.0.0.1 login me password secret\n"
    )
    netrc.chmod(0o600)
    with Scripted(
        {LED_ASSET: Reply(302, {"Location": "/-/host/github.com/o/r/raw/main/x"})}
    ) as mirror:
        (outcome,) = Program(url=mirror.url, home=tmp_path).ask(client, ASSET)

    assert outcome["status"] == 200
    assert mirror.targets == [LED_ASSET, "/-/host/github.com/o/r/raw/main/x"]
    assert [request.headers.get("authorization") for request in mirror.seen] == [None, None]


@pytest.mark.parametrize("client", WITH_HEADERS)
def test_token_of_the_mirror_is_sent_to_it(client: str) -> None:
    """With MODELMIRROR_TOKEN the mirror sees it, for every hub and in place of the Hub's."""
    with Scripted() as mirror:
        program = Program(url=mirror.url, variables={"MODELMIRROR_TOKEN": "mm_1"})
        program.ask(
            client, ASSET, "https://huggingface.co/x", headers={"Authorization": "Bearer hf_1"}
        )

    assert [request.headers["authorization"] for request in mirror.seen] == ["Bearer mm_1"] * 2


def test_token_of_the_mirror_replaces_one_that_redirects_are_not_to_see() -> None:
    """The urllib way to keep a token from redirects; it would win over a header that is set as usual."""
    with Scripted() as mirror:
        Program(url=mirror.url, variables={"MODELMIRROR_TOKEN": "mm_1"}).said(
            "import urllib.request\n"
            "request = urllib.request.Request('https://huggingface.co/x')\n"
            "request.add_unredirected_header('Authorization', 'Bearer hf_1')\n"
            "print(urllib.request.urlopen(request).status)"
        )

    assert [request.headers["authorization"] for request in mirror.seen] == ["Bearer mm_1"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("no_proxy", [None, "example.org"])
def test_proxies_are_passed_over(client: str, no_proxy: str | None) -> None:
    """The mirror is asked directly where proxies are set and NO_PROXY does not name it."""
    with Scripted() as proxy, Scripted() as mirror:
        proxies = {f"{kind}_PROXY": proxy.url for kind in ("HTTP", "HTTPS", "ALL")}
        more = {} if no_proxy is None else {"NO_PROXY": no_proxy}
        (outcome,) = Program(url=mirror.url, variables={**proxies, **more}).ask(client, ASSET)

    assert outcome["body"] == LED_ASSET
    assert proxy.seen == []


def test_proxies_of_a_call_are_passed_over() -> None:
    """A proxy that a caller of requests names is for the hub, not for the mirror."""
    with Scripted() as proxy, Scripted() as mirror:
        said = Program(url=mirror.url).said(
            "import json; from pip._vendor import requests\n"
            f"answer = requests.get({ASSET!r}, proxies={{'http': {proxy.url!r}, 'https': {proxy.url!r}}})\n"
            "print(json.dumps(answer.text))"
        )

    assert said == LED_ASSET
    assert proxy.seen == []


def test_header_that_stands_twice_stays_behind() -> None:
    """A credential that is in two headers of one name is taken out twice."""
    with Scripted() as mirror:
        Program(url=mirror.url).said(
            "import asyncio, json, aiohttp, multidict\n"
            "async def ask():\n"
            "    pairs = [('Authorization', 'Bearer 1'), ('X', '1'), ('Authorization', 'Bearer 2')]\n"
            "    async with aiohttp.ClientSession() as session:\n"
            f"        url, headers = {ASSET!r}, multidict.CIMultiDict(pairs)\n"
            "        async with session.get(url, headers=headers) as answer: await answer.read()\n"
            "asyncio.run(ask()); print(json.dumps(1))"
        )

    assert mirror.seen[0].headers.get("x") == "1"
    assert "authorization" not in mirror.seen[0].headers


def test_refused_answers_bear_the_address_that_was_asked_for() -> None:
    """An error of urllib's is about the host that its program asked."""
    with Scripted({LED_ASSET: Reply(404)}) as mirror:
        said = Program(url=mirror.url).said(
            "import json, urllib.error, urllib.request\n"
            f"try: urllib.request.urlopen({ASSET!r})\n"
            "except urllib.error.HTTPError as error: print(json.dumps([error.code, error.geturl()]))"
        )

    assert said == [404, ASSET]


def test_callers_keep_their_request() -> None:
    """The request of a caller of urllib or requests is not changed, so that it can be sent again."""
    with Scripted() as mirror:
        said = Program(url=mirror.url).said(
            "import json, urllib.request; from pip._vendor import requests\n"
            f"one = urllib.request.Request({ASSET!r}, headers={{'Authorization': 'Bearer x'}})\n"
            "urllib.request.urlopen(one).close()\n"
            f"two = requests.Request('GET', {ASSET!r}, headers={{'Authorization': 'Bearer x'}}).prepare()\n"
            "requests.Session().send(two)\n"
            "print(json.dumps([one.full_url, one.headers, two.url, two.headers['Authorization']]))"
        )

    assert said == [ASSET, {"Authorization": "Bearer x"}, ASSET, "Bearer x"]


def test_other_hosts_are_left_alone() -> None:
    """What is no known host is asked where it is, with its credentials."""
    with Scripted() as mirror, Scripted() as other:
        for client in WITH_HEADERS:
            Program(url=mirror.url).ask(
                client, f"{other.url}/x", headers={"Authorization": "Bearer 1"}
            )

    assert mirror.seen == []
    assert [request.headers["authorization"] for request in other.seen] == ["Bearer 1"] * len(
        WITH_HEADERS
    )
