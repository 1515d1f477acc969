"""PyTorch's checkpoints, and the hosts that timm and Keras name, through a running mirror."""

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.running import Running
from tests.origin import Origin

PYTORCH = "download.pytorch.org"
FACEBOOK = "dl.fbaipublicfiles.com"
STORAGE = "storage.googleapis.com"
MODEL = os.urandom(300_000)
PREFIX = hashlib.sha256(MODEL).hexdigest()[:8]


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks them."""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(PYTORCH, FACEBOOK, STORAGE)}
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


@pytest.mark.parametrize("between", ["-", "_"])
def test_a_checkpoint_is_what_the_digits_in_its_name_say(
    hosts: Hosts, mirror: Running, between: str
) -> None:
    """By either form, once; wrong bytes are never a whole answer."""
    path = f"/models/quantized/resnet18_fbgemm{between}{PREFIX}.pth"
    hosts.put(PYTORCH, path, MODEL[:-1] + bytes([MODEL[-1] ^ 1]))
    mirror.refuses_wrong(f"/-/torch{path}")
    hosts.put(PYTORCH, path, MODEL)
    got = mirror.ask(f"/-/torch{path}")
    assert (got.status, got.body) == (200, MODEL)
    assert got.headers["content-length"] == str(len(MODEL))
    mirror.settle()
    asked = hosts.bodies(PYTORCH, path)
    with hosts.away():
        assert mirror.ask(f"/-/host/{PYTORCH}{path}").body == MODEL
        assert mirror.ask(f"/-/torch{path}", method="HEAD").status == 200
    assert hosts.bodies(PYTORCH, path) == asked


def test_a_day_in_a_name_is_no_digest(hosts: Hosts, mirror: Running) -> None:
    """Nor are fewer than eight digits."""
    for name in ("model-20240131.pth", "sam_vit_h_4b8939.pth", "tutorial.pt"):
        hosts.put(PYTORCH, f"/models/{name}", MODEL)
        assert mirror.ask(f"/-/torch/models/{name}").body == MODEL


def test_files_of_different_hosts_at_one_path_are_kept_apart(hosts: Hosts, mirror: Running) -> None:
    """What is known of one says nothing of the other."""
    hosts.put(PYTORCH, "/models/same.pth", MODEL)
    hosts.put(FACEBOOK, "/models/same.pth", MODEL[:1000])
    assert mirror.ask(f"/-/host/{PYTORCH}/models/same.pth").body == MODEL
    assert mirror.ask(f"/-/host/{FACEBOOK}/models/same.pth").body == MODEL[:1000]


def test_packages_and_strangers_folders_are_not_served(hosts: Hosts, mirror: Running) -> None:
    """Wheels come from a package index; a shared host has folders of others."""
    for target in (
        f"/-/host/{PYTORCH}/whl/cpu/torch-2.13.0.whl",
        "/-/torch/libtorch/cpu/libtorch.zip",
        f"/-/host/{STORAGE}/somebody/else.bin",
        f"/-/host/{STORAGE}/tensorflow/keras-applications/../../else/x.h5",
        f"/-/host/{FACEBOOK}/deit/page.html",
    ):
        assert mirror.ask(target).status == 400, target
    assert hosts.seen == []


def test_the_md5_that_storage_tells_is_compared(hosts: Hosts, mirror: Running) -> None:
    """Keras' files lie in a bucket that tells an MD5 of each."""
    path = "/tensorflow/keras-applications/resnet/resnet50_notop.h5"
    md5 = base64.b64encode(hashlib.md5(MODEL, usedforsecurity=False).digest()).decode()
    told = {"x-goog-hash": f"crc32c=AAAAAA==, md5={md5}"}
    hosts.put(STORAGE, path, Thing(bytes(len(MODEL)), headers=told))
    mirror.refuses_wrong(f"/-/host/{STORAGE}{path}")
    hosts.put(STORAGE, path, Thing(MODEL, headers=told))
    assert mirror.ask(f"/-/host/{STORAGE}{path}").body == MODEL


def test_a_body_without_a_length_is_taken_whole_first(hosts: Hosts, mirror: Running) -> None:
    """Its client gets a length, and later ones the stored file; the digits are compared here too."""
    path = f"/models/chunked-{PREFIX}.pth"
    hosts.put(PYTORCH, path, Thing(MODEL[:-1], chunked=True))
    refused = mirror.ask(f"/-/torch{path}")
    assert refused.status == 502
    assert "None were kept" in refused.json()["error"]
    assert "digest-mismatch" in mirror.log.read_text()
    hosts.put(PYTORCH, path, Thing(MODEL, chunked=True))
    got = mirror.ask(f"/-/torch{path}")
    assert (got.body, got.headers["content-length"]) == (MODEL, str(len(MODEL)))
    with hosts.away():
        part = mirror.ask(f"/-/torch{path}", headers={"Range": "bytes=-5"})
        assert (part.status, part.body) == (206, MODEL[-5:])
        assert mirror.ask(f"/-/torch{path}", method="HEAD").headers["content-length"] == str(
            len(MODEL)
        )
    assert hosts.bodies(PYTORCH, path) == 2


def test_what_came_first_without_a_length_must_come_again(
    hosts: Hosts, mirror: Running, tmp_path: Path
) -> None:
    """Lost from the store and fetched once more: other bytes are refused, with the alarm."""
    path = "/models/unversioned.pt"
    hosts.put(PYTORCH, path, Thing(MODEL, chunked=True))
    assert mirror.ask(f"/-/torch{path}").body == MODEL
    digest = hashlib.sha256(MODEL).hexdigest()
    assert mirror.stop() == 0
    (tmp_path / "data" / "v1" / "blobs" / "sha256" / digest[:2] / digest).unlink()
    mirror.start()
    hosts.put(PYTORCH, path, Thing(MODEL[::-1], chunked=True))
    assert mirror.ask(f"/-/torch{path}").status == 502
    assert "digest-mismatch" in mirror.log.read_text()
    hosts.put(PYTORCH, path, Thing(MODEL, chunked=True))
    assert mirror.ask(f"/-/torch{path}").body == MODEL


def test_a_file_of_another_length_than_it_had_is_told(
    hosts: Hosts, mirror: Running, tmp_path: Path
) -> None:
    """Whoever replaces a file rarely keeps its length: it is refused, and raises the alarm as well."""
    path = "/models/replaced.pt"
    hosts.put(PYTORCH, path, MODEL)
    assert mirror.ask(f"/-/torch{path}").body == MODEL
    mirror.settle()
    digest = hashlib.sha256(MODEL).hexdigest()
    assert mirror.stop() == 0
    (tmp_path / "data" / "v1" / "blobs" / "sha256" / digest[:2] / digest).unlink()
    mirror.start()
    hosts.put(PYTORCH, path, MODEL + b"more")
    assert mirror.ask(f"/-/torch{path}").status == 502
    assert "size-mismatch" in mirror.log.read_text()


def test_a_body_that_breaks_off_is_no_body(hosts: Hosts, mirror: Running) -> None:
    """Nothing of it is kept, and the next request gets all of it."""
    path = "/models/broken.pt"
    hosts.put(PYTORCH, path, Thing(MODEL, chunked=True, cut=100_000))
    assert mirror.ask(f"/-/torch{path}").status == 501
    hosts.put(PYTORCH, path, Thing(MODEL, chunked=True))
    mirror.wait_for(lambda: mirror.ask(f"/-/torch{path}").body == MODEL)


def test_the_digest_of_a_file_is_told_once_it_is_known(hosts: Hosts, mirror: Running) -> None:
    """Nobody publishes one: it is that of what came first, for heads, parts and bodies without a length."""
    told = f"sha-256=:{base64.b64encode(hashlib.sha256(MODEL).digest()).decode()}:"
    for name, thing in (("plain.pt", Thing(MODEL)), ("chunked.pt", Thing(MODEL, chunked=True))):
        path = f"/-/torch/models/{name}"
        hosts.put(PYTORCH, f"/models/{name}", thing)
        first = mirror.ask(path)
        assert first.headers.get("repr-digest", told) == told
        mirror.settle()
        for headers in ({}, {"Range": "bytes=5-9"}):
            for method in ("HEAD", "GET"):
                got = mirror.ask(path, method=method, headers=headers)
                assert got.headers["repr-digest"] == told, (name, method)
