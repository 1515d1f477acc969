"""Caches made by real clients, adopted, and served offline to the same clients with nothing of their own."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients.available import client
from tests.clients.client import client_environment
from tests.clients.environments import PYTHON_GROUPS, Environment
from tests.clients.world import World
from tests.hosts import Hosts
from tests.mirror.adopting import Done, adopt, contents, environment
from tests.mirror.running import Running
from tests.mirror.test_tfhub import archive, publish
from tests.origin import Origin

OFFLINE = ("--offline",)
MODEL = os.urandom(400_000)
SHA256 = hashlib.sha256(MODEL).hexdigest()
GRANT = ("--grant", "*")

SNAPSHOT = "from huggingface_hub import snapshot_download; snapshot_download({repo!r})"
TOKENS = """
from transformers import AutoConfig, AutoTokenizer
print(AutoTokenizer.from_pretrained({repo!r})("a mirror keeps what its")["input_ids"])
print(AutoConfig.from_pretrained({repo!r}).num_hidden_layers)
"""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """The scripted hosts."""
    with Hosts() as hosts:
        yield hosts


def _run(
    group: Environment, code: str, home: Path, url: str, extra: Mapping[str, str] | None = None
) -> str:
    """Run *code* in *group* as a user with the folder *home* alone, pointed at *url*."""
    more = {"HF_HUB_DISABLE_XET": "1", "HTTPS_PROXY": "http://127.0.0.1:1", **(extra or {})}
    variables = client_environment(home, url, group.commands, more)
    done = subprocess.run(
        [group.python, "-c", code],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _snapshots(home: Path) -> dict[str, bytes]:
    """What a user with *home* has of snapshots, by their commits."""
    return {path: data for path, data in contents(home).items() if "/snapshots/" in path}


@pytest.mark.parametrize(
    "group", ["hub24", "hub24-xet", "hub133", "hub133-xet", "hub036", "hub025"]
)
def test_a_hub_cache_is_adopted_and_fills_an_empty_one(
    group: str, origin: Origin, world: World, tmp_path: Path
) -> None:
    """Each release of huggingface_hub: all files of a snapshot, byte for byte, with no upstream."""
    name, _, xet = group.partition("-")
    there, code = client(name), SNAPSHOT.format(repo=world.tiny.repo_id)
    _run(there, code, tmp_path / "old", origin.url, {"HF_HUB_DISABLE_XET": "" if xet else "1"})
    shared = [*(tmp_path / "old").rglob(".huggingface-shared-blobs")]
    assert len(shared) == bool(xet)  # what came by Xet, and nothing else
    before = contents(tmp_path / "old")
    done = adopt(tmp_path / "data", str(tmp_path / "old"), *GRANT)
    assert done.code == 0, done.out
    assert contents(tmp_path / "old") == before
    with Running(tmp_path / "data", origin, flags=OFFLINE) as mirror:
        _run(there, code, tmp_path / "new", mirror.url)
    assert _snapshots(tmp_path / "new") == _snapshots(tmp_path / "old") != {}


def test_a_tokenizer_is_loaded_from_what_another_client_had(
    origin: Origin, world: World, tmp_path: Path
) -> None:
    """AutoTokenizer asks for files that do not exist, too: of those the cache had noted it is told so."""
    there, code = client("ml"), TOKENS.format(repo=world.tiny.repo_id)
    tokens = _run(there, code, tmp_path / "old", origin.url)
    assert adopt(tmp_path / "data", str(tmp_path / "old"), *GRANT).code == 0
    with Running(tmp_path / "data", origin, flags=OFFLINE) as mirror:
        assert _run(there, code, tmp_path / "new", mirror.url) == tokens


def _group(name: str) -> Environment:
    """The environment of a group that not every checkout has."""
    if name not in PYTHON_GROUPS:
        pytest.skip(f"there is no group of clients called {name} here")
    return client(name)


def test_a_kaggle_cache_is_adopted_and_fills_an_empty_one(
    origin: Origin, hosts: Hosts, tmp_path: Path
) -> None:
    """By kagglehub 0.3: all files of a version, on the operator's word that everybody may have them."""
    there = _group("kagglehub03")
    path = "/api/v1/models/google/yamnet/tensorFlow2/yamnet/1"
    files = {"saved_model.pb": MODEL, "variables/variables.index": b"index"}
    listing = json.dumps({"files": [{"name": name} for name in files], "nextPageToken": ""})
    hosts.put("www.kaggle.com", f"{path}/files?page_size=25", listing.encode())
    for name, data in files.items():
        hosts.put("www.kaggle.com", f"{path}/download/{name}", data)
    code = "import kagglehub; kagglehub.model_download('google/yamnet/tensorFlow2/yamnet/1')"
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting("www.kaggle.com")}

    def fetched(home: Path, url: str) -> dict[str, bytes]:
        extra = {"KAGGLE_API_ENDPOINT": f"{url}/-/kaggle/", "KAGGLEHUB_CACHE": str(home / "kaggle")}
        _run(there, code, home, url, extra)
        folder = home / "kaggle" / "models" / "google" / "yamnet" / "tensorFlow2" / "yamnet" / "1"
        return contents(folder)

    with Running(tmp_path / "first", origin, settings=settings) as mirror:
        assert fetched(tmp_path / "old", mirror.url) == files
    words = ("--allow-unverified", "--grant", "kaggle:*")
    done = adopt(tmp_path / "second", str(tmp_path / "old" / "kaggle"), *words)
    assert done.tally("kaggle") == {"unverified": 2}, done.out
    with Running(tmp_path / "second", origin, flags=OFFLINE) as mirror:
        assert fetched(tmp_path / "new", mirror.url) == files


def test_caches_of_whisper_and_torch_are_adopted_and_fill_empty_ones(
    origin: Origin, hosts: Hosts, tmp_path: Path
) -> None:
    """Both read the bytes again and compare their digests; whisper's table has one row exchanged."""
    there = _group("torch")
    name = f"resnet18-{SHA256[:8]}.pth"
    azure = "openaipublic.azureedge.net"
    hosts.put("download.pytorch.org", f"/models/{name}", MODEL)
    hosts.put(azure, f"/main/whisper/models/{SHA256}/base.pt", MODEL)
    code = f"""
import os, pathlib, sys, torch.hub, whisper
folder = pathlib.Path(torch.hub.get_dir(), "checkpoints")
folder.mkdir(parents=True)
url = os.environ["HF_ENDPOINT"]
torch.hub.download_url_to_file(f"{{url}}/-/torch/models/{name}", folder / {name!r}, {SHA256[:8]!r})
whisper._download(f"{{url}}/-/whisper/{SHA256}/base.pt", os.environ["XDG_CACHE_HOME"] + "/whisper", False)
"""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting("download.pytorch.org", azure)}

    def fetched(home: Path, url: str) -> dict[str, bytes]:
        _run(there, code, home, url, {"XDG_CACHE_HOME": str(home / "cache")})
        return contents(home / "cache")

    program = f"import mirror.hubs.whisper as w; w.MODELS['base'] = {SHA256!r}"
    patched = ("-c", f"{program}; from mirror.cli import main; main()")
    with Running(tmp_path / "first", origin, settings=settings) as mirror:
        had = fetched(tmp_path / "old", mirror.url)
    assert set(had) == {f"torch/hub/checkpoints/{name}", "whisper/base.pt"}
    words = ["adopt", "--data", str(tmp_path / "second"), "--json", str(tmp_path / "old" / "cache")]
    done = subprocess.run(
        [sys.executable, *patched, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment({"MODELMIRROR_OFFLINE": "true"}),
    )
    told = Done(done.returncode, done.stdout, done.stderr)
    assert (told.tally("torch"), told.tally("whisper")) == ({"prefix-proven": 1}, {"proven": 1})
    with Running(tmp_path / "second", origin, flags=OFFLINE, program=patched) as mirror:
        assert fetched(tmp_path / "new", mirror.url) == had


def test_a_tf_hub_cache_is_adopted_and_fills_an_empty_one(
    origin: Origin, hosts: Hosts, tmp_path: Path
) -> None:
    """The model is the same, though the archive that it comes in is another one."""
    there = _group("tf")
    publish(hosts, archive(folders=True))
    code = """
import os, tensorflow_hub
print(tensorflow_hub.resolve(os.environ["HF_ENDPOINT"] + "/-/tfhub/google/yamnet/1"))
"""
    named = ("tfhub.dev", "www.kaggle.com", "storage.googleapis.com")
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(*named)}

    def fetched(home: Path, url: str) -> dict[str, bytes]:
        out = _run(there, code, home, url, {"TFHUB_CACHE_DIR": str(home / "tfhub")})
        return contents(Path(out.split()[-1]))

    with Running(tmp_path / "first", origin, settings=settings) as mirror:
        had = fetched(tmp_path / "old", mirror.url)
    done = adopt(tmp_path / "second", str(tmp_path / "old" / "tfhub"), "--allow-unverified")
    assert done.tally("tfhub") == {"unverified": 1}, done.out
    with Running(tmp_path / "second", origin, flags=OFFLINE) as mirror:
        assert fetched(tmp_path / "new", mirror.url) == had != {}
