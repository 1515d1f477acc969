"""spaCy's models by `spacy download` and by pip, and NLTK's data, which takes no mirror but a folder."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.available import client
from tests.clients.client import Report, run_scenario
from tests.clients.corpus import RAW, publish_stopwords
from tests.clients.elsewhere import (
    Elsewhere,
    Visited,
    Way,
    cases,
    export,
    made,
    variables,
    visit_spoiled,
    visits_of,
)
from tests.clients.environments import Environment
from tests.clients.world import sha256
from tests.hosts import Thing

SITE = "github.com"
ASSETS = "release-assets.githubusercontent.com"
MODELS = "/explosion/spacy-models"
TAG = "en_core_web_sm-3.8.0"
WHEEL = f"{TAG}-py3-none-any.whl"
RELEASE = f"{MODELS}/releases/download/{TAG}/{WHEEL}"
SIGNED = "/1/2?sig=5ecret"


@pytest.fixture(scope="module")
def environment() -> Environment:
    """What the clients are installed in."""
    return client("spacy")


@pytest.fixture(scope="module")
def wheel(
    elsewhere: Elsewhere,
    environment: Environment,
    tmp_path_factory: pytest.TempPathFactory,
) -> bytes:
    """Publish a small pipeline as spaCy's own, and a corpus of NLTK's."""
    folder = tmp_path_factory.mktemp("models")
    told = made(environment, "spacy_models", folder)
    name, digest = told["pipeline"].got()
    assert name == WHEEL
    content = (folder / WHEEL).read_bytes()
    hosts = elsewhere.hosts
    table = {"spacy": {"3.8": {"en_core_web_sm": ["3.8.0"]}}}
    hosts.put(RAW, f"{MODELS}/master/compatibility.json", json.dumps(table).encode())
    meta = {"name": "core_web_sm", "checksum_whl": digest}
    hosts.put(RAW, f"{MODELS}/master/meta/{TAG}.json", json.dumps(meta).encode())
    hosts.put(SITE, RELEASE, Thing(to=f"https://{ASSETS}{SIGNED}"))
    hosts.put(ASSETS, SIGNED, Thing(content, methods=("GET",)))
    publish_stopwords(hosts)
    return content


def _task(way: Way, mirror: str) -> dict[str, Any]:
    """Say which clients go this way, and what each is told."""
    pinned = "en_core_web_sm==3.8.0"
    match way:
        case Way.ADDRESS:
            return {
                "pip": [f"{mirror}/-/spacy/files/{WHEEL}"],
                "nltk": f"{mirror}/-/nltk/index.xml",
            }
        case Way.NATIVE:
            return {
                "pip": ["--no-index", "--find-links", f"{mirror}/-/spacy/files/", pinned],
                "index": ["--index-url", f"{mirror}/-/spacy/simple/", pinned],
            }
        case Way.CACHE:
            return {"pip": ["--no-index", pinned], "nltk": "here"}
        case _:
            return {"spacy": ["en_core_web_sm"], "pip": [f"https://{SITE}{RELEASE}"], "nltk": None}


@pytest.fixture(scope="module")
def run(environment: Environment) -> Callable[[Way, Path, str, Mapping[str, Any]], Report]:
    """Give what runs a task in one way."""

    def run(way: Way, home: Path, mirror: str, task: Mapping[str, Any]) -> Report:
        chosen = variables(way, home, mirror, environment.commands)
        chosen |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        before: list[str] = []
        if way is Way.CACHE:
            exported = export(home, mirror, ["spacy:en_core_web_sm==3.8.0", "nltk:stopwords"])
            chosen, before = {**chosen, **exported.environment}, exported.sealed()
        return run_scenario(environment, "spacy_clients", task, chosen, before)

    return run


@pytest.fixture(scope="module")
def visits(
    elsewhere: Elsewhere,
    run: Callable[[Way, Path, str, Mapping[str, Any]], Report],
    wheel: bytes,  # noqa: ARG001 -- it is published by then
    tmp_path_factory: pytest.TempPathFactory,
) -> Visited:
    """Let all clients make their visits."""

    def visit(way: Way, home: Path, mirror: str) -> Report:
        return run(way, home, mirror, _task(way, mirror))

    return visits_of(elsewhere, tmp_path_factory, visit)


_CASES: Mapping[Way, tuple[str, ...]] = {
    Way.ADDRESS: ("pip",),
    Way.NATIVE: ("pip", "index"),
    Way.HOOK: ("spacy", "pip"),
    Way.CACHE: ("pip",),
}


def _installed(wheel: bytes) -> list[object]:
    """Say what a model that is installed holds and does."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as opened:
        files = {
            name.removeprefix("en_core_web_sm/"): sha256(opened.read(name))
            for name in opened.namelist()
            if name.startswith("en_core_web_sm/")
        }
    return [files, ["A mirror.", "It keeps what it has seen."]]


@pytest.mark.parametrize(("way", "case"), cases(_CASES))
def test_spacy_models_are_installed_as_published(
    visits: Visited, way: Way, case: str, wheel: bytes
) -> None:
    """By spaCy's command and by pip, each way that works; a second time with nothing behind the mirror."""
    visits(way).agree(case, _installed(wheel))


@pytest.mark.parametrize("way", list(_CASES))
def test_spacy_models_cost_upstream_each_file_once(visits: Visited, way: Way) -> None:
    """Table, checksums and wheel are asked for once, however many install the model."""
    visits(way).asked_once()


def test_spacy_model_with_a_wrong_byte_is_not_installed(
    elsewhere: Elsewhere,
    run: Callable[[Way, Path, str, Mapping[str, Any]], Report],
    wheel: bytes,
    tmp_path: Path,
) -> None:
    """The checksum that spaCy publishes and no client reads is held against the wheel."""

    def visit(home: Path, mirror: str) -> Report:
        return run(Way.ADDRESS, home, mirror, {"pip": _task(Way.ADDRESS, mirror)["pip"]})

    wrong, right = visit_spoiled(elsewhere, tmp_path, visit, (ASSETS, SIGNED))
    assert wrong["pip"].errors
    assert right["pip"].got() == _installed(wheel)


@pytest.mark.parametrize("way", [Way.ADDRESS, Way.HOOK])
def test_nltk_takes_no_server_of_a_private_network(visits: Visited, way: Way) -> None:
    """NLTK 3.10 refuses the mirror by design, however it is led there, and says so itself."""
    for report in visits(way).reports.values():
        assert "ValueError" in report["nltk"].errors
        assert "SSRF" in report["nltk"].message


def test_nltk_reads_what_was_exported(visits: Visited) -> None:
    """A folder named in NLTK_DATA is the one way there is: no network, read-only."""
    visits(Way.CACHE).agree("nltk", ["a", "the"])
