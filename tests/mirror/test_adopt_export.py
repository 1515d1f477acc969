"""What was adopted can be laid out again as its client had it, byte for byte, with no upstream."""

import subprocess
import sys
from pathlib import Path

from tests.mirror.adopting import adopt, client, contents, environment
from tests.mirror.test_adopt_hosts import MODEL, SHA256, _module, _put
from tests.origin import Origin


def _export(data: Path, out: Path, *targets: str) -> dict[str, bytes]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mirror", "export", "--format", "cache"),
            *("--data", str(data), str(out), *targets),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment({"MODELMIRROR_OFFLINE": "true"}),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return contents(out)


def _of(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    """What lies below a folder of that name."""
    return {
        path.partition(f"{folder}/")[2]: data
        for path, data in files.items()
        if f"{folder}/" in path
    }


def test_a_hub_cache_is_exported_as_it_was_adopted(origin: Origin, tmp_path: Path) -> None:
    """Blobs, snapshots and refs."""
    files = {"config.json": b"{}", "model.safetensors": MODEL, "sub/empty.txt": b""}
    origin.add_repo("models", "acme/tiny", files)
    client(origin.url, tmp_path / "cache", "snapshot_download('acme/tiny')")
    assert adopt(tmp_path / "data", str(tmp_path / "cache"), "--grant", "*").code == 0
    exported = _export(tmp_path / "data", tmp_path / "out", "acme/tiny")
    had = contents(tmp_path / "cache" / "models--acme--tiny")
    for folder in ("blobs", "snapshots", "refs"):
        assert _of(exported, f"models--acme--tiny/{folder}") == _of(
            {f"/{path}": data for path, data in had.items()}, f"/{folder}"
        )
        assert _of(exported, f"models--acme--tiny/{folder}")


def test_unpacked_models_and_checkpoints_are_exported_as_they_were_adopted(tmp_path: Path) -> None:
    """TensorFlow Hub's folders, torch's files."""
    module = _module(tmp_path / "cache", "https://tfhub.dev/google/yamnet/1")
    name = f"resnet18-{SHA256[:8]}.pth"
    _put(tmp_path / "cache" / "hub" / "checkpoints" / name, MODEL)
    words = (str(tmp_path / "cache"), "--allow-unverified")
    assert adopt(tmp_path / "data", *words).code == 0
    targets = ("tfhub:google/yamnet/1", f"torch:{name}")
    exported = _export(tmp_path / "data", tmp_path / "out", *targets)
    assert _of(exported, module) == _of(contents(tmp_path / "cache"), module) != {}
    assert [data for path, data in exported.items() if path.endswith(name)] == [MODEL]
