"""`modelmirror adopt`: caches of Whisper, torch, TF Hub, Kaggle, Ollama, tiktoken and spaCy."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.hosts import Hosts, Thing
from tests.mirror.adopting import Done, adopt, environment, tree
from tests.mirror.running import Running
from tests.mirror.test_tfhub import md5_of, members
from tests.origin import Origin

MODEL = os.urandom(300_000)
SHA256 = hashlib.sha256(MODEL).hexdigest()
OFFLINE = ("--offline",)
# The tables of real digests cannot be met by bytes made up here, so one row is exchanged.
PATCHED = (
    "import mirror.hubs.whisper as w; w.MODELS['base'] = {sha!r};"
    " w.ENCODINGS['/encodings/r50k_base.tiktoken'] = {sha!r};"
    " from mirror.cli import main; main()"
)


def _put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def sha1(text: str) -> str:
    """What clients call a file that comes from an address."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _patched(data: Path, *words: str) -> Done:
    program = PATCHED.format(sha=SHA256)
    done = subprocess.run(
        [sys.executable, "-c", program, "adopt", "--data", str(data), "--json", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment({"MODELMIRROR_OFFLINE": "true"}),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def test_whisper_and_tiktoken_are_proven_by_their_tables(origin: Origin, tmp_path: Path) -> None:
    """Byte for byte, offline, at the addresses that their clients ask for."""
    cache = tmp_path / "cache"
    _put(cache / "whisper" / "base.pt", MODEL)
    url = "https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken"
    _put(cache / "tiktoken" / sha1(url), MODEL)
    before = tree(cache)
    done = _patched(tmp_path / "data", str(cache))
    assert done.code == 0, done.out
    assert (done.tally("whisper"), done.tally("tiktoken")) == ({"proven": 1}, {"present": 1})
    assert tree(cache) == before
    program = ("-c", PATCHED.format(sha=SHA256))
    with Running(tmp_path / "data", origin, flags=OFFLINE, program=program) as mirror:
        for path in (
            "/-/whisper/base",
            f"/-/host/openaipublic.azureedge.net/main/whisper/models/{SHA256}/base.pt",
            url.replace("https:/", "/-/host"),
        ):
            got = mirror.ask(path)
            assert (got.status, got.body) == (200, MODEL), path
            assert got.headers["content-length"] == str(len(MODEL))


def test_a_file_that_is_not_the_model_of_its_name_is_refused(tmp_path: Path) -> None:
    """In Whisper's own folder; elsewhere a `base.pt` may be anybody's."""
    _put(tmp_path / "cache" / "whisper" / "tiny.pt", MODEL)
    done = adopt(tmp_path / "data", str(tmp_path / "cache"))
    assert (done.code, done.tally("whisper")) == (1, {"refused": 1})
    _put(tmp_path / "other" / "ViT-B-32.pt", MODEL)
    done = adopt(tmp_path / "data", str(tmp_path / "other"))
    assert (done.code, done.tally("whisper")) == (0, {"skipped": 1})


def test_torch_checkpoints_are_proven_by_the_digits_in_their_names(
    origin: Origin, tmp_path: Path
) -> None:
    """Served at torchvision's addresses; wrong ones refused, others left alone; a first use is noted."""
    folder = tmp_path / "cache" / "torch" / "hub" / "checkpoints"
    _put(folder / f"resnet18-{SHA256[:8]}.pth", MODEL)
    _put(folder / f"resnet18_fbgemm_{SHA256[:8]}.pth", MODEL)
    _put(folder / "resnet50-00000000.pth", MODEL)
    _put(folder / "yolov5s.pt", MODEL)
    data = tmp_path / "data"
    done = adopt(data, str(tmp_path / "cache"))
    assert done.code == 1
    assert done.tally("torch") == {"prefix-proven": 2, "refused": 1, "skipped": 1}
    assert "is not known" in done.why("yolov5s.pt")
    journal = (data / "v1" / "journal.jsonl").read_text()
    notes = [json.loads(line) for line in journal.splitlines()]
    first = [line["note"] for line in notes if line.get("note", {}).get("kind") == "first-use"]
    assert {note["value"]["class"] for note in first} == {"prefix-proven"}
    with Running(data, origin, flags=OFFLINE) as mirror:
        for name in (f"resnet18-{SHA256[:8]}.pth", f"quantized/resnet18_fbgemm_{SHA256[:8]}.pth"):
            assert mirror.ask(f"/-/torch/models/{name}").body == MODEL
        assert mirror.ask("/-/torch/models/resnet50-00000000.pth").status == 501
    again = adopt(data, str(tmp_path / "cache"))
    assert again.tally("torch") == {"present": 2, "refused": 1, "skipped": 1}
    assert (data / "v1" / "journal.jsonl").read_text() == journal


def test_a_checkpoint_that_its_host_does_not_have_is_left_alone(
    hosts: Hosts, tmp_path: Path
) -> None:
    """Where upstream can be asked, it says which checkpoints are its own."""
    folder = tmp_path / "cache" / "hub" / "checkpoints"
    for name in ("ours", "others"):
        _put(folder / f"{name}-{SHA256[:8]}.pth", MODEL)
    hosts.put("download.pytorch.org", f"/models/ours-{SHA256[:8]}.pth", MODEL)
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting("download.pytorch.org")}
    done = adopt(tmp_path / "data", str(tmp_path / "cache"), settings=settings)
    assert done.tally("torch") == {"prefix-proven": 1, "skipped": 1}
    assert "has no such file" in done.why(f"others-{SHA256[:8]}.pth")
    assert hosts.bodies("download.pytorch.org", f"/models/ours-{SHA256[:8]}.pth") == 0


def _module(folder: Path, handle: str) -> str:
    name = sha1(handle)
    _put(folder / name / "saved_model.pb", b"graph")
    _put(folder / name / "variables" / "variables.index", MODEL)
    (folder / name / "assets").mkdir()
    said = f"Module: {handle}\nDownload Time: now\nDownloader Hostname: here (PID:1)"
    _put(folder / f"{name}.descriptor.txt", said.encode())
    return name


def test_tf_hub_models_are_taken_on_the_operators_word(origin: Origin, tmp_path: Path) -> None:
    """Nothing proves them; they are packed with their folders, and kept as what came first."""
    cache, data = tmp_path / "tfhub_modules", tmp_path / "data"
    _module(cache, "https://tfhub.dev/google/yamnet/1")
    _module(cache, "https://evil.example/google/yamnet/1")
    wrong = _module(cache, "https://tfhub.dev/google/other/1")
    descriptor = cache / f"{wrong}.descriptor.txt"
    descriptor.write_text(descriptor.read_text().replace("other", "yamnet"))
    before = tree(cache)
    done = adopt(data, str(cache))
    assert done.tally("tfhub") == {"skipped": 3}
    assert "--allow-unverified" in done.report["remarks"][0]["why"] + done.out
    done = adopt(data, str(cache), "--allow-unverified")
    assert done.tally("tfhub") == {"unverified": 1, "skipped": 2}
    assert tree(cache) == before
    with Running(data, origin, flags=OFFLINE) as mirror:
        for path in ("/-/tfhub/google/yamnet/1", "/-/host/tfhub.dev/google/yamnet/1"):
            got = mirror.ask(f"{path}?tf-hub-format=compressed")
            assert got.status == 200, got.body
            assert members(got.body) == {
                "assets": None,
                "saved_model.pb": b"graph",
                "variables": None,
                "variables/variables.index": MODEL,
            }
            assert got.headers["content-length"] == str(len(got.body))
    again = adopt(data, str(cache), "--allow-unverified", as_json=False)
    assert "Nothing new was taken." in again.out


def test_a_folder_with_a_link_in_it_is_no_model(tmp_path: Path) -> None:
    """An archive of it would have what the link leads to."""
    cache = tmp_path / "cache"
    name = _module(cache, "https://tfhub.dev/google/yamnet/1")
    (cache / name / "assets" / "passwd").symlink_to("/etc/passwd")
    done = adopt(tmp_path / "data", str(cache), "--allow-unverified")
    assert done.tally("tfhub") == {"skipped": 1}


def test_a_repository_of_torch_hub_is_packed_again(origin: Origin, tmp_path: Path) -> None:
    """With the operator's word that everybody may have it; what Python compiled stays out."""
    cache, data = tmp_path / "cache" / "hub", tmp_path / "data"
    _put(cache / "pytorch_vision_v0.10.0" / "hubconf.py", b"dependencies = []")
    _put(cache / "pytorch_vision_v0.10.0" / "__pycache__" / "hubconf.pyc", b"compiled")
    _put(cache / "a_b_c_d" / "hubconf.py", b"")
    done = adopt(data, str(tmp_path / "cache"), "--allow-unverified")
    assert done.tally("torch") == {"skipped": 2}
    assert "--grant 'github:pytorch/vision'" in done.why("v0.10.0")
    grant = ("--allow-unverified", "--grant", "github:pytorch/vision")
    done = adopt(data, str(tmp_path / "cache"), *grant)
    assert done.tally("torch") == {"unverified": 1, "skipped": 1}, done.out
    with Running(data, origin, flags=OFFLINE) as mirror:
        got = mirror.ask("/-/host/github.com/pytorch/vision/zipball/v0.10.0")
        assert got.status == 200, got.body
        with zipfile.ZipFile(io.BytesIO(got.body)) as archive:
            top = "pytorch-vision-v0.10.0"
            assert archive.namelist() == [f"{top}/", f"{top}/hubconf.py"]
            assert archive.read(f"{top}/hubconf.py") == b"dependencies = []"


def test_a_repository_that_upstream_tells_of_is_left_to_it(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """What it has may be another by now; the line that fetches that is told, and a word takes this one."""
    cache = tmp_path / "cache" / "hub"
    _put(cache / "pytorch_vision_main" / "hubconf.py", b"dependencies = []")
    address = "/pytorch/vision/zipball/main"
    hosts.put("github.com", address, Thing(b"another", chunked=True, etag=False))
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting("github.com")}
    words = (str(tmp_path / "cache"), "--allow-unverified")
    done = adopt(tmp_path / "one", *words, settings=settings)
    assert done.tally("torch") == {"skipped": 1}
    assert f"modelmirror warm https://github.com{address}" in done.why("main")
    grant = ("--no-ask", "--grant", "github:pytorch/vision")
    done = adopt(tmp_path / "two", *words, *grant, settings=settings)
    assert done.tally("torch") == {"unverified": 1}, done.out
    with Running(tmp_path / "two", origin, flags=OFFLINE) as mirror:
        assert mirror.ask(f"/-/host/github.com{address}").status == 200


def test_ollama_models_are_proven_and_closed_ones_need_a_word(
    origin: Origin, tmp_path: Path
) -> None:
    """The library is everybody's; another namespace is not known to be."""
    store, data = tmp_path / "ollama" / "models", tmp_path / "data"
    config = b"{}"
    sha = hashlib.sha256(config).hexdigest()
    manifest = {
        "config": {"digest": f"sha256:{sha}"},
        "layers": [{"digest": f"sha256:{SHA256}"}],
    }
    body = json.dumps(manifest).encode()
    _put(store / "blobs" / f"sha256-{SHA256}", MODEL)
    _put(store / "blobs" / f"sha256-{sha}", config)
    _put(store / "blobs" / "sha256-partial", b"x")
    _put(store / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest", body)
    _put(store / "manifests" / "registry.ollama.ai" / "acme" / "own" / "latest", body)
    _put(store / "manifests" / "elsewhere.example" / "acme" / "own" / "latest", body)
    done = adopt(data, str(tmp_path / "ollama"))
    assert done.code == 0
    assert done.tally("ollama")["proven"] == 2
    assert "--grant 'ollama:acme/own'" in done.why("acme/own/latest") + done.out
    with Running(data, origin, flags=OFFLINE) as mirror:
        assert mirror.ask("/v2/library/tiny/manifests/latest").body == body
        assert mirror.ask(f"/v2/library/tiny/blobs/sha256:{SHA256}").body == MODEL
        own = "/-/host/registry.ollama.ai/v2/acme/own"
        assert mirror.ask(f"{own}/manifests/latest").status == 501


KAGGLE = "www.kaggle.com"
VERSION = "google/yamnet/tensorFlow2/yamnet/1"


def _kaggle(cache: Path) -> tuple[str, ...]:
    version = cache / "models" / VERSION
    _put(version / "saved_model.pb", MODEL)
    _put(version.with_name("1.complete"), b"")
    _put(version.with_name("2") / "half.pb", MODEL)
    return (str(cache), "--allow-unverified")


def test_kaggle_models_are_taken_on_a_word(origin: Origin, tmp_path: Path) -> None:
    """A model may be its owner's alone: the operator says that it is not."""
    data, words = tmp_path / "data", _kaggle(tmp_path / "kagglehub")
    base = f"/api/v1/models/{VERSION}"
    done = adopt(data, *words)
    assert done.tally("kaggle") == {"skipped": 3}
    assert f"--grant 'kaggle:{VERSION}'" in done.why("saved_model.pb")
    done = adopt(data, *words, "--grant", "kaggle:google/*")
    assert done.tally("kaggle") == {"unverified": 1}, done.out
    with Running(data, origin, flags=OFFLINE) as mirror:
        listed = mirror.ask(f"/-/kaggle{base}/files?page_size=25").json()
        assert [item["name"] for item in listed["files"]] == ["saved_model.pb"]
        assert mirror.ask(f"/-/kaggle{base}/download/saved_model.pb").body == MODEL
        call = {
            "ownerSlug": "google",
            "modelSlug": "yamnet",
            "framework": "MODEL_FRAMEWORK_TENSOR_FLOW_2",
            "instanceSlug": "yamnet",
            "versionNumber": 1,
            "pageSize": 25,
        }
        rpc = "/-/host/api.kaggle.com/v1/models.ModelApiService/ListModelInstanceVersionFiles"
        got = mirror.ask(rpc, method="POST", body=json.dumps(call).encode())
        assert got.json() == listed


def test_kaggle_models_that_are_open_are_held_against_what_kaggle_tells(
    hosts: Hosts, tmp_path: Path
) -> None:
    """Where it can be asked, its word opens the model, and its MD5 proves the file or refuses it."""
    words = _kaggle(tmp_path / "kagglehub")
    path = f"/api/v1/models/{VERSION}/download/saved_model.pb"
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(KAGGLE, "api.kaggle.com")}
    listing = Thing(b'{"files": [{"name": "saved_model.pb"}], "nextPageToken": ""}')
    hosts.put(KAGGLE, f"/api/v1/models/{VERSION}/files?page_size=25", listing)
    hosts.put(KAGGLE, path, Thing(MODEL, headers=md5_of(MODEL)))
    done = adopt(tmp_path / "one", *words, settings=settings)
    assert done.tally("kaggle")["prefix-proven"] == 1, done.out
    hosts.put(KAGGLE, path, Thing(MODEL, headers=md5_of(b"another")))
    done = adopt(tmp_path / "two", *words, settings=settings)
    assert done.tally("kaggle")["refused"] == 1, done.out
    assert done.code == 1


def test_a_spacy_package_is_proven_where_its_checksum_can_be_had(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """Else it is unverified, and left alone without the operator's word."""
    name = "en_core_web_sm-3.8.0"
    wheel = f"{name}-py3-none-any.whl"
    wheelhouse = tmp_path / "wheels"
    _put(wheelhouse / wheel, MODEL)
    _put(wheelhouse / "torch-2.0.0-py3-none-any.whl", b"another")
    assert adopt(tmp_path / "one", str(wheelhouse)).tally("spacy") == {"skipped": 1}
    meta = json.dumps({"checksum_whl": SHA256, "checksum": "0" * 64}).encode()
    raw = "raw.githubusercontent.com"
    hosts.put(raw, f"/explosion/spacy-models/master/meta/{name}.json", meta)
    path = f"/explosion/spacy-models/releases/download/{name}/{wheel}"
    hosts.put("github.com", path, MODEL)
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(raw, "github.com")}
    done = adopt(tmp_path / "two", str(wheelhouse), settings=settings)
    assert done.tally("spacy") == {"proven": 1}, done.out
    assert hosts.bodies("github.com", path) == 0
    with Running(tmp_path / "two", origin, flags=OFFLINE) as mirror:
        assert mirror.ask(f"/-/spacy/files/{wheel}").body == MODEL


def test_flat_folders_are_known_by_what_they_are_once_the_hub_lists_them(
    origin: Origin, tmp_path: Path
) -> None:
    """sentence-transformers 2.2.2 kept no digest: proven by the Hub's list, else kept on a word."""
    files = {"modules.json": b"[]", "pytorch_model.bin": MODEL, "config.json": b"{}"}
    origin.add_repo("models", "acme/all-mini", files)
    folder = tmp_path / "cache" / "torch" / "sentence_transformers" / "acme_all-mini"
    for name, content in {**files, "config.json": b"{ }"}.items():
        _put(folder / name, content)
    upstream = {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": origin.url,
        "MODELMIRROR_REDIRECT_HOSTS": ",".join(origin.redirect_hosts),
    }
    data = tmp_path / "data"
    assert adopt(tmp_path / "other", str(tmp_path / "cache")).tally("hub") == {"skipped": 3}
    done = adopt(data, str(tmp_path / "cache"), settings=upstream)
    assert done.tally("hub") == {"proven": 2, "skipped": 1}
    before = len(origin.log)
    with Running(data, origin) as mirror:
        assert mirror.ask("/acme/all-mini/resolve/main/pytorch_model.bin").body == MODEL
        assert mirror.ask("/acme/all-mini/resolve/main/config.json").body == b"{}"
    fetched = [seen.path for seen in origin.log[before:] if "/resolve/" in seen.path]
    assert all(path.endswith("config.json") for path in fetched)


def test_a_first_use_that_upstream_contradicts_is_no_answer(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """What was adopted without proof is what must come when it is fetched again: else the alarm."""
    data = tmp_path / "data"
    folder = tmp_path / "cache" / "hub" / "checkpoints"
    name = f"resnet18-{SHA256[:8]}.pth"
    _put(folder / name, MODEL)
    assert adopt(data, str(tmp_path / "cache")).code == 0
    (blob,) = (data / "v1" / "blobs" / "sha256").glob(f"*/{SHA256}")
    blob.unlink()
    hosts.put("download.pytorch.org", f"/models/{name}", bytes(len(MODEL)))
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting("download.pytorch.org")}
    with Running(data, origin, settings=settings) as mirror:
        mirror.refuses_wrong(f"/-/torch/models/{name}")
        assert "digest-mismatch" in mirror.log.read_text()
