"""Four folders that apps have, laid out as their variables say; read by the Hub's own client offline."""

from pathlib import Path

from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

from tests.mirror.exporting import (
    CDN,
    CHECKPOINT,
    FACES,
    RESNET,
    TINY,
    WHISPER,
    YAMNET,
    YUNET,
    World,
    bytes_of,
    sha1,
    sha256,
)

SIGLIP = "google/siglip-so400m-patch14-384"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def repo_in(cache: Path, name: str) -> dict[str, bytes]:
    """What the Hub's own client finds of a repo in *cache*, with no network."""
    found = Path(snapshot_download(name, cache_dir=cache, local_files_only=True))
    return {
        path.relative_to(found).as_posix(): path.read_bytes()
        for path in found.rglob("*")
        if path.is_file()
    }


def test_one_folder_may_be_four_caches_at_once(site: World) -> None:
    """HF_HOME, HF_HUB_CACHE, XDG_CACHE_HOME and TRANSFORMERS_CACHE are the same, as an .env file says."""
    names = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "TRANSFORMERS_CACHE")
    file = site.folder / ".env"
    file.write_text(
        "# where models are\nBASE=/app/models\n"
        + "".join(f'export {name}="${{BASE}}/.cache"\n' for name in names)
    )
    targets = ("whisper:medium", SIGLIP, f"{YUNET}=/app/models/.cache/")
    ran = site.export(*targets, "--env-file", str(file))

    assert (site.out / "whisper/medium.pt").read_bytes() == WHISPER["medium"]
    assert (site.out / "face_detection_yunet_2023mar.onnx").read_bytes() == FACES
    assert repo_in(site.out, SIGLIP) == TINY
    assert {path.name for path in site.out.iterdir()} == {
        "whisper",
        f"models--{SIGLIP.replace('/', '--')}",
        "face_detection_yunet_2023mar.onnx",
        "version.txt",
        ".modelmirror.json",
    }
    set_for_the_app = [line.strip() for line in ran.out.splitlines() if "=/app" in line]
    assert set(set_for_the_app) >= {
        "HF_HUB_CACHE=/app/models/.cache",
        "XDG_CACHE_HOME=/app/models/.cache",
    }
    assert (
        site.hosts.bodies(CDN, f"/main/whisper/models/{sha256(WHISPER['medium'])}/medium.pt") == 1
    )


def test_a_model_folder_may_hold_files_and_repos_side_by_side(site: World) -> None:
    """Whisper's file by its name, a repo in the Hub's layout, TF Hub beside; the paths are relative."""
    site.export(
        "whisper:base=.contentcache/models/",
        MINILM,
        "tfhub:google/yamnet/1",
        *("--set", "SENTENCE_TRANSFORMERS_HOME=.contentcache/models"),
        *("--set", "TFHUB_CACHE_DIR=.contentcache/tfhub"),
    )
    models = site.out / ".contentcache/models"
    assert (models / "base.pt").read_bytes() == WHISPER["base"]
    assert repo_in(models, MINILM) == TINY
    module = site.out / ".contentcache/tfhub" / sha1("https://tfhub.dev/google/yamnet/1")
    assert {name: (module / name).read_bytes() for name in YAMNET} == YAMNET
    descriptor = module.with_name(f"{module.name}.descriptor.txt").read_text()
    assert descriptor.startswith("Module: https://tfhub.dev/google/yamnet/1\n")


def test_old_and_new_caches_share_what_they_hold(site: World) -> None:
    """One is read by transformers, the other by huggingface_hub: both find the model, which is there once."""
    site.export(
        MINILM,
        f"torch:{CHECKPOINT}",
        *("--set", "TRANSFORMERS_CACHE=/app/.cache/transformers"),
        *("--set", "HF_HOME=/app/.cache/huggingface"),
        *("--set", "TORCH_HOME=/app/.cache/torch"),
    )
    for cache in ("transformers", "huggingface/hub"):
        assert repo_in(site.out / cache, MINILM) == TINY, cache
    assert (site.out / "torch/hub/checkpoints" / CHECKPOINT).read_bytes() == RESNET
    weights = sha256(TINY["model.safetensors"])
    real = [path for path, digest in site.tree().items() if digest == weights]
    assert len(real) == 1
    assert (site.out / "transformers/version.txt").read_text() == "1"


def test_a_flat_folder_holds_a_repo_at_its_root(site: World) -> None:
    """As speechbrain's savedir has it: /app/models is the exported folder itself."""
    ecapa = "speechbrain/spkrec-ecapa-voxceleb"
    site.export(f"{ecapa}=/app/models")
    assert site.tree() == {
        "hyperparams.yaml": sha256(b"a: 1"),
        "label_encoder.txt": sha256(b"x"),
        "embedding_model.ckpt": sha256(bytes_of("embedding_model.ckpt", 20_000)),
        "classifier.ckpt": sha256(bytes_of("classifier.ckpt", 20_000)),
    }


def test_installers_get_real_files_and_nothing_twice(site: World) -> None:
    """No link, no blob beside its snapshot, no lock, no absolute path; the Hub's client reads it."""
    site.export("acme/tiny", "whisper:base", "--links", "none")
    assert not any(to.startswith("->") for to in site.tree().values())
    assert repo_in(site.out / "huggingface/hub", "acme/tiny") == TINY
    repo = site.out / "huggingface/hub/models--acme--tiny"
    assert {path.name for path in repo.iterdir()} == {"refs", "snapshots"}
    text = (site.out / ".modelmirror.json").read_text()
    assert str(site.folder) not in text
    assert site.manifest()["links"] == {}
    assert list(site.tree().values()).count(sha256(TINY["model.safetensors"])) == 1


def test_the_hubs_client_finds_its_own_layout(site: World) -> None:
    """Refs, snapshots and blobs are those that it writes: it scans the cache without a warning."""
    site.export("acme/tiny", "dataset:acme/words", "--set", "HF_HOME=/x")
    cache = site.out / "hub"
    scanned = scan_cache_dir(cache)
    assert scanned.warnings == []
    assert {(repo.repo_type, repo.repo_id) for repo in scanned.repos} == {
        ("model", "acme/tiny"),
        ("dataset", "acme/words"),
    }
    repo = site.origin.repo("models", "acme/tiny")
    found = try_to_load_from_cache("acme/tiny", "onnx/model.onnx", cache_dir=cache)
    assert found == str(cache / f"models--acme--tiny/snapshots/{repo.commit}/onnx/model.onnx")
    assert Path(found).resolve().name == sha256(TINY["onnx/model.onnx"])
