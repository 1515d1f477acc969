"""A world of stand-ins to export from, a mirror in front of it, and the command line as people run it."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.hosts import Hosts, Thing
from tests.mirror.running import Running
from tests.origin import Origin

CDN: Final = "openaipublic.azureedge.net"
STORAGE: Final = "openaipublic.blob.core.windows.net"
PYTORCH: Final = "download.pytorch.org"
SITE: Final = "github.com"
API: Final = "api.github.com"
RAW: Final = "raw.githubusercontent.com"
MEDIA: Final = "media.githubusercontent.com"
TFHUB: Final = "tfhub.dev"
KAGGLE: Final = "www.kaggle.com"
GOOGLE: Final = "storage.googleapis.com"
ASSETS: Final = "release-assets.githubusercontent.com"
HOSTS: Final = (CDN, STORAGE, PYTORCH, SITE, API, RAW, MEDIA, TFHUB, KAGGLE, GOOGLE, ASSETS)

YUNET: Final = (
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx"
)
COMPRESSED: Final = "tf-hub-format=compressed"


def sha256(body: bytes) -> str:
    """In hex."""
    return hashlib.sha256(body).hexdigest()


def sha1(text: str) -> str:
    """In hex."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def bytes_of(name: str, size: int = 100_000) -> bytes:
    """Stand-in weights: the same for a name each time, and unlike those of any other."""
    return hashlib.shake_256(name.encode()).digest(size)


WHISPER: Final = {name: bytes_of(f"whisper {name}", 700_000) for name in ("base", "medium")}
RESNET: Final = bytes_of("resnet18", 300_000)
CHECKPOINT: Final = f"resnet18-{sha256(RESNET)[:8]}.pth"
FACES: Final = bytes_of("yunet", 232_589)
YAMNET: Final = {
    "saved_model.pb": b"graph",
    "variables/variables.index": bytes_of("yamnet", 60_000),
}
TINY: Final = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": bytes_of("weights", 2_500_000),
    "onnx/model.onnx": bytes_of("onnx", 400_000),
    "empty.txt": b"",
    "copy.json": b'{"model_type": "bert"}',
}
PUNKT: Final = {"punkt_tab/english/a.tab": b"a\tb", "punkt_tab/README": b"read"}
SOURCE: Final = {"hubconf.py": b"dependencies = []\n", "lib/net.py": b"x = 1\n"}
ENCODINGS: Final = {
    f"/{path}": bytes_of(path, 30_000)
    for path in (
        "encodings/cl100k_base.tiktoken",
        "gpt-2/encodings/main/vocab.bpe",
        "gpt-2/encodings/main/encoder.json",
    )
}
COMMIT: Final = "c0ffee" + "0" * 34


def zipped(files: Mapping[str, bytes], top: str = "") -> bytes:
    """A zip archive with folder entries, all below *top*."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as opened:
        if top:
            opened.writestr(zipfile.ZipInfo(f"{top}/"), b"")
        for name, body in files.items():
            opened.writestr(zipfile.ZipInfo(f"{top}/{name}" if top else name), body)
    return packed.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    """A compressed archive that names no folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            opened.addfile(info, io.BytesIO(body))
    return packed.getvalue()


def populate(origin: Origin, hosts: Hosts) -> None:
    """Publish everything above."""
    for name in ("acme/tiny", "sentence-transformers/all-MiniLM-L6-v2"):
        origin.add_repo("models", name, files=TINY)
    origin.add_repo("models", "google/siglip-so400m-patch14-384", files=TINY)
    ecapa = {name: bytes_of(name, 20_000) for name in ("embedding_model.ckpt", "classifier.ckpt")}
    flat = {"hyperparams.yaml": b"a: 1", "label_encoder.txt": b"x", **ecapa}
    origin.add_repo("models", "speechbrain/spkrec-ecapa-voxceleb", files=flat)
    origin.add_repo("datasets", "acme/words", files={"data/train.csv": b"a,b\n"})
    for name, body in WHISPER.items():
        hosts.put(CDN, f"/main/whisper/models/{sha256(body)}/{name}.pt", body)
    for path, body in ENCODINGS.items():
        hosts.put(STORAGE, path, body)
    hosts.put(PYTORCH, f"/models/{CHECKPOINT}", RESNET)
    hosts.put(PYTORCH, "/models/plain.pth", RESNET[:5000])
    at = YUNET.removeprefix("https://github.com/").replace("/raw/", "/")
    pointer = (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{sha256(FACES)}\nsize {len(FACES)}\n"
    )
    hosts.put(RAW, f"/{at}", pointer.encode())
    hosts.put(MEDIA, f"/media/{at}", FACES)
    hosts.put(TFHUB, f"/google/yamnet/1?{COMPRESSED}", tarred(YAMNET))
    hosts.put(KAGGLE, f"/models/google/yamnet/tensorFlow2/yamnet/1?{COMPRESSED}", tarred(YAMNET))
    api = "/api/v1/models/google/yamnet/tensorFlow2/yamnet/1"
    listing = {"files": [{"name": name} for name in YAMNET], "nextPageToken": ""}
    hosts.put(KAGGLE, f"{api}/files?page_size=25", json.dumps(listing).encode())
    for name, body in YAMNET.items():
        hosts.put(KAGGLE, f"{api}/download/{name}", body)
    index = "/nltk/nltk_data/gh-pages"
    package = zipped(PUNKT)
    hosts.put(RAW, f"{index}/packages/tokenizers/punkt_tab.zip", package)
    hosts.put(
        RAW,
        f"{index}/index.xml",
        (
            '<nltk_data><packages><package id="punkt_tab" subdir="tokenizers" unzip="1" '
            f'sha256_checksum="{sha256(package)}" size="{len(package)}" '
            f'url="https://{RAW}{index}/packages/tokenizers/punkt_tab.zip" /></packages>'
            '<collections><collection id="popular" name="x"><item ref="punkt_tab" /></collection>'
            "</collections></nltk_data>"
        ).encode(),
    )
    archive = zipped(SOURCE, top="pytorch-vision-abc123")
    hosts.put(SITE, "/pytorch/vision/tree/main/", b"page")
    for ref in ("main", "v0.10.0", COMMIT):
        hosts.put(SITE, f"/pytorch/vision/zipball/{ref}", Thing(archive, chunked=True))
    tag = "de_core_news_lg-3.8.0"
    wheel = zipped({"de_core_news_lg/__init__.py": b"pipeline"})
    release = f"/explosion/spacy-models/releases/download/{tag}/{tag}-py3-none-any.whl"
    hosts.put(SITE, release, wheel)
    master = "/explosion/spacy-models/master"
    table = {"spacy": {"3.8": {"de_core_news_lg": ["3.8.0"]}}}
    hosts.put(RAW, f"{master}/compatibility.json", json.dumps(table).encode())
    hosts.put(
        RAW, f"{master}/meta/{tag}.json", json.dumps({"checksum_whl": sha256(wheel)}).encode()
    )


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run of the command gave."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What ``--json`` said."""
        return [json.loads(line) for line in self.out.splitlines()]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [one for one in self.events if one["event"] == event]


@dataclass(slots=True)
class World:
    """Origin, hosts, a mirror in front of them, and a folder to export to."""

    origin: Origin
    hosts: Hosts
    mirror: Running
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    url: str = ""
    """Where the mirror is asked, if not at its own address."""

    @property
    def out(self) -> Path:
        """The exported folder."""
        return self.folder / "out"

    def command(self, *arguments: str, here: bool = False) -> list[str]:
        """The command line; with *here* the mirror is that on the data folder."""
        where = (
            ("--data", str(self.mirror.data))
            if here
            else ("--endpoint", self.url or self.mirror.url)
        )
        return [
            *(sys.executable, "-m", "tests.mirror.standins", "export", "--format", "cache"),
            *(str(self.out), *arguments, *where),
        ]

    def export(self, *arguments: str, here: bool = False, code: int = 0) -> Ran:
        """Run the command, which must end with *code*."""
        ran = subprocess.run(
            self.command(*arguments, here=here),
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    @property
    def variables(self) -> dict[str, str]:
        """The environment that the command is run in."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MODELMIRROR_", "HF_"))}
        return {**kept, **self.mirror_settings, "HF_HOME": str(self.folder / "nobody")} | (
            self.environment
        )

    @property
    def mirror_settings(self) -> dict[str, str]:
        """What the mirror is run with."""
        return {
            "MODELMIRROR_HUGGINGFACE_UPSTREAMS": self.origin.url,
            "MODELMIRROR_REDIRECT_HOSTS": ",".join(self.origin.redirect_hosts),
            "MODELMIRROR_MIN_FREE": "1MiB",
            **self.mirror.settings,
        }

    def tree(self) -> dict[str, str]:
        """What lies in the exported folder: digests of files, targets of links, without what is ours."""
        found = {}
        for path in sorted(self.out.rglob("*")):
            name = path.relative_to(self.out).as_posix()
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file() and not name.startswith(".modelmirror."):
                found[name] = sha256(path.read_bytes())
        return found

    def manifest(self) -> dict[str, Any]:
        """The manifest as it is on the disk."""
        read: dict[str, Any] = json.loads((self.out / ".modelmirror.json").read_bytes())
        return read


@contextmanager
def world(folder: Path, *flags: str, **settings: str) -> Iterator[World]:
    """A mirror with *flags* and *settings* in front of everything that `populate` publishes."""
    with Origin() as origin, Hosts() as hosts:
        populate(origin, hosts)
        standins = json.dumps({name: sha256(body) for name, body in (WHISPER | ENCODINGS).items()})
        told = {
            "MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(*HOSTS),
            "STANDINS": standins,
            **settings,
        }
        mirror = Running(
            folder / "data", origin, flags, told, program=("-m", "tests.mirror.standins")
        )
        with mirror:
            yield World(origin, hosts, mirror, folder)
