"""Models of hosts that are no Hub, in a bundle: clients have them from the mirror that took it, offline."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.available import client
from tests.clients.client import client_environment, run_command
from tests.clients.corpus import RAW, publish_stopwords
from tests.clients.test_kagglehub import _place as place
from tests.hosts import Hosts, Thing
from tests.mirror import test_ollama
from tests.mirror.adopting import contents
from tests.mirror.bundling import flip, make_key, modelmirror
from tests.mirror.running import Running
from tests.origin import Origin

KAGGLE = "www.kaggle.com"
STORAGE = "storage.googleapis.com"
CDN = "openaipublic.azureedge.net"
HANDLE = "google/yamnet/tensorFlow2/yamnet"
FILES = {"saved_model.pb": os.urandom(700_000), "variables/variables.index": os.urandom(2_000)}
WEIGHTS = os.urandom(900_000)
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
LAYERS = (b"layer" * 100_000, b'{"stop": []}')

_WHISPER = f"""
import os, whisper
url = os.environ["HF_ENDPOINT"] + "/-/whisper/{DIGEST}/base.pt"
print(whisper._download(url, os.environ["HOME"] + "/whisper", False))
"""
_STOPWORDS = 'import nltk; print(nltk.corpus.stopwords.words("english"))'


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A model at each of four hosts, as it is published there."""
    with Hosts() as hosts:
        listing = {"files": [{"name": name} for name in FILES], "nextPageToken": ""}
        told = {"Content-Type": "application/json"}
        path = f"/api/v1/models/{HANDLE}"
        hosts.put(KAGGLE, f"{path}/get", Thing(b'{"versionNumber": 1}', headers=told))
        hosts.put(
            KAGGLE,
            f"{path}/1/files?page_size=25",
            Thing(json.dumps(listing).encode(), headers=told),
        )
        for name, body in FILES.items():
            place(hosts, name, body)
        hosts.put(CDN, f"/main/whisper/models/{DIGEST}/base.pt", WEIGHTS)
        publish_stopwords(hosts)
        test_ollama.publish(hosts, "library/tiny", *LAYERS)
        yield hosts


def _kaggle(home: Path, url: str) -> object:
    """Fetch by kagglehub 0.3; the files that it has then."""
    there = client("kagglehub03")
    more = {"KAGGLE_API_ENDPOINT": f"{url}/-/kaggle/", "KAGGLEHUB_CACHE": str(home / "kaggle")}
    code = f"import kagglehub; print(kagglehub.model_download({HANDLE!r}))"
    done = run_command(
        [there.python, "-c", code], client_environment(home, url, there.commands, more)
    )
    assert done.returncode == 0, done.stderr
    return contents(Path(done.stdout.split()[-1]))


def _whisper(home: Path, url: str) -> object:
    """Fetch by whisper, which compares the digest; the bytes."""
    there = client("torch")
    done = run_command(
        [there.python, "-c", _WHISPER], client_environment(home, url, there.commands)
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[-1]).read_bytes()


def _nltk(home: Path, url: str) -> object:
    """Export what NLTK takes, a folder, and read from it; what it reads."""
    folder = home / "nltk_data"
    words = ("--endpoint", url, "--set", f"NLTK_DATA={folder}", folder, "nltk:stopwords")
    done = modelmirror("export", "--format", "cache", *words, settings={"HOME": str(home)})
    assert done.code == 0, (done.out, done.err)
    there = client("spacy")
    told = client_environment(home, url, there.commands, {"NLTK_DATA": str(folder)})
    ran = run_command([there.python, "-c", _STOPWORDS], told)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_bundle_of_other_hosts_models_serves_their_clients(
    origin: Origin, hosts: Hosts, tmp_path: Path
) -> None:
    """Kaggle, Whisper, NLTK and Ollama: whole and the same, by each client, with nobody behind the mirror."""
    key = make_key(tmp_path / "keys")
    online, offline, bundle = tmp_path / "online", tmp_path / "offline", tmp_path / "models.tar"
    named = (KAGGLE, STORAGE, CDN, RAW, test_ollama.REGISTRY, test_ollama.BUCKET)
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(*named)}
    had: dict[str, object] = {}
    with Running(online, origin, settings=settings) as mirror:
        for fetch in (_kaggle, _whisper, _nltk):
            had[fetch.__name__] = _in(tmp_path / f"first{fetch.__name__}", fetch, mirror.url)
        assert test_ollama.pull(mirror, "library/tiny") == list(LAYERS)
        mirror.settle()
        done = modelmirror("export", bundle, "--all", "--data", online, "--sign", key.private)
        assert done.code == 0, done.err
    assert had["_kaggle"] == FILES
    assert had["_whisper"] == WEIGHTS

    flip(bundle, bundle.stat().st_size // 2)
    taking = ("--data", offline, "--signers", key.signers)
    done = modelmirror("import", bundle, *taking)
    assert (done.code, "it was damaged on the way" in done.err) == (1, True), done.err
    assert "Copy it again" in done.err
    flip(bundle, bundle.stat().st_size // 2)
    done = modelmirror("import", bundle, *taking, "--json")
    assert done.code == 0, done.err
    with Running(offline, origin, flags=("--offline",)) as mirror:
        for fetch in (_kaggle, _whisper, _nltk):
            got = _in(tmp_path / f"second{fetch.__name__}", fetch, mirror.url)
            assert got == had[fetch.__name__], fetch.__name__
        assert test_ollama.pull(mirror, "library/tiny") == list(LAYERS)


def _in(home: Path, fetch: Callable[[Path, str], object], url: str) -> object:
    home.mkdir()
    return fetch(home, url)
