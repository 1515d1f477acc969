"""Ollama's registry through a running mirror: the requests of a pull, as its source makes them."""

import hashlib
import http.client
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.running import Got, Running
from tests.origin import Origin

REGISTRY = "registry.ollama.ai"
BUCKET = "dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com"
TYPE = "application/vnd.docker.distribution.manifest.v2+json"
WEIGHTS = os.urandom(5 << 20)
PARAMS = b'{"stop": ["<|eot|>"]}'
PART = 1 << 20  # 100 MB in the client.


def digest_of(content: bytes) -> str:
    """How a layer is named."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest(*layers: bytes) -> bytes:
    """The manifest of a model."""
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": TYPE,
        "layers": [{"digest": digest_of(layer), "size": len(layer)} for layer in layers],
    }).encode()  # fmt: skip


def publish(hosts: Hosts, model: str, *layers: bytes, tag: str = "latest") -> None:
    """Place a model in the registry; its layers lie in a bucket, at addresses signed for GET."""
    told = {"Content-Type": TYPE}
    hosts.put(
        REGISTRY, f"/v2/{model}/manifests/{tag}", Thing(manifest(*layers), headers=told, etag=False)
    )
    for layer in layers:
        path = f"/v2/{model}/blobs/{digest_of(layer)}"
        signed = f"/{digest_of(layer)}?X-Amz-Signature=5ecret"
        hosts.put(REGISTRY, path, Thing(to=f"https://{BUCKET}{signed}"))
        hosts.put(BUCKET, signed, Thing(layer, methods=("GET",)))


def pull(mirror: Running, model: str, tag: str = "latest") -> list[bytes]:
    """What ``ollama pull --insecure HOST:PORT/<model>:<tag>`` asks for; returns the layers."""
    got = mirror.ask(f"/v2/{model}/manifests/{tag}", headers={"Accept": TYPE})
    assert (got.status, got.headers["content-type"]) == (200, TYPE), got.body
    assert got.headers["docker-content-digest"] == digest_of(got.body)
    return [_layer(mirror, model, layer["digest"]) for layer in got.json()["layers"]]


def _layer(mirror: Running, model: str, digest: str) -> bytes:
    path = f"/v2/{model}/blobs/{digest}"
    total = int(mirror.ask(path, method="HEAD").headers["content-length"])
    direct = _dropped(mirror, path)

    def part(start: int) -> Got:
        end = min(start + PART, total) - 1
        return mirror.ask(direct, headers={"Range": f"bytes={start}-{end}"})

    with ThreadPoolExecutor(16) as pool:
        parts = list(pool.map(part, range(0, total, PART)))
    assert {got.status for got in parts} <= {206}
    content = b"".join(got.body for got in parts)
    assert digest_of(content) == digest
    return content


def _dropped(mirror: Running, path: str) -> str:
    """Ask for a whole layer, look at the head alone and hang up; returns where its parts are."""
    connection = http.client.HTTPConnection(*mirror.address, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    where = urlsplit(answer.headers["Location"])
    connection.close()
    assert (where.hostname, where.port) == mirror.address
    return where.path


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks them, and looks for a tag each time."""
    settings = {
        "MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(REGISTRY, BUCKET),
        "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s",
    }
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


def test_a_model_is_pulled_once(hosts: Hosts, mirror: Running) -> None:
    """Its layers cost upstream their bytes once, and then nothing, with the registry gone."""
    publish(hosts, "library/llama3.2", WEIGHTS, PARAMS)
    assert pull(mirror, "library/llama3.2") == [WEIGHTS, PARAMS]
    mirror.settle()
    whole = [request for request in hosts.seen if request.host == BUCKET]
    assert all(request.method == "GET" for request in whole)
    assert hosts.bodies(BUCKET, f"/{digest_of(WEIGHTS)}") == 1
    asked = [request for request in hosts.seen if "/manifests/" in request.target]
    assert {request.headers["accept"] for request in asked} == {TYPE}
    with hosts.away():
        assert pull(mirror, "library/llama3.2") == [WEIGHTS, PARAMS]
    assert "5ecret" not in mirror.log.read_text()


def test_a_layer_of_two_models_comes_once(hosts: Hosts, mirror: Running) -> None:
    """Its name is its digest, whichever model it is of, or namespace."""
    publish(hosts, "library/one", WEIGHTS)
    publish(hosts, "me/two", WEIGHTS, PARAMS)
    assert pull(mirror, "library/one") == [WEIGHTS]
    mirror.settle()
    path = f"/-/host/{REGISTRY}/v2/me/two/blobs/{digest_of(WEIGHTS)}"
    got = mirror.ask(path)
    assert got.body == WEIGHTS
    assert got.headers["location"] == f"{mirror.url}{path}"
    assert hosts.bodies(BUCKET, f"/{digest_of(WEIGHTS)}") == 1


def test_a_tag_moves(hosts: Hosts, mirror: Running) -> None:
    """And is shown as it was when the registry breaks."""
    publish(hosts, "library/one", PARAMS)
    assert pull(mirror, "library/one") == [PARAMS]
    publish(hosts, "library/one", PARAMS, b"license")
    assert pull(mirror, "library/one") == [PARAMS, b"license"]
    hosts.put(REGISTRY, "/v2/library/one/manifests/latest", Thing(b"", 503))
    got = mirror.ask("/v2/library/one/manifests/latest")
    assert got.body == manifest(PARAMS, b"license")
    assert "as it was" in got.headers["x-hf-warning"]


def test_wrong_bytes_never_make_a_layer(hosts: Hosts, mirror: Running) -> None:
    """The digest in the address is held against what comes."""
    publish(hosts, "library/one", WEIGHTS)
    path = f"/v2/library/one/blobs/{digest_of(WEIGHTS)}"
    signed = f"/{digest_of(WEIGHTS)}?X-Amz-Signature=5ecret"
    hosts.put(BUCKET, signed, WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    mirror.refuses_wrong(path)
    hosts.put(BUCKET, signed, WEIGHTS)
    assert mirror.ask(path).body == WEIGHTS


def test_what_the_registry_has_not_is_said(hosts: Hosts, mirror: Running) -> None:
    """404 for what is not there, 501 without upstream; nothing is pushed."""
    assert mirror.ask("/v2/library/nothing/manifests/latest").status == 404
    assert mirror.ask(f"/v2/library/nothing/blobs/{digest_of(b'')}").status == 404
    assert mirror.ask("/v2/library/one/tags/list").status == 400
    asked = len(hosts.seen)
    for method in ("POST", "PUT", "DELETE"):
        assert mirror.ask("/v2/library/one/blobs/uploads", method=method).status == 405
    assert len(hosts.seen) == asked
    with hosts.away():
        assert mirror.ask("/v2/library/one/manifests/latest").status == 501


def test_other_registries_paths_stay_the_hubs(
    hosts: Hosts, mirror: Running, origin: Origin
) -> None:
    """At the root only the namespace ``library`` is Ollama's."""
    asked = len(origin.seen())
    assert mirror.ask("/v2/").status == 200
    assert mirror.ask("/v2/acme/model/manifests/latest").status in (401, 404)
    assert len(origin.seen()) > asked
    assert hosts.seen == []
