"""What is built on PyTorch: Whisper, torch.hub, tiktoken, speechbrain, old sentence-transformers and more."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.available import client
from tests.clients.client import Report, run_scenario
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

CDN = "openaipublic.azureedge.net"
STORAGE = "openaipublic.blob.core.windows.net"
PYTORCH = "download.pytorch.org"
SITE = "github.com"
API = "api.github.com"
CODELOAD = "codeload.github.com"

SPEAKER = "speechbrain/spkrec-ecapa-voxceleb"
SENTENCES = "acme/sentences"
FORMULAS = "breezedeus/pix2text-mfr-1.5"
VOICE = "en_US-lessac-medium"
ENCODING = "/encodings/cl100k_base.tiktoken"
REPO = "acme/hubrepo"

#: What the Hub keeps in LFS.
_LFS = ("*.ckpt", "*.safetensors")

#: Files of the speaker model that its hyperparameters do not name.
_MORE = ("README.md", "config.json")


@dataclass(frozen=True, slots=True)
class Models:
    """What is published: addresses, and the sha256 of each file by its path."""

    whisper: str
    checkpoint: str
    speaker: Mapping[str, str]
    sentences: Mapping[str, str]
    formulas: Mapping[str, str]
    voice: Mapping[str, str]

    def expected(self, way: Way, case: str) -> object:
        """Say what a case comes to."""
        sentence = [32, 18327, 13912, 1148, 433, 706, 3970, 13]
        return {
            # Its digest, its layers, and the alignment heads of `base`.
            "whisper": [self.whisper.split("/")[-2], 6, 8],
            "checkpoint": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
            "repo": [2, 1, 2],
            "encoding": 100256 if way is Way.ADDRESS else sentence,
            "speaker": [[1, 1, 12], self.speaker],
            "folder": [[1, 1, 12], self.speaker],
            "fetched": self.speaker,
            "sentences": [[1, 16], self.sentences],
            "formulas": self.formulas,
            "voice": self.voice,
        }[case]


@pytest.fixture(scope="module")
def environment() -> Environment:
    """What the clients are installed in."""
    return client("torch")


@pytest.fixture(scope="module")
def models(
    elsewhere: Elsewhere,
    environment: Environment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Models:
    """Publish small models of each kind."""
    folder = tmp_path_factory.mktemp("models")
    told = made(environment, "torch_models", folder)
    hosts, origin = elsewhere.hosts, elsewhere.origin
    digest = told["whisper_model"].got()
    whisper = f"/main/whisper/models/{digest}/base.pt"
    hosts.put(CDN, whisper, (folder / "base.pt").read_bytes())
    checkpoint = f"/models/{told['checkpoint'].got()}"
    hosts.put(PYTORCH, checkpoint, (folder / told["checkpoint"].got()).read_bytes())
    hosts.put(STORAGE, ENCODING, _encoding())
    _publish_repo(elsewhere)
    for name, at in ((SPEAKER, "ecapa"), (SENTENCES, "sentences")):
        files = {
            path.relative_to(folder / at).as_posix(): path
            for path in sorted((folder / at).rglob("*"))
            if path.is_file()
        }
        origin.add_repo("models", name, files=files, lfs=_LFS)
    formulas = {"config.json": b"{}", "encoder_model.onnx": b"onnx" * 5000}
    origin.add_repo("models", FORMULAS, files=formulas)
    voice = {f"{VOICE}.onnx": b"voice" * 9000, f"{VOICE}.onnx.json": b'{"audio": {}}'}
    origin.add_repo(
        "models",
        "rhasspy/piper-voices",
        files={f"en/en_US/lessac/medium/{name}": data for name, data in voice.items()},
    )
    return Models(
        whisper,
        checkpoint,
        told["speaker_model"].got(),
        told["sentence_model"].got(),
        {name: sha256(data) for name, data in formulas.items()},
        {name: sha256(data) for name, data in voice.items()},
    )


def _encoding() -> bytes:
    """The real cl100k_base, as a package holds it."""
    packages = client("spacy").path.glob("lib/python*/site-packages/tiktoken_ext/data")
    return (next(iter(packages)) / "cl100k_base.tiktoken").read_bytes()


def _publish_repo(elsewhere: Elsewhere) -> None:
    """Publish a repository with an entry point, on its branch and at a tag."""
    hosts = elsewhere.hosts
    hosts.put(SITE, f"/{REPO}/tree/main/", b"<html>a page</html>")
    for kind, ref in (("branches", "main"), ("tags", "v1")):
        listing = [{"name": ref, "commit": {"sha": ref[-1] * 40}}]
        hosts.put(API, f"/repos/{REPO}/{kind}?per_page=100&page=1", json.dumps(listing).encode())
        hosts.put(API, f"/repos/{REPO}/{kind}?per_page=100&page=2", b"[]")
    for ref, number in (("main", 2), ("v1", 1)):
        packed = io.BytesIO()
        top = f"acme-hubrepo-{ref}"
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{top}/", b"")
            archive.writestr(f"{top}/hubconf.py", f"def number():\n    return {number}\n")
        direct = f"/{REPO}/legacy.zip/refs/heads/{ref}"
        hosts.put(SITE, f"/{REPO}/zipball/{ref}", Thing(to=f"https://{CODELOAD}{direct}"))
        hosts.put(CODELOAD, direct, Thing(packed.getvalue(), chunked=True))


#: Variables of the app that its caches are exported for.
_APP = {
    "XDG_CACHE_HOME": "$MOUNT",
    "PIX2TEXT_HOME": "$MOUNT/pix2text",
    "SENTENCE_TRANSFORMERS_HOME": "$MOUNT/sentences",
    "TIKTOKEN_CACHE_DIR": "$MOUNT/tiktoken",
}


def _targets(models: Models) -> list[str]:
    """Say what to export; Whisper's stand-in by its address, for its name means the real model."""
    return [
        f"https://{CDN}{models.whisper}",
        f"torch:{Path(models.checkpoint).name}",
        f"torchhub:{REPO}",
        f"torchhub:{REPO}:v1",
        "tiktoken:cl100k_base",
        SPEAKER,
        f"{SPEAKER}=$MOUNT/speaker",
        f"{SENTENCES}=$SENTENCE_TRANSFORMERS_HOME/{SENTENCES.replace('/', '_')}",
        f"{FORMULAS}=$PIX2TEXT_HOME/1.1/mfr-1.5-onnx",
        "rhasspy/piper-voices=$MOUNT/voices",
    ]


def _task(way: Way, models: Models, mirror: str) -> dict[str, Any]:
    """Say which clients go this way, and what each is told."""
    speaker: dict[str, Any] = {"source": SPEAKER, "more": _MORE}
    fetched = {"source": SPEAKER, "names": [*models.speaker]}
    match way:
        case Way.ADDRESS:
            speaker["source"] = f"{mirror}/{SPEAKER}/resolve/main"
            return {
                "whisper": f"{mirror}/-/host/{CDN}{models.whisper}",
                "checkpoint": f"{mirror}/-/torch{models.checkpoint}",
                "encoding": f"{mirror}/-/host/{STORAGE}{ENCODING}",
                "speaker": speaker,
                "formulas": {"mirror": mirror, "repo": FORMULAS},
            }
        case Way.NATIVE:
            return {"speaker": speaker, "fetched": fetched, "sentences": SENTENCES}
        case _:
            voice = {"name": VOICE}
            if way is Way.CACHE:
                voice["folder"] = "models/voices/en/en_US/lessac/medium"
            return {
                "whisper": f"https://{CDN}{models.whisper}",
                "checkpoint": f"https://{PYTORCH}{models.checkpoint}",
                "repo": [REPO, f"{REPO}:v1", f"{REPO}:main"],
                "encoding": None,
                "speaker": speaker,
                "folder": {"source": "models/speaker", "more": _MORE},
                "fetched": fetched,
                "sentences": SENTENCES,
                "formulas": {"mirror": "https://hf-mirror.com", "repo": FORMULAS},
                "voice": voice,
            }


@pytest.fixture(scope="module")
def visits(
    elsewhere: Elsewhere,
    environment: Environment,
    models: Models,
    tmp_path_factory: pytest.TempPathFactory,
) -> Visited:
    """Let all clients make their visits."""

    def visit(way: Way, home: Path, mirror: str) -> Report:
        chosen, before = variables(way, home, mirror, environment.commands), []
        if way is Way.CACHE:
            exported = export(home, mirror, _targets(models), _APP)
            chosen, before = {**chosen, **exported.environment}, exported.sealed()
        task = _task(way, models, mirror)
        return run_scenario(environment, "torch_clients", task, chosen, before)

    return visits_of(elsewhere, tmp_path_factory, visit)


_LED = ("speaker", "fetched", "sentences")
_ALL = ("whisper", "checkpoint", "repo", "encoding", *_LED, "formulas", "voice")
_CASES: Mapping[Way, tuple[str, ...]] = {
    Way.ADDRESS: ("whisper", "checkpoint", "encoding", "speaker", "formulas"),
    Way.NATIVE: _LED,
    Way.HOOK: _ALL,
    Way.CACHE: (*_ALL, "folder"),
}


@pytest.mark.parametrize(("way", "case"), cases(_CASES))
def test_torch_clients_get_what_was_published(
    visits: Visited, way: Way, case: str, models: Models
) -> None:
    """Each way that works for a client gives it every byte; a second time with nothing behind the mirror."""
    visits(way).agree(case, models.expected(way, case))


@pytest.mark.parametrize("way", list(_CASES))
def test_torch_clients_cost_upstream_each_file_once(visits: Visited, way: Way) -> None:
    """Both visits of all clients ask for nothing twice."""
    visits(way).asked_once()


def test_torch_clients_get_no_wrong_byte(
    elsewhere: Elsewhere, environment: Environment, models: Models, tmp_path: Path
) -> None:
    """What Whisper, torch.hub and tiktoken name by digest fails for them if a bit of it is wrong."""
    way, names = Way.ADDRESS, ("whisper", "checkpoint", "encoding")

    def visit(home: Path, mirror: str) -> Report:
        task = {name: _task(way, models, mirror)[name] for name in names}
        chosen = variables(way, home, mirror, environment.commands)
        return run_scenario(environment, "torch_clients", task, chosen)

    places = (CDN, models.whisper), (PYTORCH, models.checkpoint), (STORAGE, ENCODING)
    wrong, right = visit_spoiled(elsewhere, tmp_path, visit, *places)
    for name in names:
        assert wrong[name].errors, name
        assert right[name].got() == models.expected(way, name)
