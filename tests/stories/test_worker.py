"""Two projects share one mirror, which begins with what was in ~/.cache: docs/stories/worker.md."""

import json
import subprocess
import venv
from collections.abc import Callable

import pytest

from tests.clients.available import client
from tests.clients.elsewhere import Elsewhere, made
from tests.clients.environments import Environment
from tests.hosts import Thing
from tests.stories import weights
from tests.stories.conftest import Follow
from tests.stories.story import Story

pytestmark = pytest.mark.clients

MOOD = "oliverguhr/german-sentiment-bert"
TOPIC = "sentence-transformers/paraphrase-multilingual-mpnet-base-v2"
SEARCH = "BAAI/bge-m3"
SITE = "github.com"
RAW = "raw.githubusercontent.com"
ASSETS = "release-assets.githubusercontent.com"
MODELS = "/explosion/spacy-models"
TAG = "de_core_news_lg-3.8.0"
WHEEL = f"{TAG}-py3-none-any.whl"
SIGNED = "/1/2?sig=5ecret"

# What the programs had downloaded before there was a mirror.
_BEFORE = f"""
from sentence_transformers import SentenceTransformer
from transformers import pipeline
pipeline("text-classification", model={MOOD!r})
SentenceTransformer({TOPIC!r})
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with all that both groups have; what is installed into it stays in it."""
    path = tmp_path_factory.mktemp("both")
    groups = [client("ml"), client("spacy")]
    venv.create(path, symlinks=True)
    (packages,) = path.glob("lib/python*/site-packages")
    theirs = [next(group.path.glob("lib/python*/site-packages")) for group in groups]
    (packages / "clients.pth").write_text("".join(f"{folder}\n" for folder in theirs))
    (path / "bin" / "pip").write_text(f'#!/bin/sh\nexec {path}/bin/python -m pip "$@"\n')
    (path / "bin" / "pip").chmod(0o755)
    return Environment("both", path)


@pytest.fixture(scope="module")
def story(
    follow: Follow,
    upstream: Elsewhere,
    gone: Callable[[], None],
    both: Environment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """Small models under the names of the large ones, and a home whose cache has two of them."""
    folder = tmp_path_factory.mktemp("models")
    told = made(both, "worker_models", folder)
    for name, at in ((MOOD, "mood"), (TOPIC, "mpnet"), (SEARCH, "bge")):
        told[at].got()
        weights.repo(upstream, name, folder / at)
    wheel, digest = told["pipeline"].got()
    hosts = upstream.hosts
    table = {"spacy": {"3.8": {"de_core_news_lg": ["3.8.0"]}}}
    hosts.put(RAW, f"{MODELS}/master/compatibility.json", json.dumps(table).encode())
    meta = {"name": "core_news_lg", "checksum_whl": digest}
    hosts.put(RAW, f"{MODELS}/master/meta/{TAG}.json", json.dumps(meta).encode())
    hosts.put(
        SITE, f"{MODELS}/releases/download/{TAG}/{WHEEL}", Thing(to=f"https://{ASSETS}{SIGNED}")
    )
    hosts.put(ASSETS, SIGNED, Thing((folder / wheel).read_bytes(), methods=("GET",)))
    # However slow the machine of the test is, the second run is soon after the first.
    soon = {"MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "1h"}
    begun = follow("worker.md", both, soon, before={"Without a network": gone})
    subprocess.run(
        [both.python, "-c", _BEFORE],
        env={"HOME": str(begun.desk.home), "HF_ENDPOINT": upstream.origin.url, "PATH": "/usr/bin"},
        check=True,
        capture_output=True,
    )
    return begun


def test_worker_moves_its_cache_over(story: Story) -> None:
    """All files of both models are proven, blobs that repos share among them; no byte is fetched."""
    told = story.to("The mirror")
    assert told.bodies == []
    assert "skipped" not in told.of("adopt").partition("others")[0]


def test_worker_fetches_what_was_not_in_the_cache(story: Story) -> None:
    """Only the other project's model and spaCy's wheel come, once for two programs."""
    told = story.to("The first run")
    repos = {one.partition("/resolve/")[0] for one in told.asked if "/resolve/" in one}
    assert repos == {f"GET hub /{SEARCH}"}
    assert sum(one.startswith("GET cdn ") for one in told.asked) == 1


def test_worker_has_one_list_for_both(story: Story) -> None:
    """What both projects need is written down and here, without a byte more."""
    assert not [one for one in story.to("What both need").bodies if not one.endswith(".json")]


def test_worker_begins_again_with_nothing(story: Story) -> None:
    """With empty caches both programs run, and what was looked up within the hour is asked of nobody."""
    assert story.to("Again").asked == ()


def test_worker_runs_without_a_network(story: Story) -> None:
    """Both programs do the same with everything behind the mirror gone."""
    told = story.to("Without a network")
    first = story.to("The first run")
    for app in ("mail/app.py", "search/app.py"):
        assert _said(told.of(app)) == _said(first.of(app))


def test_worker_is_told_what_is_missing(story: Story) -> None:
    """The page shows the model's name, what mends it, and exit code 1."""
    story.to("A model that is missing")
    story.to_the_end()


def _said(written: str) -> list[str]:
    """What an app printed, without how far it was with loading."""
    return [line for line in written.splitlines() if "(16,)" in line]
