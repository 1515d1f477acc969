"""Kaggle's models through a running mirror, as both generations of kagglehub ask for them."""

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.running import Got, Running
from tests.origin import Origin

SITE = "www.kaggle.com"
API = "api.kaggle.com"
STORAGE = "storage.googleapis.com"
SERVICE = "/v1/models.ModelApiService"
MODEL = "/api/v1/models/google/yamnet/tensorFlow2/yamnet"
FILES = {"saved_model.pb": os.urandom(300_000), "variables/a b.index": os.urandom(2_000)}
CALL: Mapping[str, object] = {
    "ownerSlug": "google",
    "modelSlug": "yamnet",
    "framework": "MODEL_FRAMEWORK_TENSOR_FLOW_2",
    "instanceSlug": "yamnet",
}
NAMES = [name.replace(" ", "%20") for name in FILES]


def told(body: bytes) -> dict[str, str]:
    """The digests that storage tells of a file."""
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return {"x-goog-hash": f"crc32c=n03x6A==,md5={base64.b64encode(digest).decode()}"}


def place(hosts: Hosts, name: str, body: bytes, **headers: str) -> None:
    """Place a file of version 1: a redirect to storage, signed for GET."""
    signed = f"/kagglesdsdata/{name}?X-Goog-Signature=5ecret"
    hosts.put(SITE, f"{MODEL}/1/download/{name}", Thing(to=f"https://{STORAGE}{signed}"))
    hosts.put(STORAGE, signed, Thing(body, methods=("GET",), headers=headers or told(body)))


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """The scripted hosts, with a model."""
    listing = json.dumps({"files": [{"name": name} for name in FILES], "nextPageToken": ""})
    newest = json.dumps({"versionNumber": 1})
    with Hosts() as hosts:
        for name, body in zip(NAMES, FILES.values(), strict=True):
            place(hosts, name, body)
        for host, target, text in (
            (SITE, f"{MODEL}/1/files?page_size=25", listing),
            (SITE, f"{MODEL}/get", newest),
            (API, f"{SERVICE}/ListModelInstanceVersionFiles", listing),
            (API, f"{SERVICE}/GetModelInstance", newest),
        ):
            methods = ("POST",) if host == API else ("GET",)
            headers = {"Content-Type": "application/json"}
            hosts.put(host, target, Thing(text.encode(), headers=headers, methods=methods))
        yield hosts


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks them, and looks for what moves each time."""
    settings = {
        "MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(SITE, API, STORAGE),
        "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s",
    }
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


def call(mirror: Running, method: str, at: str = f"/-/host/{API}{SERVICE}", **more: object) -> Got:
    """One call of the newer kagglehub."""
    body = json.dumps({**CALL, **more}).encode()
    headers = {"Content-Type": "application/json"}
    return mirror.ask(
        f"{at}/{method}", method="POST", body=body, headers=headers, token="kaggle_secret"
    )


def led(mirror: Running, name: str) -> str:
    """Where the newer kagglehub ends up for a file."""
    got = call(mirror, "DownloadModelInstanceVersion", versionNumber=1, path=name)
    assert (got.status, got.body) == (302, b"")
    where = urlsplit(got.headers["location"])
    assert (where.hostname, where.port) == mirror.address
    return where.path


@pytest.mark.parametrize("endpoint", ["", "/-/kaggle", f"/-/host/{SITE}"])
def test_the_older_kagglehub_fetches_a_model(hosts: Hosts, mirror: Running, endpoint: str) -> None:
    """By whatever its endpoint is set to: its newest version, the list, each file with its MD5, once."""
    for _ in range(2):
        assert mirror.ask(f"{endpoint}{MODEL}/get").json() == {"versionNumber": 1}
        listing = mirror.ask(f"{endpoint}{MODEL}/1/files?page_size=25").json()
        assert [file["name"] for file in listing["files"]] == list(FILES)
        for name, body in zip(NAMES, FILES.values(), strict=True):
            got = mirror.ask(f"{endpoint}{MODEL}/1/download/{name}", token="kaggle_secret")
            assert (got.status, got.body) == (200, body)
            assert got.headers["x-goog-hash"] == told(body)["x-goog-hash"]
            assert got.headers["accept-ranges"] == "bytes"
            mirror.settle()
            assert hosts.bodies(STORAGE, f"/kagglesdsdata/{name}") == 1
    assert "kaggle_secret" not in str(hosts.seen)


@pytest.mark.parametrize("at", [f"/-/host/{API}{SERVICE}", "/api/v1/models.ModelApiService"])
def test_the_newer_kagglehub_fetches_a_model(hosts: Hosts, mirror: Running, at: str) -> None:
    """It POSTs, and a download leads it to an address where it can go on by GET."""
    assert call(mirror, "GetModelInstance", at).json() == {"versionNumber": 1}
    listing = call(mirror, "ListModelInstanceVersionFiles", at, versionNumber=1, pageSize=25)
    assert [file["name"] for file in listing.json()["files"]] == list(FILES)
    for name, body in FILES.items():
        path = led(mirror, name)
        got = mirror.ask(path)
        assert (got.status, got.body) == (200, body)
        assert got.headers["x-goog-hash"] == told(body)["x-goog-hash"]
        rest = mirror.ask(path, headers={"Range": "bytes=1000-"})
        assert (rest.status, rest.body) == (206, body[1000:])
    sent = [request for request in hosts.seen if request.method == "POST"]
    assert {request.headers["content-type"] for request in sent} == {"application/json"}
    assert not any("authorization" in request.headers for request in hosts.seen)
    with hosts.away():
        assert call(mirror, "GetModelInstance", at).json() == {"versionNumber": 1}
        again = call(mirror, "ListModelInstanceVersionFiles", at, versionNumber=1, pageSize=25)
        assert again.body == listing.body
        assert mirror.ask(led(mirror, "saved_model.pb")).body == FILES["saved_model.pb"]


def test_a_model_of_many_files_is_one_archive(hosts: Hosts, mirror: Running) -> None:
    """Beyond 25 files kagglehub names none of them."""
    whole = os.urandom(400_000)
    signed = "/kagglesdsdata/archive?X-Goog-Signature=5ecret"
    hosts.put(SITE, f"{MODEL}/1/download", Thing(to=f"https://{STORAGE}{signed}"))
    hosts.put(STORAGE, signed, Thing(whole, methods=("GET",), headers=told(whole)))
    got = call(mirror, "DownloadModelInstanceVersion", versionNumber=1)
    assert got.headers["location"] == f"{mirror.url}/-/host/{SITE}{MODEL}/1/download"
    for target in (f"/-/host/{SITE}{MODEL}/1/download", f"{MODEL}/1/download"):
        assert mirror.ask(target).body == whole
        mirror.settle()
    assert hosts.bodies(STORAGE, "/kagglesdsdata/archive") == 1


def test_both_share_what_is_stored(hosts: Hosts, mirror: Running) -> None:
    """A file is at one address, however a client came to it."""
    assert mirror.ask(led(mirror, "saved_model.pb")).status == 200
    assert mirror.ask(f"{MODEL}/1/download/saved_model.pb").status == 200
    mirror.settle()
    assert hosts.bodies(STORAGE, "/kagglesdsdata/saved_model.pb") == 1


def test_calls_that_differ_are_kept_apart(hosts: Hosts, mirror: Running) -> None:
    """By what they say, not by the order in which they say it."""
    target = f"{SERVICE}/ListModelInstanceVersionFiles"
    assert call(mirror, "ListModelInstanceVersionFiles", versionNumber=1).status == 200
    hosts.put(API, target, Thing(b'{"files": []}', methods=("POST",)))
    turned = json.dumps(dict(reversed([*CALL.items(), ("versionNumber", 1)]))).encode()
    assert (
        len(mirror.ask(f"/-/host/{API}{target}", method="POST", body=turned).json()["files"]) == 2
    )
    assert call(mirror, "ListModelInstanceVersionFiles", versionNumber=2).json() == {"files": []}


def test_the_newest_version_moves(hosts: Hosts, mirror: Running) -> None:
    """And is as last seen while Kaggle is down, or refuses everybody."""
    assert call(mirror, "GetModelInstance").json() == {"versionNumber": 1}
    target = f"{SERVICE}/GetModelInstance"
    hosts.put(API, target, Thing(b'{"versionNumber": 2}', methods=("POST",)))
    assert call(mirror, "GetModelInstance").json() == {"versionNumber": 2}
    for status in (403, 429, 503):
        hosts.put(API, target, Thing(b"", status, methods=("POST",)))
        got = call(mirror, "GetModelInstance")
        assert (got.status, got.json()) == (200, {"versionNumber": 2})
        assert "as it was" in got.headers["x-hf-warning"]


def test_wrong_bytes_are_refused_where_storage_tells_their_md5(
    hosts: Hosts, mirror: Running
) -> None:
    """Before any client compares it."""
    body = FILES["saved_model.pb"]
    place(hosts, "saved_model.pb", bytes(len(body)), **told(body))
    mirror.refuses_wrong(f"{MODEL}/1/download/saved_model.pb")
    place(hosts, "saved_model.pb", body)
    assert mirror.ask(f"{MODEL}/1/download/saved_model.pb").body == body


def test_other_bytes_than_the_first_raise_the_alarm(hosts: Hosts, mirror: Running) -> None:
    """Where storage tells nothing."""
    body = FILES["saved_model.pb"]
    place(hosts, "saved_model.pb", body, etag='"1"')
    assert mirror.ask(f"{MODEL}/1/download/saved_model.pb").body == body
    mirror.settle()
    digest = hashlib.sha256(body).hexdigest()
    assert mirror.stop() == 0
    (mirror.data / "v1" / "blobs" / "sha256" / digest[:2] / digest).unlink()
    mirror.start()
    place(hosts, "saved_model.pb", bytes(len(body)), etag='"1"')
    mirror.refuses_wrong(f"{MODEL}/1/download/saved_model.pb")


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("GetModelInstance", b""),
        ("GetModelInstance", b"[]"),
        ("GetModelInstance", b"{}"),
        ("GetModelInstance", json.dumps({**CALL, "framework": "tensorFlow2"}).encode()),
        ("GetModelInstance", json.dumps({**CALL, "ownerSlug": "../x"}).encode()),
        ("GetModelInstance", json.dumps({**CALL, "modelSlug": 1}).encode()),
        ("ListModelInstanceVersionFiles", json.dumps({**CALL, "pageSize": "25"}).encode()),
        ("DownloadModelInstanceVersion", json.dumps(CALL).encode()),
        ("DownloadModelInstanceVersion", json.dumps({**CALL, "versionNumber": True}).encode()),
        ("CreateModel", json.dumps(CALL).encode()),
    ],
)
def test_a_call_that_is_none_is_refused_with_a_sentence(
    hosts: Hosts, mirror: Running, method: str, body: bytes
) -> None:
    """Where kagglehub looks for one, and before anybody is asked."""
    got = mirror.ask(f"/-/host/{API}{SERVICE}/{method}", method="POST", body=body)
    assert (got.status, got.json()["code"]) == (400, 400)
    assert got.json()["message"] == got.json()["error"]
    assert hosts.seen == []


def test_what_is_not_there_and_what_is_closed_is_told(hosts: Hosts, mirror: Running) -> None:
    """As Kaggle tells it; without Kaggle it is 501."""
    assert mirror.ask(f"{MODEL}/1/download/nothing.pb").status == 404
    hosts.put(SITE, f"{MODEL}/1/download/closed.pb", Thing(b"", 403))
    assert mirror.ask(f"{MODEL}/1/download/closed.pb").status == 403
    assert mirror.ask(f"/-/host/{API}{SERVICE}/GetModelInstance").status == 405
    assert mirror.ask(f"{MODEL}/get", method="POST", body=b"{}").status == 405
    assert mirror.ask("/api/v1/datasets/list").status == 400
    with hosts.away():
        assert call(mirror, "GetModelInstance").status == 501
