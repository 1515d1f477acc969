"""Caches of clients that know no mirror: what lies where is what their sources read."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.hosts import Thing
from tests.mirror.exporting import (
    CHECKPOINT,
    COMMIT,
    COMPRESSED,
    ENCODINGS,
    KAGGLE,
    PUNKT,
    PYTORCH,
    RESNET,
    SITE,
    SOURCE,
    STORAGE,
    TFHUB,
    TINY,
    YAMNET,
    World,
    sha1,
    sha256,
    tarred,
    zipped,
)

FRAMEWORK = "google/yamnet/tensorFlow2/yamnet/1"


def files_in(folder: Path) -> dict[str, bytes]:
    """The files below *folder*."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_without_variables_everything_goes_below_one_folder(site: World) -> None:
    """And what is to be set is said: each variable leads its client to its folder."""
    targets = (
        f"torch:{CHECKPOINT}",
        "tfhub:google/yamnet/1",
        f"kaggle:{FRAMEWORK}",
        "nltk:punkt_tab",
        "spacy:de_core_news_lg",
    )
    ran = site.export(*targets, "--json")
    (end,) = ran.said("end")
    assert end["environment"] == {
        "KAGGLEHUB_CACHE": str(site.out / "kagglehub"),
        "NLTK_DATA": str(site.out / "nltk_data"),
        "PIP_FIND_LINKS": str(site.out / "wheels"),
        "TFHUB_CACHE_DIR": str(site.out / "tfhub"),
        "XDG_CACHE_HOME": str(site.out),
    }
    assert files_in(site.out / "torch") == {f"hub/checkpoints/{CHECKPOINT}": RESNET}
    assert site.manifest()["environment"]["XDG_CACHE_HOME"] == "."
    assert [one["error"] for one in ran.said("target")] == [None] * len(targets)


@pytest.mark.parametrize(("target", "ref"), [("", "main"), (":v0.10.0", "v0.10.0")])
def test_torch_hub_finds_a_repository(site: World, target: str, ref: str) -> None:
    """Unpacked under the name that torch.hub has for it, beside the list that a read-only disk needs."""
    site.export(f"torchhub:pytorch/vision{target}", "--set", "TORCH_HOME=/t")
    assert files_in(site.out / "hub") == {
        "trusted_list": b"",
        **{f"pytorch_vision_{ref}/{name}": body for name, body in SOURCE.items()},
    }


def test_torch_hub_takes_master_where_there_is_no_main(site: World) -> None:
    """As torch.hub finds it out."""
    archive = Thing(zipped(SOURCE, top="o-r-1"), chunked=True)
    site.hosts.put(SITE, "/old/repo/zipball/master", archive)
    site.export("torchhub:old/repo", "--set", "TORCH_HOME=/t")
    assert (site.out / "hub/old_repo_master/hubconf.py").exists()


def test_a_handle_of_kaggle_has_four_spellings(site: World) -> None:
    """Each is a name of its own to TensorFlow; the others lead to the first."""
    base = "https://www.kaggle.com/models/google/yamnet"
    names = [
        sha1(f"{base}/tensorFlow2/yamnet/1"),
        sha1(f"{base}/frameworks/tensorFlow2/variations/yamnet/versions/1"),
        sha1(f"{base}/tensorFlow2/yamnet"),
        sha1(f"{base}/frameworks/tensorFlow2/variations/yamnet"),
    ]
    site.export(f"tfhub:{FRAMEWORK}", "--set", "TFHUB_CACHE_DIR=/m")
    for name in names:
        assert {path: (site.out / name / path).read_bytes() for path in YAMNET} == YAMNET
        assert (site.out / f"{name}.descriptor.txt").exists()
    assert all((site.out / name).is_symlink() for name in names[1:])


def test_a_handle_without_links_is_unpacked_once(site: World) -> None:
    """No bytes twice: the handle that the target names."""
    site.export(f"tfhub:{FRAMEWORK}", "--set", "TFHUB_CACHE_DIR=/m", "--links", "none")
    name = sha1("https://www.kaggle.com/models/google/yamnet/tensorFlow2/yamnet/1")
    assert sorted(path.name for path in site.out.iterdir() if not path.name.startswith(".")) == [
        name,
        f"{name}.descriptor.txt",
    ]
    assert files_in(site.out / name) == YAMNET


def test_the_newest_version_is_the_handle_without_one(site: World) -> None:
    """Of two versions the newer, unless the handle itself is a target; later runs agree among themselves."""
    handle = "https://tfhub.dev/google/yamnet"
    plain, first, second = (sha1(handle + end) for end in ("", "/1", "/2"))
    places = ("--set", "TFHUB_CACHE_DIR=/m")
    for end in ("", "/2"):
        site.hosts.put(TFHUB, f"/google/yamnet{end}?{COMPRESSED}", tarred(YAMNET))
    site.export("tfhub:google/yamnet/1", *places)
    assert (site.out / plain).readlink() == Path(first)
    site.export("tfhub:google/yamnet/1", "tfhub:google/yamnet/2", *places)
    assert (site.out / plain).readlink() == Path(second)
    site.export("tfhub:google/yamnet", "tfhub:google/yamnet/2", *places)
    assert not (site.out / plain).is_symlink()
    site.export("tfhub:google/yamnet/1", "--verify", *places)
    assert files_in(site.out / plain) == YAMNET


def test_kagglehub_finds_a_whole_version(site: World) -> None:
    """Its files, and the marker without which it would fetch them again."""
    site.export(f"kaggle:{FRAMEWORK}", "--set", "KAGGLEHUB_CACHE=/k")
    assert files_in(site.out / "models/google/yamnet/tensorFlow2/yamnet") == {
        "1.complete": b"",
        **{f"1/{name}": body for name, body in YAMNET.items()},
    }


def test_kagglehub_finds_a_version_of_many_files(own: World) -> None:
    """More than one page of them comes as one archive, as it does for kagglehub."""
    api = f"/api/v1/models/{FRAMEWORK}"
    listing = b'{"files": [{"name": "saved_model.pb"}], "nextPageToken": "more"}'
    own.hosts.put(KAGGLE, f"{api}/files?page_size=25", listing)
    own.hosts.put(KAGGLE, f"{api}/download", tarred(YAMNET))
    own.export(f"kaggle:{FRAMEWORK}", "--set", "KAGGLEHUB_CACHE=/k")
    assert files_in(own.out / f"models/{FRAMEWORK}") == YAMNET


@pytest.mark.parametrize("name", ["punkt_tab", "popular"])
def test_nltk_finds_a_package(site: World, name: str) -> None:
    """The archive, and what was in it; a collection is its packages."""
    site.export(f"nltk:{name}", "--set", "NLTK_DATA=/n:/usr/share/nltk_data")
    assert files_in(site.out / "tokenizers") == {"punkt_tab.zip": zipped(PUNKT), **PUNKT}


def test_tiktoken_finds_encodings(site: World) -> None:
    """By the sha1 of the addresses that it has for them; an old encoding is made of two files."""
    site.export("tiktoken:cl100k_base", "tiktoken:gpt2", "--set", "TIKTOKEN_CACHE_DIR=/t")
    assert files_in(site.out) == {
        ".modelmirror.json": (site.out / ".modelmirror.json").read_bytes(),
        **{sha1(f"https://{STORAGE}{path}"): body for path, body in ENCODINGS.items()},
    }
    assert (site.out / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4").exists()  # As tiktoken has it.


def test_pip_finds_a_model_of_spacy(site: World) -> None:
    """In a folder of wheels, by name and version, with no index."""
    site.export("spacy:de_core_news_lg", "spacy:de-core-news-lg==3.8.0")
    wheel = site.out / "wheels/de_core_news_lg-3.8.0-py3-none-any.whl"
    assert sha256(wheel.read_bytes()) in site.tree().values()
    assert [one["target"] for one in site.manifest()["targets"]] == [
        "spacy:de_core_news_lg",
        "spacy:de_core_news_lg==3.8.0",
    ]


def test_a_place_may_be_said_for_everything(site: World) -> None:
    """A file as that file, a repo or an archive as a flat folder; the app's own variables count."""
    site.export(
        f"torch:{CHECKPOINT}=/app/weights/resnet.pth",
        "acme/tiny=$PIX2TEXT_HOME/1.1/mfr",
        "torchhub:pytorch/vision=/app/source",
        "tfhub:google/yamnet/1=/app/yamnet",
        *("--set", "PIX2TEXT_HOME=/app/p2t", "--root", "/app"),
        *("--include", "*.json"),
    )
    assert files_in(site.out / "p2t/1.1/mfr") == {
        name: TINY[name] for name in ("config.json", "copy.json")
    }
    assert (site.out / "weights/resnet.pth").read_bytes() == RESNET
    assert files_in(site.out / "source") == SOURCE
    assert files_in(site.out / "yamnet") == YAMNET


def test_one_file_of_a_repo_may_be_named_by_its_address(site: World) -> None:
    """As it is copied out of a browser: it goes where the Hub's clients look for it."""
    site.export("https://huggingface.co/acme/tiny/blob/main/onnx/model.onnx", "--set", "HF_HOME=/h")
    commit = site.origin.repo("models", "acme/tiny").commit
    snapshot = site.out / "hub/models--acme--tiny/snapshots" / commit
    assert files_in(snapshot) == {"onnx/model.onnx": TINY["onnx/model.onnx"]}


def test_the_address_of_a_file_has_a_place_as_a_file_has(site: World) -> None:
    """It is that file, or with a slash at its end goes into that folder; globs are not for it."""
    address = "https://huggingface.co/acme/tiny/resolve/main/onnx/model.onnx"
    ran = site.export(f"{address}=/m/other.onnx", f"{address}=/m/into/", "--include", "*.json")
    body, found = TINY["onnx/model.onnx"], files_in(site.out)
    del found[".modelmirror.json"]
    assert found == {"other.onnx": body, "into/model.onnx": body}
    assert "acme/tiny@main: onnx/model.onnx=/m/other.onnx: 1 file" in ran.out


def test_everybody_may_read_it_whatever_the_umask(site: World) -> None:
    """Containers are run as whoever they like."""
    command = site.command("acme/tiny", "torchhub:pytorch/vision", "tfhub:google/yamnet/1")
    subprocess.run(
        ["sh", "-c", 'umask 077; exec "$@"', "sh", *command],
        env=site.variables,
        check=True,
        capture_output=True,
    )
    for path in site.out.rglob("*"):
        mode = path.stat().st_mode & 0o777
        assert mode == (0o755 if path.is_dir() else 0o644), path


def test_what_is_in_the_way_is_left_alone(site: World) -> None:
    """A folder that somebody else has made is not replaced; one of the same content is taken on."""
    there = site.out / "hub/pytorch_vision_main"
    there.mkdir(parents=True)
    (there / "mine.py").write_text("precious")
    ran = site.export("torchhub:pytorch/vision", "--set", "TORCH_HOME=/t", code=1)
    assert f"Move it away and export again: mv {there}" in ran.err
    assert (there / "mine.py").read_text() == "precious"
    shutil.rmtree(there)
    for name, body in SOURCE.items():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes(body)
    before = (there / "hubconf.py").stat().st_ino
    site.export("torchhub:pytorch/vision", "--set", "TORCH_HOME=/t")
    assert (there / "hubconf.py").stat().st_ino == before


def test_a_branch_that_moved_is_laid_out_anew(own: World) -> None:
    """What the last export had unpacked gives way as a whole."""
    own.export("torchhub:pytorch/vision", "--set", "TORCH_HOME=/t")
    newer = {"hubconf.py": b"dependencies = ['torch']\n"}
    body = Thing(zipped(newer, top="pytorch-vision-def456"), chunked=True, headers={"ETag": '"2"'})
    own.hosts.put(SITE, "/pytorch/vision/zipball/main", body)
    own.export("torchhub:pytorch/vision", "--set", "TORCH_HOME=/t")
    assert files_in(own.out / "hub/pytorch_vision_main") == newer


def test_archives_that_lead_out_are_refused(site: World) -> None:
    """Of a zip file; one of TF Hub is refused by the mirror before."""
    evil = Thing(zipped({"../../evil.py": b"x"}, top="top"), chunked=True)
    site.hosts.put(SITE, "/pytorch/vision/zipball/evil", evil)
    site.hosts.put(TFHUB, "/e/vil/1?tf-hub-format=compressed", tarred({"../evil": b"x"}))
    ran = site.export("torchhub:pytorch/vision:evil", "tfhub:e/vil/1", "nltk:punkt_tab", code=1)
    assert "cannot be laid out" in ran.err
    assert "tfhub:e/vil/1" in ran.err
    assert not [path for path in site.folder.rglob("*evil*") if path.suffix == ".py"]
    assert "1 of 3 targets are whole" in ran.out


def test_a_pinned_commit_of_a_repository_is_one_for_good(own: World) -> None:
    """Its export asks nobody again."""
    own.export(f"torchhub:pytorch/vision:{COMMIT}")
    own.mirror.stop()
    ran = own.export(f"torchhub:pytorch/vision:{COMMIT}")
    assert "nothing to fetch" in ran.out


def test_a_checkpoint_is_held_against_the_digits_in_its_name(own: World) -> None:
    """Also where the mirror itself would believe anything."""
    own.hosts.put(PYTORCH, f"/models/{CHECKPOINT}", RESNET[::-1])
    ran = own.export(f"torch:{CHECKPOINT}", code=1)
    assert CHECKPOINT in ran.err
    assert own.tree() == {}
