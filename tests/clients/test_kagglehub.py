"""kagglehub before 0.4, which has a setting for where Kaggle is, against a scripted Kaggle."""

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.available import client
from tests.clients.client import client_environment
from tests.clients.mirror_process import running_mirror
from tests.hosts import Hosts, Thing
from tests.origin import Origin

SITE = "www.kaggle.com"
STORAGE = "storage.googleapis.com"
MODEL = "/api/v1/models/google/yamnet/tensorFlow2/yamnet"
HANDLE = "google/yamnet/tensorFlow2/yamnet"
FILES = {
    "saved_model.pb": os.urandom(3 << 20),
    "variables/variables.index": os.urandom(2_000),
    "assets/class map.csv": b"index,name\n",
}


def _place(hosts: Hosts, name: str, body: bytes) -> None:
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    told = {"x-goog-hash": f"crc32c=n03x6A==,md5={base64.b64encode(digest).decode()}"}
    at = name.replace(" ", "%20")
    signed = f"/kagglesdsdata/{at}?X-Goog-Signature=5ecret"
    hosts.put(SITE, f"{MODEL}/1/download/{at}", Thing(to=f"https://{STORAGE}{signed}"))
    hosts.put(STORAGE, signed, Thing(body, methods=("GET",), headers=told))


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Kaggle and its storage."""
    told = {"Content-Type": "application/json"}
    listing = json.dumps(
        {"files": [{"name": name} for name in FILES], "nextPageToken": ""}
    ).encode()
    with Hosts() as hosts:
        for name, body in FILES.items():
            _place(hosts, name, body)
        hosts.put(SITE, f"{MODEL}/get", Thing(b'{"versionNumber": 1}', headers=told))
        hosts.put(SITE, f"{MODEL}/1/files?page_size=25", Thing(listing, headers=told))
        yield hosts


@pytest.mark.parametrize("at", ["/-/kaggle/", ""])
def test_a_model_is_fetched_once_by_kagglehub(
    origin: Origin, hosts: Hosts, tmp_path: Path, at: str
) -> None:
    """Twice, into empty caches, the second time with Kaggle gone; what was cut off goes on."""
    environment = client("kagglehub03")
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(SITE, STORAGE)}
    with running_mirror(origin, tmp_path / "mirror", settings=settings) as mirror:

        def fetched(home: Path, partial: bytes = b"") -> dict[str, bytes]:
            folder = home / "cache" / "models" / HANDLE / "1"
            if partial:
                folder.mkdir(parents=True)
                (folder / "saved_model.pb").write_bytes(partial)
            variables = client_environment(home, mirror.url, environment.commands) | {
                "KAGGLE_API_ENDPOINT": f"{mirror.url}{at}",
                "KAGGLEHUB_CACHE": str(home / "cache"),
                "HTTPS_PROXY": "http://127.0.0.1:1",  # Whatever leaves for elsewhere fails.
            }
            program = f"import kagglehub; print(kagglehub.model_download('{HANDLE}'))"
            done = subprocess.run(
                [environment.python, "-c", program],
                env=variables,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert ("Resuming download" in done.stdout + done.stderr) == bool(partial)
            assert Path(done.stdout.splitlines()[-1]) == folder
            return {name: (folder / name).read_bytes() for name in FILES}

        assert fetched(tmp_path / "first") == FILES
        with hosts.away():
            assert fetched(tmp_path / "second") == FILES
            started = FILES["saved_model.pb"][: 1 << 20]
            assert fetched(tmp_path / "third", started) == FILES
    for name in FILES:
        assert hosts.bodies(STORAGE, f"/kagglesdsdata/{name.replace(' ', '%20')}") == 1
