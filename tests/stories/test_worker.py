"""Two projects share one mirror, which begins with what was in ~/.cache: docs/stories/worker.md."""

import json
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.available import client
from tests.clients.elsewhere import Elsewhere, made
from tests.clients.environments import Environment
from tests.hosts import Thing
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
        files = {p.relative_to(folder / at).as_posix(): p for p in sorted((folder / at).rglob("*"))}
        upstream.origin.add_repo(
            "models", name, files={name: path for name, path in files.items() if path.is_file()}
        )
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
    begun = follow("worker.md", both, before={"Without a network": gone})
    subprocess.run(
        [both.python, "-c", _BEFORE],
        env={"HOME": str(begun.desk.home), "HF_ENDPOINT": upstream.origin.url, "PATH": "/usr/bin"},
        check=True,
        capture_output=True,
    )
    return begun


def test_x(story):
    try:
        story.to_the_end()
    finally:
        for t in story._told.items():
            print("=====", t[0], *t[1].asked, sep="\n")
            for c, d in t[1].commands:
                print("$", c, "\n", d.written)
    assert 0
