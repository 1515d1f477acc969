"""TensorFlow Hub with a real model, and kagglehub from 1.0 on, which has no setting for where Kaggle is."""

import base64
import contextlib
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

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
from tests.doubles.relay import Relay
from tests.hosts import Thing

TFHUB = "tfhub.dev"
KAGGLE = "www.kaggle.com"
API = "api.kaggle.com"
STORAGE = "storage.googleapis.com"
FORMAT = "tf-hub-format=compressed"
BUCKET = "/kagglesdsdata"
SIGNATURE = "X-Goog-Signature=5ecret"
SERVICE = "/v1/models.ModelApiService"
HANDLES = ("google/triple/1", "google/triple")
MODEL = "google/triple/tensorFlow2/default"

#: What a case is called, by which call it is made, and the handle that the call is given.
Task = tuple[str, str, str]


def _told(body: bytes) -> dict[str, str]:
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return {"x-goog-hash": f"crc32c=AAAAAA==, md5={base64.b64encode(digest).decode()}"}


@pytest.fixture(scope="module")
def environment() -> Environment:
    """What the clients are installed in."""
    return client("tf")


@pytest.fixture(scope="module")
def model(
    elsewhere: Elsewhere,
    environment: Environment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, str]:
    """Publish a small model at tfhub.dev and at Kaggle; gives the sha256 of its files."""
    folder = tmp_path_factory.mktemp("models")
    told = made(environment, "tf_models", folder)
    packed = (folder / "model.tar.gz").read_bytes()
    hosts = elsewhere.hosts

    def signed(name: str, body: bytes) -> Thing:
        target = f"{BUCKET}/{name}?{SIGNATURE}"
        hosts.put(STORAGE, target, Thing(body, methods=("GET",), headers=_told(body)))
        return Thing(to=f"https://{STORAGE}{target}")

    for number, handle in enumerate(HANDLES):
        moved = f"/models/google/triple/tensorFlow2/default/{number}?{FORMAT}&tfhub-redirect=true"
        hosts.put(TFHUB, f"/{handle}?{FORMAT}", Thing(to=f"https://{KAGGLE}{moved}"))
        hosts.put(KAGGLE, moved, signed(f"tfhub{number}", packed))
    hosts.put(KAGGLE, f"/models/{MODEL}/1?{FORMAT}", signed("kaggle", packed))
    with tarfile.open(folder / "model.tar.gz") as archive:
        names = archive.getnames()
        for name in names:
            content = archive.extractfile(name)
            assert content is not None
            at = f"/api/v1/models/{MODEL}/1/download/{name}"
            hosts.put(KAGGLE, at, signed(f"file/{name}", content.read()))
    listing = {"files": [{"name": name} for name in names], "nextPageToken": ""}
    for method, answer in (
        ("ListModelInstanceVersionFiles", listing),
        ("GetModelInstance", {"versionNumber": 1}),
    ):
        headers = {"Content-Type": "application/json"}
        thing = Thing(json.dumps(answer).encode(), methods=("POST",), headers=headers)
        hosts.put(API, f"{SERVICE}/{method}", thing)
    older = Thing(json.dumps(listing).encode(), headers={"Content-Type": "application/json"})
    hosts.put(KAGGLE, f"/api/v1/models/{MODEL}/1/files?page_size=25", older)
    return cast("Mapping[str, str]", told["saved_model"].got())


@contextlib.contextmanager
def _beside(mirror: str) -> Iterator[None]:
    """Let port 80 here be the mirror's, as it is where the two share a network namespace.

    That is where kagglehub asks with ``KAGGLE_API_ENVIRONMENT=LOCALHOST``.
    """
    try:
        relay = Relay(mirror, port=80)
    except OSError as error:
        pytest.skip(f"port 80 cannot be had: {error}")
    with relay:
        yield


def _tasks(way: Way, mirror: str) -> list[Task]:
    """Say what goes this way: what it is called here, by which call, and its handle."""
    if way is Way.ADDRESS:
        return [
            (f"{call} {handle}", call, f"{mirror}/-/tfhub/{handle}")
            for handle in HANDLES
            for call in ("resolve", "load")
        ]
    kaggle = [("kagglehub version", "kaggle", f"{MODEL}/1"), ("kagglehub newest", "kaggle", MODEL)]
    if way is Way.NATIVE:
        return kaggle
    return [
        *((f"resolve {handle}", "resolve", f"https://{TFHUB}/{handle}") for handle in HANDLES),
        ("resolve kaggle", "resolve", f"https://{KAGGLE}/models/{MODEL}/1"),
        ("load", "load", f"https://{TFHUB}/{HANDLES[0]}"),
        # Without Kaggle's API kagglehub does not know which version is the newest.
        *(kaggle[:1] if way is Way.CACHE else kaggle),
    ]


@pytest.fixture(scope="module")
def run(environment: Environment) -> Callable[[Way, Path, str, Sequence[Task]], Report]:
    """Give what runs tasks in one way."""

    def run(way: Way, home: Path, mirror: str, tasks: Sequence[Task]) -> Report:
        chosen = variables(way, home, mirror, environment.commands)
        chosen |= {"TFHUB_CACHE_DIR": str(home / "tfhub"), "KAGGLEHUB_CACHE": str(home / "kaggle")}
        before: list[str] = []
        if way is Way.CACHE:
            handles = [f"tfhub:{handle}" for handle in (*HANDLES, f"{MODEL}/1")]
            exported = export(home, mirror, [*handles, f"kaggle:{MODEL}/1"])
            chosen, before = {**chosen, **exported.environment}, exported.sealed()
        if way is Way.NATIVE:
            with _beside(mirror):
                chosen["KAGGLE_API_ENVIRONMENT"] = "LOCALHOST"
                return run_scenario(environment, "tf_clients", tasks, chosen)
        return run_scenario(environment, "tf_clients", tasks, chosen, before)

    return run


@pytest.fixture(scope="module")
def visits(
    elsewhere: Elsewhere,
    run: Callable[[Way, Path, str, Sequence[Task]], Report],
    model: Mapping[str, str],  # noqa: ARG001 -- it is published by then
    tmp_path_factory: pytest.TempPathFactory,
) -> Visited:
    """Let all clients make their visits."""

    def visit(way: Way, home: Path, mirror: str) -> Report:
        return run(way, home, mirror, _tasks(way, mirror))

    return visits_of(elsewhere, tmp_path_factory, visit)


_CASES: Mapping[Way, tuple[str, ...]] = {
    way: tuple(name for name, *_ in _tasks(way, "")) for way in Way
}


@pytest.mark.parametrize(("way", "case"), cases(_CASES))
def test_tensorflow_models_are_what_was_published(
    visits: Visited, way: Way, case: str, model: Mapping[str, str]
) -> None:
    """TensorFlow Hub and kagglehub have all its files, and it runs; again with nothing behind the mirror."""
    visits(way).agree(case, [3.0, 6.0] if case.startswith("load") else model)


@pytest.mark.parametrize("way", list(_CASES))
def test_tensorflow_models_cost_upstream_each_file_once(visits: Visited, way: Way) -> None:
    """Redirects, archives, answers of Kaggle's API: nothing is asked for twice."""
    visits(way).asked_once()


def test_tensorflow_model_with_a_wrong_byte_is_not_loaded(
    elsewhere: Elsewhere,
    run: Callable[[Way, Path, str, Sequence[Task]], Report],
    model: Mapping[str, str],
    tmp_path: Path,
) -> None:
    """The MD5 that storage tells is held against an archive, which no client does, and against a file."""
    tasks = [
        ("kaggle", "kaggle", f"{MODEL}/1"),
        ("tfhub", "resolve", f"https://{TFHUB}/{HANDLES[0]}"),
    ]
    wrong, right = visit_spoiled(
        elsewhere,
        tmp_path,
        lambda home, mirror: run(Way.HOOK, home, mirror, tasks),
        (STORAGE, f"{BUCKET}/tfhub0?{SIGNATURE}"),
        (STORAGE, f"{BUCKET}/file/saved_model.pb?{SIGNATURE}"),
    )
    for name, *_ in tasks:
        assert wrong[name].errors, name
        assert right[name].got() == model
