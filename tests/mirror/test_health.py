"""What probes are told: healthy, degraded or neither, what is cached, and whether a target is here."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from mirror import __version__
from mirror.hubs.whisper import MODELS
from tests.hosts import Hosts
from tests.mirror.running import Got, Running
from tests.mirror.test_tfhub import FORMAT, HANDLE, KAGGLE, STORAGE, TFHUB, archive, publish
from tests.origin import Origin

FILES = {"config.json": b"{}", "model.safetensors": bytes(200_000), "onnx/model.onnx": b"onnx"}
PYTORCH = "download.pytorch.org"


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks origin and hosts."""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(PYTORCH)}
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


def _fetch(mirror: Running, name: str, *files: str, token: str | None = None) -> None:
    for file in files:
        assert mirror.ask(f"/{name}/resolve/main/{file}", token=token).status == 200
    mirror.settle()


def _target(mirror: Running, target: str, more: str = "") -> Got:
    return mirror.ask(f"/health?target={quote(target, safe='')}{more}")


def test_health_says_what_is_cached_and_where(mirror: Running, origin: Origin) -> None:
    """Status, version, uptime, offline mode, the folder, sizes, and how many models are here."""
    for name in ("acme/one", "acme/two"):
        origin.add_repo("models", name, files=FILES)
    origin.add_repo("datasets", "acme/words", files=FILES)
    origin.add_repo("models", "acme/closed", files=FILES, private=True, readers=("tokenA",))
    empty = mirror.ask("/health").json()
    _fetch(mirror, "acme/one", "config.json")
    _fetch(mirror, "acme/two", *FILES)
    _fetch(mirror, "datasets/acme/words", "config.json")
    _fetch(mirror, "acme/closed", "config.json", token="tokenA")
    got = mirror.ask("/health")
    said = got.json()

    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    assert (said["status"], said["reasons"], said["offline_mode"]) == ("healthy", [], False)
    assert (said["version"], said["cache_folder"]) == (__version__, str(mirror.data))
    assert (empty["models_cached"], said["models_cached"]) == (0, 2)
    assert said["cached"] == {"huggingface": {"datasets": 1, "models": 2}}
    # Of four repos each content once, with the empty one.
    assert (said["store"]["blobs"], said["store"]["bytes"]) == (4, sum(map(len, FILES.values())))
    assert said["uptime"] >= empty["uptime"] >= 0
    assert mirror.ask("/-/status").json().keys() == said.keys()
    assert "acme/closed" not in got.body.decode()


def test_health_of_an_outage_is_degraded_and_served(mirror: Running, origin: Origin) -> None:
    """While upstream is down what is here is served: 200, and a sentence that says so."""
    origin.add_repo("models", "acme/one", files=FILES)
    _fetch(mirror, "acme/one", *FILES)
    origin.stop()
    assert mirror.ask("/acme/other/resolve/main/x").status >= 500
    got = mirror.ask("/health")
    assert (got.status, got.json()["status"]) == (200, "degraded")
    assert got.json()["reasons"] == ["Upstream cannot be reached: what is here is served."]
    assert got.json()["down"] == ["huggingface"]
    assert mirror.ask("/acme/one/resolve/main/config.json").body == FILES["config.json"]


def test_health_is_503_only_when_nothing_can_be_served(
    mirror: Running, origin: Origin, tmp_path: Path
) -> None:
    """Without its folder a mirror is degraded while upstream can be asked, and unhealthy when it cannot."""
    origin.add_repo("models", "acme/one", files=FILES)
    _fetch(mirror, "acme/one", *FILES)
    aside = tmp_path / "aside"
    blobs = mirror.data / "v1" / "blobs"
    blobs.rename(aside)
    got = mirror.ask("/health")
    assert (got.status, got.json()["status"]) == (200, "degraded")
    assert "cache folder cannot be read" in got.json()["reasons"][0]
    aside.rename(blobs)
    assert mirror.ask("/health").json()["status"] == "healthy"

    mirror.stop()
    mirror.settings = {**mirror.settings, "MODELMIRROR_OFFLINE": "true"}
    mirror.start()
    got = mirror.ask("/health")
    assert (got.status, got.json()["status"], got.json()["offline_mode"]) == (200, "healthy", True)
    blobs.rename(aside)
    got = mirror.ask("/health")
    assert (got.status, got.json()["status"]) == (503, "unhealthy")
    aside.rename(blobs)
    assert mirror.ask("/health").status == 200


def test_health_tells_whether_a_repo_is_here_whole(mirror: Running, origin: Origin) -> None:
    """Cached means every file of the revision; what is missing is named, and globs choose what counts."""
    origin.add_repo("models", "acme/one", files=FILES)
    said = _target(mirror, "acme/one").json()
    assert (said["model_name"], said["model_cached"]) == ("acme/one", False)
    _fetch(mirror, "acme/one", "config.json")
    said = _target(mirror, "acme/one").json()
    assert said["model_cached"] is False
    assert said["model_missing"] == ["model.safetensors", "onnx/model.onnx"]
    _fetch(mirror, "acme/one", "model.safetensors")
    chosen = "&include=*.json&include=*.safetensors&exclude=onnx/"
    assert _target(mirror, "acme/one", chosen).json()["model_cached"] is True
    assert _target(mirror, "acme/one", "&include=*.onnx").json()["model_missing"] == [
        "onnx/model.onnx"
    ]
    _fetch(mirror, "acme/one", "onnx/model.onnx")
    for target in ("acme/one", "acme/one@main", "https://huggingface.co/acme/one"):
        said = _target(mirror, target).json()
        assert (said["model_cached"], said["model_missing"]) == (True, []), target
    for target in ("acme/one@v9", "dataset:acme/one", "acme/none"):
        said = _target(mirror, target).json()
        assert (said["model_name"], said["model_cached"]) == (target, False)
    file = "https://huggingface.co/acme/one/resolve/main/onnx/model.onnx"
    assert _target(mirror, file).json()["model_cached"] is True


def test_health_tells_of_public_repos_only(mirror: Running, origin: Origin) -> None:
    """A private or gated repo that is here is answered for as one that was never seen."""
    alice = ("tokenA",)
    origin.add_repo("models", "acme/private", files=FILES, private=True, readers=alice)
    origin.add_repo("models", "acme/gated", files=FILES, gated="auto", readers=alice)
    for name in ("acme/private", "acme/gated"):
        _fetch(mirror, name, *FILES, token="tokenA")
    never = _target(mirror, "acme/never").json()
    for name in ("acme/private", "acme/gated"):
        for asked in (name, f"https://huggingface.co/{name}/resolve/main/config.json"):
            said = _target(mirror, asked).json()
            assert said["model_cached"] is False
            if asked == name:
                assert said["model_missing"] == never["model_missing"] == []
        assert mirror.ask(f"/-/repo/huggingface/models/{name}").status == 404


def test_health_tells_of_files_of_other_hosts(
    mirror: Running, origin: Origin, hosts: Hosts
) -> None:
    """A checkpoint is cached once it is here; a model of Whisper that nobody fetched is not."""
    del origin
    hosts.put(PYTORCH, "/models/net-v1.pth", os.urandom(70_000))
    target = "torch:net-v1.pth"
    assert _target(mirror, target).json()["model_cached"] is False
    assert mirror.ask("/-/torch/models/net-v1.pth").status == 200
    mirror.settle()
    said = _target(mirror, target).json()
    assert (said["model_name"], said["model_cached"]) == (target, True)
    url = f"https://{PYTORCH}/models/net-v1.pth"
    assert _target(mirror, url).json()["model_cached"] is True
    for other in (f"whisper:{next(iter(MODELS))}", "tfhub:google/yamnet/1", "nltk:punkt_tab",
                  "spacy:de_core_news_lg", "kaggle:a/b/c/d/1", "torchhub:o/r", "tiktoken:gpt2"):  # fmt: skip
        said = _target(mirror, other).json()
        assert (said["model_name"], said["model_cached"]) == (other, False)


def test_health_tells_of_what_is_more_than_a_file(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """A handle of TF Hub is cached with its archive, a package of NLTK with the index that names it."""
    site, data = "https://raw.githubusercontent.com", "/nltk/nltk_data/gh-pages"
    package = b"PK" + os.urandom(5000)
    index = (
        f'<nltk_data><packages><package id="punkt_tab" subdir="tokenizers" unzip="1" '
        f'url="{site}{data}/packages/tokenizers/punkt_tab.zip" '
        f'sha256_checksum="{hashlib.sha256(package).hexdigest()}" /></packages></nltk_data>'
    )
    hosts.put("raw.githubusercontent.com", f"{data}/index.xml", index.encode())
    hosts.put("raw.githubusercontent.com", f"{data}/packages/tokenizers/punkt_tab.zip", package)
    publish(hosts, archive())
    asked = hosts.setting(TFHUB, KAGGLE, STORAGE, "raw.githubusercontent.com")
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": asked}
    with Running(tmp_path / "other", origin, settings=settings) as mirror:
        fetched = {
            "nltk:punkt_tab": (
                "/-/nltk/index.xml",
                f"/-/host/raw.githubusercontent.com{data}/packages/tokenizers/punkt_tab.zip",
            ),
            "tfhub:google/yamnet/1": (f"/-/host/tfhub.dev{HANDLE}?{FORMAT}",),
        }
        for target, paths in fetched.items():
            for path in paths:
                assert _target(mirror, target).json()["model_cached"] is False
                assert mirror.ask(path).status == 200, path
                mirror.settle()
            assert _target(mirror, target).json()["model_cached"] is True, target
        page = mirror.ask("/").body.decode()
        assert "TensorFlow Hub" in page
        assert "<th scope=row>NLTK</th><td class=n>1</td>" in page


def test_health_refuses_what_is_no_target(mirror: Running) -> None:
    """A target that cannot be read is a 400 with the forms there are."""
    for text in ("a/b/c/d", "nonsense:x", "http://x/y"):
        got = _target(mirror, text)
        assert got.status == 400, text
        assert "target" in got.json()["error"] or "written like" in got.json()["error"]


def test_health_of_a_target_follows_what_is_evicted(tmp_path: Path, origin: Origin) -> None:
    """A repo that was whole is no longer, once a file of it had to go."""
    origin.add_repo("models", "acme/one", files={"a.bin": os.urandom(600 << 10)})
    origin.add_repo("models", "acme/two", files={"b.bin": os.urandom(600 << 10)})
    with Running(tmp_path / "data", origin, settings={"MODELMIRROR_QUOTA": "1MiB"}) as mirror:
        for name, file in (("acme/one", "a.bin"), ("acme/two", "b.bin")):
            _fetch(mirror, name, file)
            assert _target(mirror, name).json()["model_cached"] is True
        said = _target(mirror, "acme/one").json()
        assert (said["model_cached"], "a.bin" in said["model_missing"]) == (False, True)
