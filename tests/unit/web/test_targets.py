"""Which targets and hosts are taken as they stand, and which are refused."""

from dataclasses import dataclass
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.errors import MalformedQuestionError, MethodRefusedError
from mirror.web.targets import Targets, split
from tests.web.hostile import TARGETS


@dataclass(frozen=True)
class Near:
    """A client on the next machine."""

    peer: str = "192.0.2.1"
    secure: bool = False
    local: str = "127.0.0.1:8090"


PEER = Near()


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/gpt2/resolve/main/config.json",
        "/acme/tiny-bert/resolve/main/a/b%20c.bin",
        "/acme/tiny/resolve/refs%2Fpr%2F1/x",
        "/api/models/acme/tiny/tree/main?recursive=true&expand=false",
        "/api/models/",
        "/datasets/a/b/resolve/main/..hidden/...three",
        "/a/resolve/main/%E4%BD%A0%E5%A5%BD.txt",
        "/a/resolve/main/100%25.txt",
        "/a/resolve/main/100%2520.txt",
        "/a/resolve/main/a+b=c&d;e,f@g:h!$'()*~",
        "/a/resolve/main/" + "x" * 255,
        "/a.git/info/refs?service=git-upload-pack",
        "/x?next=http://other/..//%2e%2e",
    ],
)
def test_ordinary_targets_stay_as_they_are(target: str) -> None:
    """What clients really send passes unchanged, still percent-encoded."""
    path, _, query = target.partition("?")
    assert split(target) == (path, query)


def test_raw_letters_become_percent_encoded() -> None:
    """UTF-8 that a client forgot to encode means the same as encoded."""
    assert split("/a/ü b".replace(" ", "%20")) == ("/a/%C3%BC%20b", "")


@pytest.mark.parametrize("target", TARGETS)
def test_hostile_targets_raise(target: str) -> None:
    """Each target of the table is malformed, with a sentence for its sender."""
    with pytest.raises(MalformedQuestionError, match=r"\.$"):
        split(target)


@settings(max_examples=1000, deadline=None)
@given(st.text("/.%25eEcCfF0aA\\\0\n~?é", max_size=40).map("/".__add__))
def test_no_accepted_path_has_a_second_meaning(text: str) -> None:
    """Whatever is accepted decodes, twice over too, to plain segments: no dots, none empty, no control."""
    try:
        path, _ = split(text)
    except MalformedQuestionError:
        return
    assert path.isascii()
    for decoded in (unquote(path, errors="strict"), unquote(unquote(path))):
        pieces = decoded.removeprefix("/").removesuffix("/").split("/")
        assert path == "/" or not {"", ".", ".."} & set(pieces)
        assert not any(c < " " or "\x7f" <= c <= "\x9f" or c == "\\" for c in decoded)


@pytest.mark.parametrize(
    "host",
    ["", "a b", "a/b", "u@h", "a:b", "a:123456", "<x>", "-a", "a\\b", "[::1", "a,b", "a..%2f"],
)
def test_host_that_is_none_is_refused(host: str) -> None:
    """A Host that could break a rewritten URL is a 400; an empty one falls back to our own end."""
    reader = Targets(None, ())
    headers = [("Host", host)]
    if not host:
        assert reader.read("GET", "/", headers, PEER).base_url == "http://127.0.0.1:8090"
        return
    with pytest.raises(MalformedQuestionError):
        reader.read("GET", "/", headers, PEER)


def test_public_url_needs_no_host() -> None:
    """With public_url the Host is of no interest, not even a broken one."""
    head = Targets("https://m", ()).read("GET", "/", [("Host", "<x>")], PEER)
    assert head.base_url == "https://m"


def test_odd_methods_are_refused_before_the_target() -> None:
    """CONNECT's target is no path, and the answer is still 405."""
    with pytest.raises(MethodRefusedError) as caught:
        Targets(None, ()).read("CONNECT", "evil:443", [], PEER)
    assert "GET" in caught.value.allowed


def test_log_names_the_nearest_stranger() -> None:
    """X-Forwarded-For is believed as far as our own proxies wrote it."""
    reader = Targets(None, ("10.0.0.0/8", "::1"))
    chain = {"x-forwarded-for": "6.6.6.6, 203.0.113.9, 10.0.0.7"}
    assert reader.client(chain, "10.0.0.1") == "203.0.113.9"
    assert reader.client(chain, "::ffff:10.0.0.1") == "203.0.113.9"
    assert reader.client(chain, "192.0.2.1") == "192.0.2.1"
    assert Targets(None, ()).client(chain, "10.0.0.1") == "10.0.0.1"
