"""The Hub's own client library takes the scripted origin for the Hub."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.origin import Origin, Sparse
from tests.origin.asking import ask

_weights = bytes(range(256)) * 12_000

# Run in a process of its own: huggingface_hub reads its endpoint when it is imported.
_visit = """
import hashlib, json, pathlib, sys
import huggingface_hub as hub
from huggingface_hub import errors

def outcome(work, *arguments, **options):
    try:
        return work(*arguments, **options)
    except Exception as error:
        return type(error).__name__

def digests(folder):
    root = pathlib.Path(folder)
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*") if path.is_file()} if root.is_dir() else folder

def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest() if "/" in path else path

def get(name, path, **options):
    return digest(outcome(hub.hf_hub_download, name, path, **options))

api = hub.HfApi()
told = {
    "small": get("acme/tiny", "config.json"),
    "large": get("acme/tiny", "model.safetensors"),
    "renamed": get("acme/old-name", "model.safetensors"),
    "miscased": get("ACME/tiny", "config.json"),
    "pull request": get("acme/tiny", "config.json", revision="refs/pr/1"),
    "missing file": get("acme/tiny", "nope.json"),
    "missing revision": get("acme/tiny", "config.json", revision="nowhere"),
    "gated anonymous": get("acme/gated", "m.bin", token=False),
    "gated stranger": get("acme/gated", "m.bin", token="tokenB"),
    "gated reader": get("acme/gated", "m.bin", token="tokenA"),
    "private stranger": get("acme/private", "m.bin", token="tokenB"),
    "private reader": get("acme/private", "m.bin", token="tokenA"),
    "missing repo": get("acme/none", "m.bin", token="tokenB"),
    "snapshot": digests(outcome(hub.snapshot_download, "acme/tiny")),
    "gated snapshot": digests(outcome(hub.snapshot_download, "acme/gated", token="tokenA")),
    "dataset": digests(outcome(hub.snapshot_download, "acme/books", repo_type="dataset")),
    "tree": len(list(api.list_repo_tree("acme/wide", recursive=True))),
    "expanded": [row.last_commit.title for row in api.list_repo_tree("acme/tiny", expand=True)],
    "paths": [row.path for row in api.get_paths_info("acme/tiny", ["config.json", "no"])],
    "refs": [ref.ref for ref in api.list_repo_refs("acme/tiny", include_pull_requests=True).pull_requests],
    "commits": [commit.title for commit in api.list_repo_commits("acme/tiny")],
    "info": [row.rfilename for row in api.model_info("acme/tiny", files_metadata=True,
                                                     securityStatus=True).siblings],
    "search": [row.id for row in api.list_models(author="acme", limit=2)],
    "whoami": api.whoami(token="tokenA")["name"],
    "access": outcome(api.auth_check, "acme/gated", token="tokenB"),
    "exists": [api.repo_exists("acme/tiny"), api.file_exists("acme/tiny", "no")],
}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """One hub for all visits."""
    with Origin() as running:
        running.tokens = {"tokenA": "alice", "tokenB": "bob"}
        tiny = running.add_repo(
            "models",
            "acme/tiny",
            {
                "config.json": b'{"model_type": "bert"}',
                "empty.txt": b"",
                "model.safetensors": _weights,
                "onnx/model.onnx": Sparse(70 << 20, stamped=True),
            },
            refs={"refs/pr/1": {"config.json": b"proposed"}},
            renamed_from=["acme/old-name"],
        )
        tiny.push({"README.md": b"# tiny"}, "Add README")
        running.add_repo("models", "acme/wide", {f"{n:04}.txt": b"%d" % n for n in range(2550)})
        running.add_repo(
            "models", "acme/gated", {"m.bin": b"gated"}, gated="manual", readers=["tokenA"]
        )
        running.add_repo(
            "models", "acme/private", {"m.bin": b"private"}, private=True, readers=["tokenA"]
        )
        running.add_repo("datasets", "acme/books", {"data/train.csv": b"a,b\n1,2\n"})
        yield running


def _run(origin: Origin, home: Path, *, xet: bool) -> dict[str, Any]:
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": origin.url,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "0" if xet else "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _visit],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("xet", [True, False])
def test_huggingface_hub_takes_it_for_the_hub(origin: Origin, tmp_path: Path, *, xet: bool) -> None:
    """Downloads are byte-identical by Xet and by HTTP, listings whole, and errors of their kind."""
    if xet and importlib.util.find_spec("hf_xet") is None:
        pytest.skip("hf_xet is not installed")
    origin.clear_log()
    told = _run(origin, tmp_path, xet=xet)

    def sha256(name: str, path: str, kind: str = "models", revision: str = "main") -> str:
        return origin.repo(kind, name).entry(path, revision).sha256

    tiny = origin.repo("models", "acme/tiny")
    weights = sha256("acme/tiny", "model.safetensors")
    assert told == {
        "small": sha256("acme/tiny", "config.json"),
        "large": weights,
        "renamed": weights,
        "miscased": sha256("acme/tiny", "config.json"),
        "pull request": sha256("acme/tiny", "config.json", revision="refs/pr/1"),
        "missing file": "RemoteEntryNotFoundError",
        "missing revision": "RevisionNotFoundError",
        "gated anonymous": "GatedRepoError",
        "gated stranger": "GatedRepoError",
        "gated reader": sha256("acme/gated", "m.bin"),
        "private stranger": "RepositoryNotFoundError",
        "private reader": sha256("acme/private", "m.bin"),
        "missing repo": "RepositoryNotFoundError",
        "snapshot": {path: sha256("acme/tiny", path) for path in tiny.paths},
        "gated snapshot": {"m.bin": sha256("acme/gated", "m.bin")},
        "dataset": {"data/train.csv": sha256("acme/books", "data/train.csv", "datasets")},
        "tree": 2550,
        "expanded": ["initial commit", "Add README", *["initial commit"] * 3],
        "paths": ["config.json"],
        "refs": ["refs/pr/1"],
        "commits": ["Add README", "initial commit"],
        "info": tiny.paths,
        "search": ["acme/gated", "acme/tiny"],
        "whoami": "alice",
        "access": "GatedRepoError",
        "exists": [True, False],
    }
    cas = origin.seen(server="cas", path="/xorbs/")
    cdn = origin.seen(server="cdn")
    assert bool(cas) is xet
    assert bool(cdn) is not xet
    assert not any("authorization" in seen.headers for seen in [*cas, *cdn])
    assert {seen.status for seen in [*cas, *cdn]} <= {200, 206}


def test_the_demo_tells_how_to_point_a_mirror_at_it() -> None:
    """``python -m tests.origin --demo`` prints settings of servers that answer, and ends on SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.origin", "--demo"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        settings = {}
        for line in process.stdout:
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                settings[name] = value
            if len(settings) == 2:
                break
        info = ask(f"{settings['MODELMIRROR_HUGGINGFACE_UPSTREAMS']}/api/models/acme/tiny-bert")
        assert info.json()["id"] == "acme/tiny-bert"
        assert settings["MODELMIRROR_REDIRECT_HOSTS"].count("localhost:") == 2
        process.terminate()
        assert process.wait(20) == 0
