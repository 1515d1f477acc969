"""What is recognised in folders, and what is not: scanners over real folders, hostile ones included."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from mirror.bundle import foundfiles, foundhub, foundloose, foundtree, foundunpacked
from mirror.bundle.found import Found, FoundAddress, FoundCommit, FoundLoose
from mirror.bundle.foundtree import Tree, look
from mirror.digest import Digest
from mirror.errors import QuestionError

COMMIT = "c" * 40
SHA1 = "a" * 40
SHA256 = "b" * 64


def _nothing(_amount: int) -> None:
    """Hear nothing."""


def _looked(root: Path) -> Tree:
    return look(root, _nothing)


def _put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _commits(found: Found) -> list[FoundCommit]:
    return [item for item in found.items if isinstance(item, FoundCommit)]


def _places(found: Found) -> list[str]:
    return [item.path for item in found.items if isinstance(item, FoundAddress)]


# ── the tree ───────────────────────────────────────────────────────────────────────────────────


def test_tree_follows_no_link_and_opens_nothing_but_files(tmp_path: Path) -> None:
    """Links are noted with their text; a pipe is passed over, and never opened, which would block."""
    _put(tmp_path / "root" / "a" / "file", b"abc")
    (tmp_path / "root" / "link").symlink_to("a/file")
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "root" / "pipe")
    tree = _looked(tmp_path / "root")
    assert set(tree.files) == {"a/file"}
    assert tree.links == {"link": "a/file", "out": str(tmp_path)}
    assert [passed.path for passed in tree.passed] == ["pipe"]
    assert tree.read("a/file", 3) == b"abc"
    assert tree.read("a/file", 2) is None
    assert tree.read("link", 10) is None


def test_tree_passes_over_names_that_are_no_text(tmp_path: Path) -> None:
    """No hub has such a path; the rest of the folder is looked at, and the name can be printed."""
    _put(tmp_path / "odd" / "file")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd/caf\xe9"))
    _put(odd)
    tree = _looked(tmp_path / "odd")
    assert set(tree.files) == {"file"}
    assert tree.folders[""] == ["file"]
    alone = _looked(odd)
    assert (alone.files, [passed.path for passed in alone.passed]) == ({}, ["caf\ufffd"])
    assert [str(passed).encode() for passed in tree.passed if "caf" in passed.path]


def test_tree_resolves_links_within_itself_alone(tmp_path: Path) -> None:
    """Over folders, over other links, written whole; not beyond its root, and not for ever."""
    root = tmp_path / "root"
    _put(root / "a" / "file")
    _put(tmp_path / "beside")
    for name, text in {
        "one": "a/file",
        "two": "one",
        "three": "b/file",
        "b": "a",
        "whole": str(root / "a" / "file"),
        "out": "../beside",
        "far": "/etc/passwd",
        "loop": "loop",
        "gone": "none",
        "folder": "a",
    }.items():
        (root / name).symlink_to(text)
    tree = _looked(root)
    for name in ("one", "two", "three", "whole", "a/file", "a/../one"):
        assert tree.resolve(name) == "a/file", name
    for name in ("out", "far", "loop", "gone", "folder", "../beside"):
        assert tree.resolve(name) is None, name


def test_tree_opens_no_file_that_was_exchanged_for_a_link(tmp_path: Path) -> None:
    """Neither the file nor a folder on the way to it."""
    root = tmp_path / "root"
    _put(root / "a" / "file")
    _put(tmp_path / "secret" / "file", b"secret")
    tree = _looked(root)
    (root / "a").rename(root / "b")
    (root / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="directory"):
        tree.open("a/file")
    (root / "a").unlink()
    (root / "a").mkdir()
    (root / "a" / "file").symlink_to(tmp_path / "secret" / "file")
    with pytest.raises(OSError, match="symbolic"):
        tree.open("a/file")
    (root / "a" / "file").unlink()
    os.mkfifo(root / "a" / "file")
    with pytest.raises(OSError, match="regular"):
        tree.open("a/file")


def test_tree_has_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many names are refused, too deep folders passed over, the mirror's own left out."""
    for number in range(5):
        _put(tmp_path / f"{number}")
    _put(tmp_path / "one" / "two" / "three")
    monkeypatch.setattr(foundtree, "MAX_DEPTH", 1)
    tree = _looked(tmp_path)
    assert [(passed.path, passed.why) for passed in tree.passed] == [("one/two", "lies too deep")]
    own = look(tmp_path, _nothing, without=tmp_path / "one")
    assert "own data folder" in own.passed[0].why
    monkeypatch.setattr(foundtree, "MAX_NAMES", 4)
    with pytest.raises(QuestionError, match="more than 4 names"):
        _looked(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_tree_passes_over_what_it_may_not_read(tmp_path: Path) -> None:
    """A folder that is closed costs nothing but itself."""
    _put(tmp_path / "open" / "file")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    tree = _looked(tmp_path)
    closed.chmod(stat.S_IRWXU)
    assert set(tree.files) == {"open/file"}
    assert "cannot be read" in tree.passed[0].why


# ── the Hub ────────────────────────────────────────────────────────────────────────────────────


def _repo(root: Path, name: str = "models--acme--tiny") -> Path:
    folder = root / name
    _put(folder / "blobs" / SHA1, b"config")
    _put(folder / "blobs" / SHA256, b"weights")
    for path, blob in (("config.json", SHA1), ("onnx/model.onnx", SHA256)):
        link = folder / "snapshots" / COMMIT / path
        link.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (path.count("/") + 2)
        link.symlink_to(f"{up}blobs/{blob}")
    _put(folder / "refs" / "main", COMMIT.encode())
    _put(folder / "refs" / "refs" / "pr" / "1", f"{COMMIT}\n".encode())
    _put(folder / ".no_exist" / COMMIT / "sub" / "none.json", b"")
    return folder


def test_hub_commit_is_read_as_the_client_wrote_it(tmp_path: Path) -> None:
    """Kind, name, files by their digests, refs with slashes, what does not exist."""
    _repo(tmp_path / "hub")
    _repo(tmp_path / "hub", "datasets--words")
    commits = _commits(foundhub.scan(_looked(tmp_path)))
    assert {(one.kind, one.name) for one in commits} == {
        ("models", "acme/tiny"),
        ("datasets", "words"),
    }
    for one in commits:
        digests = {path: str(content.digest) for path, content in one.files}
        assert digests == {
            "config.json": f"git-sha1:{SHA1}",
            "onnx/model.onnx": f"sha256:{SHA256}",
        }
        assert {revision for revision, _ in one.refs} == {"main", "refs/pr/1"}
        assert one.absent == ("sub/none.json",)
        assert one.listed is None


def test_hub_cache_that_was_moved_has_its_files_still(tmp_path: Path) -> None:
    """Links that lead to where it was: the blob of that name in the same repo is what they mean."""
    folder = _repo(tmp_path)
    link = folder / "snapshots" / COMMIT / "config.json"
    link.unlink()
    link.symlink_to(f"/home/else/hub/models--acme--tiny/blobs/{SHA1}")
    (one,) = _commits(foundhub.scan(_looked(tmp_path)))
    assert dict(one.files)["config.json"].source.endswith(f"blobs/{SHA1}")


def test_hub_files_without_links_are_known_by_the_list_alone(tmp_path: Path) -> None:
    """Where links cannot be made the files lie in the snapshot, and nothing else says what they are."""
    folder = tmp_path / "models--acme--tiny"
    snapshot = folder / "snapshots" / COMMIT
    _put(snapshot / "config.json", b"config")
    _put(snapshot / "more.json", b"more")
    found = foundhub.scan(_looked(tmp_path))
    assert [one.files for one in _commits(found)] == [()]
    assert len(found.skips) == 2
    _put(
        folder / "trees" / f"{COMMIT}.json",
        b'{"format_version": 1, "files": {"config.json": {"size": 6, "blob_id": "%s"}}}'
        % SHA1.encode(),
    )
    found = foundhub.scan(_looked(tmp_path))
    (one,) = _commits(found)
    assert [(path, str(content.digest)) for path, content in one.files] == [
        ("config.json", f"git-sha1:{SHA1}")
    ]
    assert "does not have it" in found.skips[0].why


@pytest.mark.parametrize(
    "listed",
    [
        b"",
        b"[]",
        b'{"format_version": 2, "files": {}}',
        b'{"format_version": 1, "files": {"a": 1}}',
        b'{"format_version": 1, "files": {"a": {"size": -1, "blob_id": "%s"}}}' % SHA1.encode(),
        b'{"format_version": 1, "files": {"a": {"size": true, "blob_id": "x"}}}',
        b'{"format_version": 1, "files": {"\\ud800": {"size": 1, "blob_id": "%s"}}}'
        % SHA1.encode(),
        b"[" * 100_000,
    ],
)
def test_hub_list_that_cannot_be_is_none(tmp_path: Path, listed: bytes) -> None:
    """It is passed over, and said so."""
    folder = _repo(tmp_path)
    _put(folder / "trees" / f"{COMMIT}.json", listed)
    found = foundhub.scan(_looked(tmp_path))
    (one,) = _commits(found)
    assert one.listed is None
    assert len(one.files) == 2
    assert any("no file list" in skip.why for skip in found.skips)


def test_hub_blob_that_repos_share_is_what_its_link_is_called(tmp_path: Path) -> None:
    """As huggingface_hub 2.4 has what came by Xet: beside the repos, under another hash; the rest is told."""
    folder = _repo(tmp_path)
    store = folder.parent / "blobs"
    _put(store / ".huggingface-shared-blobs", b"1\n")
    for name in ("ab" + "0" * 62, "cd" + "0" * 62):
        _put(store / name[:2] / name)
        _put(store / name[:2] / f"{name}.refs", b"{}")
    (folder / "blobs" / ("e" * 64)).symlink_to(f"../../blobs/ab/ab{'0' * 62}")
    (folder / "snapshots" / COMMIT / "model.bin").symlink_to(f"../../blobs/{'e' * 64}")

    found = foundhub.scan(_looked(tmp_path))

    (one,) = _commits(found)
    content = dict(one.files)["model.bin"]
    assert content.source.endswith(f"blobs/ab/ab{'0' * 62}")
    assert content.digest == Digest("sha256", "e" * 64)
    assert [skip.path.rpartition("/")[2] for skip in found.skips] == [f"cd{'0' * 62}"]
    assert {path for path in _looked(tmp_path).files if "/blobs/" in f"/{path}"} <= found.seen


def test_hub_blob_without_a_digest_in_its_name_proves_nothing(tmp_path: Path) -> None:
    """An etag of another kind; links from one blob to another; folders that are no commits."""
    folder = _repo(tmp_path)
    _put(folder / "blobs" / "d41d8cd9-3")
    (folder / "snapshots" / COMMIT / "odd.bin").symlink_to("../../blobs/d41d8cd9-3")
    (folder / "blobs" / ("d" * 64)).symlink_to(SHA256)
    (folder / "snapshots" / COMMIT / "other.bin").symlink_to(f"../../blobs/{'d' * 64}")
    _put(folder / "snapshots" / "main" / "config.json")
    found = foundhub.scan(_looked(tmp_path))
    (one,) = _commits(found)
    assert {path for path, _ in one.files} == {"config.json", "onnx/model.onnx"}
    why = {skip.path.rpartition("/")[2]: skip.why for skip in found.skips}
    assert "no digest" in why["odd.bin"]
    assert "another name" in why["other.bin"]
    assert "no commit" in why["main"]


# ── others ─────────────────────────────────────────────────────────────────────────────────────


def test_loose_files_are_known_by_what_is_noted_of_them(tmp_path: Path) -> None:
    """local_dir's metadata, the old flat caches, sentence-transformers' folders."""
    _put(tmp_path / "model" / "sub" / "config.json")
    notes = tmp_path / "model" / ".cache" / "huggingface" / "download"
    _put(notes / "sub" / "config.json.metadata", f"{COMMIT}\n{SHA1}\n1.5\n".encode())
    _put(notes / "gone.json.metadata", f"{COMMIT}\n{SHA1}\n1.5\n".encode())
    old = tmp_path / "transformers" / f"{SHA256}.{SHA256}"
    _put(old)
    url = "https://huggingface.co/gpt2/resolve/main/config.json"
    _put(old.with_name(f"{old.name}.json"), f'{{"url": "{url}", "etag": "\\"{SHA1}\\""}}'.encode())
    flat = tmp_path / "sentence_transformers" / "acme_all_mini"
    _put(flat / "modules.json")
    _put(tmp_path / "sentence_transformers" / "something" / "else.json")
    found = foundloose.scan(_looked(tmp_path)).items
    loose = {item.path: item for item in found if isinstance(item, FoundLoose)}
    assert set(loose) == {"model/sub/config.json", "config.json", "modules.json"}
    assert loose["model/sub/config.json"].commit == COMMIT
    assert str(loose["config.json"].content.digest) == f"git-sha1:{SHA1}"
    assert loose["modules.json"].repo == "models/acme/all_mini"


def test_files_are_known_by_their_names(tmp_path: Path) -> None:
    """Whisper, CLIP, tiktoken, torch, spaCy; wherever they lie, but for torch's."""
    url = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    names = {
        "x/base.pt", "x/large-v3-turbo.pt", "x/ViT-B-32.pt", "x/mine.pt",
        f"x/{hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()}",
        "hub/checkpoints/resnet18-f37072fd.pth", "hub/checkpoints/yolo.pt", "x/resnet18-f37072fd.pth",
        "hub/checkpoints/resnet50_fbgemm_bf931d71.pth", "hub/checkpoints/a-20240131.pth",
        "w/en_core_web_sm-3.8.0-py3-none-any.whl", "w/numpy-2.0.0-py3-none-any.whl",
        "w/xx_ent_wiki_sm-3.7.0.tar.gz",
    }  # fmt: skip
    for name in names:
        _put(tmp_path / name)
    tree = _looked(tmp_path)
    places = {path for scan in foundfiles.SCANNERS for path in _places(scan(tree))}
    releases = "/explosion/spacy-models/releases/download"
    assert {path.rpartition("/")[2] for path in places if "/models/" in path} == {
        "base.pt", "large-v3-turbo.pt", "ViT-B-32.pt", "resnet18-f37072fd.pth",
        "resnet50_fbgemm_bf931d71.pth",
    }  # fmt: skip
    assert "/encodings/cl100k_base.tiktoken" in places
    assert "/models/quantized/resnet50_fbgemm_bf931d71.pth" in places
    assert {path for path in places if path.startswith(releases)} == {
        f"{releases}/en_core_web_sm-3.8.0/en_core_web_sm-3.8.0-py3-none-any.whl",
        f"{releases}/xx_ent_wiki_sm-3.7.0/xx_ent_wiki_sm-3.7.0.tar.gz",
    }


@pytest.mark.parametrize(
    ("handle", "place"),
    [
        ("https://tfhub.dev/google/yamnet/1", "/google/yamnet/1"),
        ("https://tfhub.dev/google/yamnet/1/", "/google/yamnet/1"),
        ("http://mirror:8090/-/tfhub/google/yamnet/1", "/google/yamnet/1"),
        ("http://mirror/-/host/tfhub.dev/google/yamnet/1", "/google/yamnet/1"),
        ("https://www.kaggle.com/models/g/y/tf/y/1", "/models/g/y/tf/y/1"),
        ("https://elsewhere.example/google/yamnet/1", None),
        ("gs://tfhub.dev/google/yamnet/1", None),
        ("/local/model", None),
    ],
)
def test_tf_hub_handle_says_where_a_model_is(
    tmp_path: Path, handle: str, place: str | None
) -> None:
    """At TensorFlow Hub, at Kaggle, or at a mirror of them."""
    name = hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()
    _put(tmp_path / name / "saved_model.pb")
    _put(tmp_path / f"{name}.descriptor.txt", f"Module: {handle}\nDownload Time: x".encode())
    assert _places(foundunpacked.tfhub(_looked(tmp_path))) == ([] if place is None else [place])


@pytest.mark.parametrize(
    ("name", "trusted", "place"),
    [
        ("pytorch_vision_v0.10.0", "", "/pytorch/vision/zipball/v0.10.0"),
        ("snakers4_silero-vad_master", "", "/snakers4/silero-vad/zipball/master"),
        ("acme_a_b_main", "acme_a_b\n", "/acme/a_b/zipball/main"),
        ("acme_a_b_main", "", None),
        ("acme_one", "", None),
    ],
)
def test_torch_repository_is_told_by_its_folder(
    tmp_path: Path, name: str, trusted: str, place: str | None
) -> None:
    """And, where underscores leave it open, by the list of those that were trusted."""
    _put(tmp_path / "hub" / name / "hubconf.py")
    _put(tmp_path / "hub" / "trusted_list", trusted.encode())
    assert _places(foundunpacked.torch(_looked(tmp_path))) == ([] if place is None else [place])
