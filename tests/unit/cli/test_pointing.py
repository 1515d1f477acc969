"""Which variables point clients at the mirror, and what becomes of those that are set already."""

from pathlib import Path

import pytest

from mirror.cli.address import parse
from mirror.cli.diagnosis.variables import passes_proxies
from mirror.cli.pointing import pointing, without_proxy
from mirror.errors import ConfigError

LOCAL = parse("http://127.0.0.1:8090")
REMOTE = parse("http://mirror:8090")
HOOK = Path("/opt/hook")


def test_pointing_names_the_mirror_to_everybody() -> None:
    """The Hub's variable, the hook's, pip's and both NO_PROXY; nothing is trusted that need not be."""
    assert pointing(LOCAL, {}, hook=HOOK) == {
        "HF_ENDPOINT": "http://127.0.0.1:8090",
        "MODELMIRROR_URL": "http://127.0.0.1:8090",
        "PYTHONPATH": "/opt/hook",
        "PIP_FIND_LINKS": "http://127.0.0.1:8090/-/spacy/files/",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def test_pointing_trusts_plain_http_of_another_machine_alone() -> None:
    """Pip is told to trust the mirror's host and port where it would pass it over, and nowhere else."""
    assert pointing(REMOTE, {}, hook=HOOK)["PIP_TRUSTED_HOST"] == "mirror:8090"
    for url in ("https://mirror:8090", "http://localhost:8090", "http://[::1]:8090"):
        assert "PIP_TRUSTED_HOST" not in pointing(parse(url), {}, hook=HOOK)


def test_pointing_keeps_what_is_set_and_adds_nothing_twice() -> None:
    """Lists are gone on with, the hook's folder comes first, and a second time changes nothing."""
    before = {
        "PYTHONPATH": "/mine:/yours",
        "PIP_FIND_LINKS": "/opt/wheels",
        "PIP_TRUSTED_HOST": "wheels.corp",
        "NO_PROXY": "localhost, .corp",
        "no_proxy": "10.0.0.0/8",
    }
    once = pointing(REMOTE, before, hook=HOOK)

    assert once["PYTHONPATH"] == "/opt/hook:/mine:/yours"
    assert once["PIP_FIND_LINKS"] == "/opt/wheels http://mirror:8090/-/spacy/files/"
    assert once["PIP_TRUSTED_HOST"] == "wheels.corp mirror:8090"
    assert once["NO_PROXY"] == once["no_proxy"] == "10.0.0.0/8,localhost,.corp,mirror"
    assert pointing(REMOTE, before | once, hook=HOOK) == once


def test_pointing_without_the_hook_has_the_setting_of_old_kagglehub() -> None:
    """Only then: it would send a credential along that the hook keeps."""
    settings = pointing(LOCAL, {}, hook=None)

    assert settings["KAGGLE_API_ENDPOINT"] == "http://127.0.0.1:8090/-/kaggle/"
    assert "PYTHONPATH" not in settings


def test_falling_back_leaves_out_what_would_fail() -> None:
    """What knows the mirror's address alone fails when it is down, so the hook leads instead."""
    settings = pointing(REMOTE, {}, hook=HOOK, fallback=True)

    assert settings["MODELMIRROR_FALLBACK"] == "1"
    assert settings.keys().isdisjoint({"HF_ENDPOINT", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST"})


@pytest.mark.parametrize(
    ("listed", "passes"),
    [
        ("mirror", True),
        ("a,.corp , mirror.corp", True),
        (".corp", True),
        ("corp:8090", True),
        ("*", True),
        ("irror.corp", False),
        ("mirror.corp.example", False),
        ("", False),
        (",", False),
    ],
)
def test_lists_of_no_proxy_are_read_as_clients_read_them(listed: str, passes: bool) -> None:  # noqa: FBT001
    """Names and the domains they are in; not what merely ends alike."""
    host = "mirror" if listed == "mirror" else "mirror.corp"

    assert passes_proxies(host, listed) is passes
    assert passes_proxies(host, without_proxy(host, {"NO_PROXY": listed})["no_proxy"])


def test_lists_of_no_proxy_may_name_networks() -> None:
    """An address is in a network that is listed, or it is not."""
    assert passes_proxies("10.1.2.3", "10.0.0.0/8")
    assert not passes_proxies("11.1.2.3", "10.0.0.0/8")
    assert not passes_proxies("mirror", "10.0.0.0/8")


@pytest.mark.parametrize(
    "text",
    ["mirror:8090", "ftp://mirror", "http://", "http://mirror:99999", "http://m/?a", "http://a b"],
)
def test_addresses_that_are_none_are_refused(text: str) -> None:
    """With the way to write one."""
    with pytest.raises(ConfigError):
        parse(text)


def test_addresses_with_a_password_are_refused_without_it() -> None:
    """The refusal does not show what it refuses."""
    with pytest.raises(ConfigError) as caught:
        parse("http://me:secret@mirror:8090")

    assert "secret" not in str(caught.value)
