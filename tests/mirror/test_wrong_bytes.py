"""A wrong byte, origin by origin: refused where a digest is known, an alarm where the first was believed.

The origins with a test file of their own have these tests there too; here are all the others.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Hosts
from tests.mirror.running import Running, files_below
from tests.origin import Origin

CDN = "openaipublic.azureedge.net"
TWIN = "openaipublic.blob.core.windows.net"
RAW = "raw.githubusercontent.com"
MEDIA = "media.githubusercontent.com"
STORAGE = "storage.googleapis.com"
FACEBOOK = "dl.fbaipublicfiles.com"
BEIT = "conversationhub.blob.core.windows.net"
HOSTS = (CDN, TWIN, RAW, MEDIA, STORAGE, FACEBOOK, BEIT)

RIGHT = os.urandom(200_000)
WRONG = RIGHT[:-1] + bytes([RIGHT[-1] ^ 1])
DIGEST = hashlib.sha256(RIGHT).hexdigest()
COMMIT = "c" * 40
POINTER = (
    f"version https://git-lfs.github.com/spec/v1\noid sha256:{DIGEST}\nsize {len(RIGHT)}\n"
).encode()

KNOWN = {
    "whisper": (CDN, f"/main/whisper/models/{DIGEST}/tiny.pt"),
    "clip": (CDN, f"/clip/models/{DIGEST}/ViT-B-32.pt"),
    "lfs by its branch": (MEDIA, "/media/o/r/main/model.onnx"),
    "lfs by its commit": (MEDIA, f"/media/o/r/{COMMIT}/model.onnx"),
    "facebook with digits": (FACEBOOK, f"/deit/deit_tiny-{DIGEST[:8]}.pth"),
    "timm with digits": (STORAGE, f"/vit_models/augreg/vit-{DIGEST[:8]}.pth"),
}
FIRST = {
    "a file of a commit": (RAW, f"/o/r/{COMMIT}/model.onnx"),
    "keras": (STORAGE, "/tensorflow/keras-applications/resnet/resnet50.h5"),
    "vision transformers": (STORAGE, "/vit_models/augreg/B_16.npz"),
    "big vision": (STORAGE, "/big_vision/siglip/webli_en_b16.npz"),
    "bit": (STORAGE, "/bit_models/BiT-M-R50x1.npz"),
    "facebook": (FACEBOOK, "/dino/dino_vitbase8_pretrain.pth"),
    "beit": (BEIT, "/beit-share-public/beit/beit_base.pth"),
}


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """The scripted hosts, with the pointers of what is in LFS."""
    with Hosts() as hosts:
        for ref in ("main", COMMIT):
            hosts.put(RAW, f"/o/r/{ref}/model.onnx", POINTER)
        yield hosts


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks them."""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(*HOSTS)}
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


def kept(mirror: Running) -> set[str]:
    """The digests of what is stored."""
    return {Path(name).name for name, _ in files_below(mirror.data / "v1" / "blobs")}


@pytest.mark.parametrize("place", KNOWN.values(), ids=KNOWN)
def test_wrong_bytes_are_refused_where_a_digest_is_known(
    hosts: Hosts, mirror: Running, place: tuple[str, str]
) -> None:
    """Nothing of them is kept, and the right ones are taken the next time."""
    host, path = place
    hosts.put(host, path, WRONG)
    mirror.refuses_wrong(f"/-/host/{host}{path}")
    assert hashlib.sha256(WRONG).hexdigest() not in kept(mirror)
    hosts.put(host, path, RIGHT)
    got = mirror.ask(f"/-/host/{host}{path}")
    assert (got.status, got.body) == (200, RIGHT)


@pytest.mark.parametrize("encoding", ["cl100k_base", "o200k_base", "p50k_base", "r50k_base"])
def test_wrong_bytes_are_refused_where_a_table_has_the_digest(
    hosts: Hosts, mirror: Running, encoding: str
) -> None:
    """Encodings of tiktoken are what its source says, and nothing else."""
    hosts.put(TWIN, f"/encodings/{encoding}.tiktoken", RIGHT)
    mirror.refuses_wrong(f"/-/host/{TWIN}/encodings/{encoding}.tiktoken")
    assert DIGEST not in kept(mirror)


@pytest.mark.parametrize("place", FIRST.values(), ids=FIRST)
def test_other_bytes_than_the_first_raise_the_alarm(
    hosts: Hosts, mirror: Running, place: tuple[str, str]
) -> None:
    """Lost from the store and fetched once more: they are refused, until the first ones are there again."""
    host, path = place
    hosts.put(host, path, RIGHT)
    assert mirror.ask(f"/-/host/{host}{path}").body == RIGHT
    mirror.settle()
    mirror.stop()
    (mirror.data / "v1" / "blobs" / "sha256" / DIGEST[:2] / DIGEST).unlink()
    mirror.start()
    hosts.put(host, path, WRONG)
    mirror.refuses_wrong(f"/-/host/{host}{path}")
    assert hashlib.sha256(WRONG).hexdigest() not in kept(mirror)
    hosts.put(host, path, RIGHT)
    got = mirror.ask(f"/-/host/{host}{path}")
    assert (got.status, got.body) == (200, RIGHT)
