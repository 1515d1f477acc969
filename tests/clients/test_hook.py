"""Real libraries with the start-up hook and no setting but the mirror's address, in strict mode.

What is promised of each library is in ``tests/unit/hook``, by the libraries that the tests themselves have;
here are requests and httpx as huggingface_hub has had them, and huggingface_hub itself on each.
"""

import os
from pathlib import Path
from typing import Final

import pytest

from mirror.hook import FOLDER
from tests.clients.available import client
from tests.clients.client import ROOT, client_environment, run_reporting
from tests.clients.mirror_process import running_mirror
from tests.clients.world import OTHER, READER, World
from tests.origin import Origin
from tests.unit.hook import test_fallback, test_leading, test_strict
from tests.unit.hook.scripted import Program, Reply, Scripted

GROUPS: Final = {
    "hub24": "httpx2",
    "hub133": "httpx",
    "hub036": "requests.sessions",
    "hub025": "requests.sessions",
}
LIBRARIES: Final = (
    ("hub24", "httpx2"),
    ("hub24", "httpx2 async"),
    ("hub133", "httpx"),
    ("hub133", "httpx async"),
    ("hub036", "requests"),
)


@pytest.mark.parametrize("group", GROUPS)
def test_hook_leads_huggingface_hub(
    group: str, origin: Origin, world: World, tmp_path: Path
) -> None:
    """Each release fetches what it would with HF_ENDPOINT, its token goes along, and nothing goes past."""
    environment = client(group)
    task = {
        "repo_id": world.tiny.repo_id,
        "path": "model.safetensors",
        "private": world.private.repo_id,
        "token": READER,
        "other": OTHER,
        "folder": str(tmp_path / "folder"),
    }
    with running_mirror(origin, tmp_path / "mirror") as mirror:
        variables = client_environment(tmp_path / "home", "")
        del variables["HF_ENDPOINT"]
        variables |= {
            "MODELMIRROR_URL": mirror.url,
            "MODELMIRROR_STRICT": "1",
            "PYTHONPATH": os.pathsep.join((str(FOLDER), str(ROOT))),
        }
        command = [str(environment.python), "-m", "tests.clients.scenarios.hooked"]
        report = run_reporting(command, task, variables)

    assert report["endpoint"].got() == "https://huggingface.co"
    assert report["snapshot"].got() == world.tiny.digests()
    assert report["listed"].got() == sorted(world.tiny.contents)
    assert report["private"].got() == world.private.digests()["model.safetensors"]
    assert "RepositoryNotFoundError" in report["private to another"].errors
    assert "EntryNotFoundError" in report["missing"].errors
    assert report["elsewhere"].got() == world.tiny.digests()["model.safetensors"]
    hook = report["hook"].got()
    assert hook["modules"][GROUPS[group]] == "patched"
    assert set(hook["rewritten"]) == {"huggingface.co", "hf-mirror.com"}


@pytest.mark.parametrize(("group", "library"), LIBRARIES)
def test_hook_keeps_its_promises(
    group: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests and httpx are led, redirected, stripped of credentials, refused and let go as others are."""
    python = str(client(group).python)
    monkeypatch.setitem(Program.__init__.__kwdefaults__ or {}, "python", python)

    test_leading.test_known_hosts_are_led_to_the_mirror(library)
    test_leading.test_redirects_of_the_mirror_are_followed(library)
    test_leading.test_redirects_to_known_hosts_are_led(library)
    test_leading.test_credentials_stay_behind(library)
    test_leading.test_userinfo_of_addresses_stays_behind(library)
    test_leading.test_netrc_adds_nothing(library, tmp_path)
    test_leading.test_proxies_are_passed_over(library, None)
    test_strict.test_strict_refuses_what_the_mirror_does_not_serve(library)
    test_fallback.test_mirror_that_is_down_is_named(library)
    with Scripted({test_fallback.ASSET: Reply(body=b"theirs")}) as internet:
        test_fallback.test_fallback_takes_over_when_the_mirror_goes(library, internet)
        internet.seen.clear()
        test_fallback.test_fallback_goes_direct_while_the_mirror_is_down(
            library, internet, strict=True
        )
