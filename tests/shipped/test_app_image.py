"""An app's image is built through the mirror, and nothing in it knows the mirror any more."""

import hashlib
import json
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.hosts import Hosts, Thing
from tests.house.checkout import ROOT
from tests.mirror.exporting import ASSETS, CDN, RAW, SITE, WHISPER
from tests.mirror.running import Running
from tests.origin import Origin
from tests.shipped.images import BASE, Builder, Container, Image

FILE = ROOT / "docker" / "app.Dockerfile"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": bytes(range(256)) * 4096}
DIGEST = hashlib.sha256(WHISPER["base"]).hexdigest()
MODEL = f"/main/whisper/models/{DIGEST}/base.pt"
WHEEL = "de_test_sm-3.8.0-py3-none-any.whl"
RELEASE = f"/explosion/spacy-models/releases/download/de_test_sm-3.8.0/{WHEEL}"

# As an app has it: one client with a setting, one by urllib as Whisper is, one by pip as spaCy is.
MODELS = f"""
import os, subprocess, sys, urllib.request
from huggingface_hub import snapshot_download
snapshot_download({MINILM!r})
folder = os.path.join(os.environ["XDG_CACHE_HOME"], "whisper")
os.makedirs(folder)
urllib.request.urlretrieve("https://{CDN}{MODEL}", os.path.join(folder, "base.pt"))
subprocess.run(
    [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "https://github.com{RELEASE}"], check=True
)
"""
LOAD = f"""
import de_test_sm
from huggingface_hub import snapshot_download
print(snapshot_download({MINILM!r}))
print(len(open("/models/whisper/base.pt", "rb").read()))
"""


def _wheel() -> bytes:
    """A model of spaCy's as a wheel, but for what is in it."""
    info = "de_test_sm-3.8.0.dist-info"
    files = {
        "de_test_sm/__init__.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: de_test_sm\nVersion: 3.8.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Where OpenAI keeps its models and spaCy its wheels."""
    wheel = _wheel()
    meta = {"checksum_whl": hashlib.sha256(wheel).hexdigest()}
    with Hosts() as running:
        running.put(CDN, MODEL, WHISPER["base"])
        running.put(
            RAW,
            "/explosion/spacy-models/master/meta/de_test_sm-3.8.0.json",
            json.dumps(meta).encode(),
        )
        signed = f"/spacy/{WHEEL}?sig=1"
        running.put(SITE, RELEASE, Thing(to=f"https://{ASSETS}{signed}"))
        running.put(ASSETS, signed, wheel)
        yield running


@pytest.fixture
def mirror(tmp_path: Path, origin: Origin, hosts: Hosts) -> Iterator[Running]:
    """A mirror on this machine, as a build with the host's network sees it."""
    origin.add_repo("models", MINILM, files=FILES)
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(CDN, SITE, RAW, ASSETS)}
    with Running(tmp_path / "data", origin, settings=settings) as running:
        yield running


Build = Callable[[], Image]


@pytest.fixture
def build(shipping: Builder, unpacked: Path, mirror: Running, tmp_path: Path) -> Build:
    """Builds an app as docker/app.Dockerfile says it."""
    context = tmp_path / "context"
    context.mkdir()
    # Packages come from the one file, for there is no index here; else the lines are what people write.
    (context / "requirements.txt").write_text(
        "--no-index\n--find-links /wheels\nhuggingface_hub\n", encoding="utf-8"
    )
    (context / "models.py").write_text(MODELS, encoding="utf-8")
    return lambda: shipping.build(
        f"app-{time.monotonic_ns()}",
        FILE,
        context,
        "--build-arg", f"BASE={BASE}",
        "--build-arg", f"HF_ENDPOINT={mirror.url}",
        "--volume", f"{unpacked / 'wheels'}:/wheels:ro",
    )  # fmt: skip


def test_an_app_is_built_through_the_mirror_and_forgets_it(
    build: Build, shipping: Builder, mirror: Running, origin: Origin, hosts: Hosts
) -> None:
    """Models of three kinds are inside, and neither configuration nor history nor files name the mirror."""
    app = build()
    port = mirror.url.rpartition(":")[2]
    root = shipping.root(app)
    told = json.dumps([app.config, app.history])
    named = subprocess.run(
        ["grep", "-rlF", "--binary-files=text", f"127.0.0.1:{port}", str(root)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert port not in told
    assert "MODELMIRROR" not in told
    assert "HF_ENDPOINT" not in told
    assert named.stdout == ""
    assert not (root / "hook").exists()
    assert hosts.bodies(CDN, MODEL) == 1

    # It runs without a network, as nobody, on a read-only root.
    _loads(app, shipping)
    missing = "import huggingface_hub as h; h.snapshot_download('acme/other')"
    failed = Container(app, root, network=False, command=["python3", "-c", missing]).run()
    assert failed.returncode == 1
    assert "acme/other" in failed.stderr

    # Built again, with every hub gone, it is as good: all of it comes from the mirror.
    mirror.settle()
    origin.stop()
    with hosts.away():
        _loads(build(), shipping)
    assert hosts.bodies(CDN, MODEL) == 1


def _loads(app: Image, shipping: Builder) -> None:
    """Every model is found in *app* where there is no network."""
    command = ["python3", "-c", LOAD]
    done = Container(app, shipping.root(app), network=False, command=command).run()
    assert done.returncode == 0, done.stderr
    path, size = done.stdout.split()
    assert path.startswith("/models/huggingface/hub/models--")
    assert int(size) == len(WHISPER["base"])


def test_the_history_of_one_stage_would_name_it(shipping: Builder, tmp_path: Path) -> None:
    """The reason for the stages: an ARG that a RUN of the last stage has seen is in the history for good."""
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM {BASE}\nARG HF_ENDPOINT\nRUN true\n", encoding="utf-8")
    image = shipping.build(
        "naive", file, tmp_path, "--build-arg", "HF_ENDPOINT=http://mirror.example.org:8090"
    )

    assert "mirror.example.org" in json.dumps(image.history)
