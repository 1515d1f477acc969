"""Hosts that are no Hub, through a running mirror: fetched once, checked, served when they are gone."""

import hashlib
import http.client
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.running import Running
from tests.origin import Origin

CDN = "openaipublic.azureedge.net"
STORAGE = "openaipublic.blob.core.windows.net"
MODEL = os.urandom(3 << 20)
DIGEST = hashlib.sha256(MODEL).hexdigest()
PATH = f"/main/whisper/models/{DIGEST}/base.pt"


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks them."""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(CDN, STORAGE)}
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


def test_a_file_with_its_digest_in_its_address_comes_once(hosts: Hosts, mirror: Running) -> None:
    """By either form, with a length, and with the host gone."""
    hosts.put(CDN, PATH, MODEL)
    for target in (f"/-/host/{CDN}{PATH}", f"/-/whisper/{DIGEST}/base.pt"):
        got = mirror.ask(target, token="hf_secret")
        assert (got.status, got.body) == (200, MODEL)
        assert got.headers["content-length"] == str(len(MODEL))
    mirror.settle()
    assert hosts.bodies(CDN, PATH) == 1
    with hosts.away():
        assert mirror.ask(f"/-/host/{CDN}{PATH}").body == MODEL
        part = mirror.ask(f"/-/host/{CDN}{PATH}", headers={"Range": "bytes=5-9"})
        assert (part.status, part.body) == (206, MODEL[5:10])
    assert all("hf_secret" not in str(request) for request in hosts.seen)


def test_the_second_upstream_is_asked_when_the_first_is_gone(hosts: Hosts, mirror: Running) -> None:
    """The CDN answers 5xx, its twin has the same bytes."""
    hosts.put(CDN, PATH, Thing(b"", 503))
    hosts.put(STORAGE, PATH, MODEL)
    assert mirror.ask(f"/-/host/{CDN}{PATH}").body == MODEL
    assert hosts.bodies(STORAGE, PATH) == 1


def test_wrong_bytes_never_make_a_whole_answer(hosts: Hosts, mirror: Running) -> None:
    """The digest in the address is held against what comes."""
    hosts.put(CDN, PATH, MODEL[:-1] + b"?")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        mirror.ask(f"/-/host/{CDN}{PATH}")
    mirror.settle()
    hosts.put(CDN, PATH, MODEL)
    assert mirror.ask(f"/-/host/{CDN}{PATH}").body == MODEL


def test_no_host_and_no_place_but_those_listed_is_asked(hosts: Hosts, mirror: Running) -> None:
    """An open proxy it is not; refusals say what is served."""
    for target, status in (
        ("/-/host/example.org/file", 400),
        (f"/-/host/{CDN}/something/else.bin", 400),
        (f"/-/host/{STORAGE}/encodings/made_up.tiktoken", 400),
        ("/-/whisper/gigantic", 400),
    ):
        got = mirror.ask(target)
        assert got.status == status, target
        assert got.json()["error"]
    missing = mirror.ask(f"/-/host/{CDN}{PATH}")
    assert missing.status == 404
    assert f"{CDN} answered 404" in missing.json()["error"]
    assert [request.target for request in hosts.seen] == [PATH]


def test_offline_says_what_is_missing(hosts: Hosts, origin: Origin, tmp_path: Path) -> None:
    """501 with a sentence, and nothing is asked."""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(CDN, STORAGE)}
    with Running(tmp_path / "data", origin, ("--offline",), settings) as mirror:
        got = mirror.ask(f"/-/host/{CDN}{PATH}")
    assert got.status == 501
    assert "base.pt" in got.json()["error"]
    assert hosts.seen == []
