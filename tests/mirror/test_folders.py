"""NLTK's data, and the Hub's addresses of clients that name it themselves, through a running mirror."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.running import Running
from tests.origin import Origin

RAW = "raw.githubusercontent.com"
DATA = "/nltk/nltk_data/gh-pages"
ZIP = f"{DATA}/packages/tokenizers/punkt_tab.zip"
PACKAGE = os.urandom(200_000)
WRONG = PACKAGE[:-1] + bytes([PACKAGE[-1] ^ 1])


def index(package: bytes, *, sha256: bool = True) -> bytes:
    """NLTK's index, with this package in it."""
    checksum = hashlib.md5(package, usedforsecurity=False).hexdigest()
    more = f'sha256_checksum="{hashlib.sha256(package).hexdigest()}" ' if sha256 else ""
    return (
        '<?xml version="1.0"?><nltk_data><packages>'
        '<package id="other" size="1" checksum="00" url="https://other/" />'
        f'<package id="punkt_tab" {more}size="{len(package)}" checksum="{checksum}" '
        f'url="https://{RAW}{ZIP}" unzip="1" />'
        "</packages></nltk_data>"
    ).encode()


@pytest.fixture
def curious(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks for what moves each time."""
    settings = {
        "MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(RAW),
        "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s",
    }
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


@pytest.mark.parametrize("sha256", [True, False], ids=["sha256", "md5"])
def test_a_package_of_nltk_is_what_its_index_says(
    hosts: Hosts, curious: Running, *, sha256: bool
) -> None:
    """Each version of it; and served with its host gone."""
    hosts.put(RAW, f"{DATA}/index.xml", index(PACKAGE, sha256=sha256))
    hosts.put(RAW, ZIP, WRONG)
    curious.refuses_wrong(f"/-/host/{RAW}{ZIP}")
    hosts.put(RAW, ZIP, PACKAGE)
    assert curious.ask("/-/nltk/packages/tokenizers/punkt_tab.zip").body == PACKAGE
    assert curious.ask("/-/nltk/index.xml").body == index(PACKAGE, sha256=sha256)
    curious.settle()
    newer = os.urandom(150_000)
    hosts.put(RAW, f"{DATA}/index.xml", index(newer, sha256=sha256))
    hosts.put(RAW, ZIP, newer)
    assert curious.ask(f"/-/host/{RAW}{ZIP}").body == newer
    curious.settle()
    with hosts.away():
        got = curious.ask(f"/-/host/{RAW}{ZIP}")
        assert (got.body, "age" in got.headers) == (newer, True)
        assert curious.ask(f"/-/host/{RAW}{DATA}/index.xml").status == 200


def test_the_index_of_nltk_is_asked_for_once(hosts: Hosts, origin: Origin, tmp_path: Path) -> None:
    """By who reads it, as every downloader does first, and to know what its packages are."""
    hosts.put(RAW, f"{DATA}/index.xml", index(PACKAGE))
    hosts.put(RAW, ZIP, PACKAGE)
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(RAW)}
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        assert mirror.ask("/-/nltk/index.xml").body == index(PACKAGE)
        assert mirror.ask("/-/nltk/packages/tokenizers/punkt_tab.zip").body == PACKAGE
    assert hosts.bodies(RAW, f"{DATA}/index.xml") == 1


def test_an_index_of_another_version_says_nothing(hosts: Hosts, curious: Running) -> None:
    """It is seen a moment before, or after, the package: a size that differs tells."""
    hosts.put(RAW, f"{DATA}/index.xml", index(PACKAGE[:1000]))
    hosts.put(RAW, ZIP, PACKAGE)
    assert curious.ask(f"/-/host/{RAW}{ZIP}").body == PACKAGE
    hosts.put(RAW, f"{DATA}/index.xml", Thing(b"", 500))
    assert curious.ask(f"/-/host/{RAW}{ZIP}").body == PACKAGE


@pytest.mark.parametrize("host", ["huggingface.co", "hf-mirror.com"])
def test_the_hubs_own_addresses_are_the_hub(curious: Running, origin: Origin, host: str) -> None:
    """As Piper and Pix2Text name them; the query that asks for a download changes nothing."""
    voice = os.urandom(20_000)
    origin.add_repo("models", "acme/voices", files={"en/voice.onnx": voice})
    path = "/acme/voices/resolve/main/en/voice.onnx"
    got = curious.ask(f"/-/host/{host}{path}?download=true")
    assert (got.status, got.body) == (200, voice)
    curious.settle()
    fetched = origin.seen(method="GET", path="resolve.*voice")
    for target in (path, f"/-/host/{host}{path}"):
        again = curious.ask(target)
        assert again.body == voice
        assert again.headers["x-repo-commit"] == got.headers["x-repo-commit"]
    assert origin.seen(method="GET", path="resolve.*voice") == fetched
    listing = "/api/models/acme/voices/tree/main"
    assert curious.ask(f"/-/host/{host}{listing}").json() == curious.ask(listing).json()
    for nothing in (f"/-/host/{host}/-/live", f"/-/host/{host}/"):
        assert curious.ask(nothing).status == 400, nothing
