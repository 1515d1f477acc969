"""Exports that are run again, broken off, lied to, or have no room: what is whole stays."""

import errno
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.bundle.endpoint import Endpoint
from mirror.bundle.exporting import Export
from mirror.bundle.places import Places
from mirror.cli.telling import Events
from mirror.errors import StoreUnusableError
from tests.doubles.relay import Relay
from tests.faults.disks import NotPermittedError, small_disk
from tests.hosts import Hosts
from tests.mirror.exporting import (
    CDN,
    CHECKPOINT,
    PYTORCH,
    RESNET,
    TINY,
    WHISPER,
    World,
    bytes_of,
    sha256,
)
from tests.mirror.operating import order

WEIGHTS = TINY["model.safetensors"]
OUTSIDE = json.dumps(
    {
        "format": "modelmirror-cache",
        "version": 1,
        "targets": [],
        "files": {"../x": {"size": 1, "sha256": "", "mtime": 1}},
        "links": {},
        "environment": {},
    }
)
FRAMEWORK = "google/yamnet/tensorFlow2/yamnet/1"


@pytest.fixture
def relay(site: World) -> Iterator[Relay]:
    """The wire to the shared mirror."""
    with Relay(site.mirror.url) as relay:
        site.url = relay.url
        yield relay


def blob(site: World, body: bytes) -> Path:
    """Where the Hub's layout has content under a digest."""
    return site.out / "huggingface/hub/models--acme--tiny/blobs" / sha256(body)


# ── run again ───────────────────────────────────────────────────────────────────────────────────────


def test_a_whole_folder_of_pinned_targets_asks_nobody(own: World) -> None:
    """The mirror and every host are gone; it says so in no time and changes nothing."""
    commit = own.origin.repo("models", "acme/tiny").commit
    targets = (
        f"acme/tiny@{commit}",
        "whisper:base",
        f"torch:{CHECKPOINT}",
        "tfhub:google/yamnet/1",
        f"kaggle:{FRAMEWORK}",
        "spacy:de_core_news_lg==3.8.0",
    )
    own.export(*targets)
    before = {path: path.lstat().st_mtime_ns for path in own.out.rglob("*")}
    fetched = own.hosts.bodies(CDN, f"/main/whisper/models/{sha256(WHISPER['base'])}/base.pt")
    own.mirror.stop()
    ran = own.export(*targets, "--json")
    assert [(one["fetched"], one["error"]) for one in ran.said("target")] == [(0, None)] * 6
    changed = {path for path, when in before.items() if path.lstat().st_mtime_ns != when}
    assert changed <= {own.out, own.out / ".modelmirror.json"}
    assert fetched == 1


def test_a_branch_is_looked_for_again_and_only_what_changed_comes(own: World) -> None:
    """With the mirror away what is here stays good, and that is said."""
    own.export("acme/tiny")
    repo = own.origin.repo("models", "acme/tiny")
    newer = bytes_of("newer", 50_000)
    repo.push({"onnx/model.onnx": newer})
    ran = own.export("acme/tiny", "--json")
    assert [one["bytes"] for one in ran.said("file")] == [len(newer)]
    ref = own.out / "huggingface/hub/models--acme--tiny/refs/main"
    assert ref.read_text() == repo.commit
    own.mirror.stop()
    ran = own.export("acme/tiny")
    assert "nothing to fetch" in ran.out
    assert "Whether it has changed could not be asked" in ran.err


@pytest.mark.parametrize("harm", ["gone", "short", "rotten", "link"])
def test_what_is_missing_or_damaged_is_mended(site: World, harm: str) -> None:
    """And nothing else is fetched; rot that left size and time alone is found by --verify."""
    site.export("acme/tiny", f"torch:{CHECKPOINT}")
    before = site.tree()
    at = blob(site, WEIGHTS)
    if harm == "gone":
        at.unlink()
    elif harm == "short":
        os.truncate(at, 1000)
    elif harm == "rotten":
        status = at.stat()
        at.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
        os.utime(at, ns=(status.st_atime_ns, status.st_mtime_ns))
        ran = site.export("acme/tiny", "--json")
        assert ran.said("file") == []
    else:
        next(path for path in site.out.rglob("model.safetensors")).unlink()
    ran = site.export("acme/tiny", f"torch:{CHECKPOINT}", "--verify", "--json")
    assert site.tree() == before
    fetched = [one["bytes"] for one in ran.said("file")]
    assert fetched == ([] if harm == "link" else [len(WEIGHTS)])


def test_a_file_that_was_only_touched_is_hashed_and_believed(site: World) -> None:
    """As after a copy that keeps no times."""
    site.export("acme/tiny")
    for path in site.out.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))
    ran = site.export("acme/tiny", "--json")
    assert ran.said("file") == []
    mtimes = {said["mtime"] for said in site.manifest()["files"].values()}
    assert mtimes == {1}


def test_a_folder_without_its_manifest_is_read_and_not_fetched(site: World) -> None:
    """Whatever has a digest is recognised by it."""
    site.export("acme/tiny", "whisper:base")
    before = site.manifest()
    (site.out / ".modelmirror.json").unlink()
    ran = site.export("acme/tiny", "whisper:base", "--json")
    assert ran.said("file") == []
    assert site.manifest() == before


def test_other_targets_join_what_is_there(site: World) -> None:
    """The manifest is of all of them; keys that a later version wrote are kept."""
    site.export("acme/tiny")
    path = site.out / ".modelmirror.json"
    form = json.loads(path.read_text())
    form["later"] = {"a": 1}
    form["targets"][0]["more"] = True
    path.write_text(json.dumps(form))
    site.export("whisper:base")
    after = site.manifest()
    assert [one["target"] for one in after["targets"]] == ["acme/tiny", "whisper:base"]
    assert (after["later"], after["targets"][0]["more"]) == ({"a": 1}, True)
    assert set(after["files"]) == {path for one in after["targets"] for path in one["files"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": "modelmirror-cache", "version": 2}', "version 2"),
        ("{", "damaged"),
        (OUTSIDE, "damaged"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_left_alone(site: World, text: str, said: str) -> None:
    """One of a later version, or a damaged one: a sentence, and nothing is touched."""
    site.out.mkdir()
    (site.out / ".modelmirror.json").write_text(text)
    ran = site.export("acme/tiny", code=1)
    assert said in ran.err
    assert (site.out / ".modelmirror.json").read_text() == text
    assert site.tree() == {}


# ── broken off ──────────────────────────────────────────────────────────────────────────────────────


def test_a_connection_that_breaks_is_gone_on_with(site: World, relay: Relay) -> None:
    """By Range and If-Range, from the byte it has reached."""
    relay.limit = 1_000_000
    ran = site.export("acme/tiny", "--include", "*.safetensors", "--json")
    assert blob(site, WEIGHTS).read_bytes() == WEIGHTS
    starts = [int(found) for head in relay.heads for found in re.findall(rb"bytes=(\d+)-", head)]
    assert len(starts) == 2
    assert starts == sorted(starts)
    assert all(start > 900_000 for start in starts)
    assert all(b'If-Range: "' + sha256(WEIGHTS).encode() in head
               for head in relay.heads if b"Range: bytes" in head)  # fmt: skip
    (end,) = ran.said("end")
    assert end["total"] == len(WEIGHTS)


def test_an_export_that_was_killed_goes_on(site: World, relay: Relay) -> None:
    """Nothing half has a name; the next run takes what had come and fetches the rest."""
    relay.hold = 1_500_000
    arguments = ("acme/tiny", "--include", "*.safetensors")
    process = subprocess.Popen(
        site.command(*arguments), env=site.variables, stdout=subprocess.DEVNULL
    )
    assert relay.waiting.wait(30)
    partial = wait_for_partial(site, 1_000_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not blob(site, WEIGHTS).exists()
    (promised,) = site.manifest()["targets"]
    (path,) = (name for name in promised["files"] if "blobs" in name)
    assert site.manifest()["files"][path]["size"] == len(WEIGHTS)
    had = partial.stat().st_size
    relay.hold = None
    relay.go_on.set()
    relay.heads.clear()
    site.export(*arguments)
    assert blob(site, WEIGHTS).read_bytes() == WEIGHTS
    (start,) = [int(found) for head in relay.heads for found in re.findall(rb"bytes=(\d+)-", head)]
    assert start == had
    assert not (site.out / ".modelmirror.partial").exists()


def wait_for_partial(site: World, size: int) -> Path:
    """Wait for a partial file of at least *size* bytes."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for path in (site.out / ".modelmirror.partial").glob("*"):
            if path.is_file() and path.stat().st_size >= size:
                return path
        time.sleep(0.01)
    raise AssertionError("no bytes came")


def test_an_export_that_is_stopped_ends_at_once(site: World, relay: Relay) -> None:
    """Though it waits for bytes, and by a sentence; the next run goes on."""
    relay.hold = 1_500_000
    arguments = ("acme/tiny", "--include", "*.safetensors")
    with subprocess.Popen(
        site.command(*arguments, "--json"),
        env=site.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert relay.waiting.wait(30)
        wait_for_partial(site, 1_000_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert process.returncode == 1
    said = "Stopped before the end. Export again: what has come is kept."
    assert err.strip() == f"modelmirror: {said}"
    end = json.loads(out.splitlines()[-1])
    assert (end["event"], f"{end['error']} {end['next']}") == ("end", said)
    relay.go_on.set()
    relay.hold = None
    site.export(*arguments)
    assert blob(site, WEIGHTS).read_bytes() == WEIGHTS


def test_two_exports_into_one_folder_wait_for_each_other(site: World, relay: Relay) -> None:
    """The second says so at once."""
    relay.hold = 1_500_000
    arguments = ("acme/tiny", "--include", "*.safetensors")
    with subprocess.Popen(
        site.command(*arguments), env=site.variables, stdout=subprocess.DEVNULL
    ) as process:
        assert relay.waiting.wait(30)
        ran = site.export("whisper:base", code=4)
        assert "another export is under way" in ran.err
        relay.go_on.set()
        assert process.wait(60) == 0


def test_bytes_that_lie_are_refused(site: World, relay: Relay) -> None:
    """A wire that changes one byte: nothing is kept, whatever told the digest; the next run is clean."""
    targets = ("acme/tiny", "whisper:base", f"torch:{CHECKPOINT}", "torch:plain.pth")
    site.export(*targets[2:])  # The digest of the last is known once the mirror has it.
    for path in (
        "whisper/base.pt",
        f"torch/hub/checkpoints/{CHECKPOINT}",
        "torch/hub/checkpoints/plain.pth",
    ):
        (site.out / path).unlink(missing_ok=True)
    relay.lie = 3000
    ran = site.export(*targets, "--include", "*.safetensors", code=1)
    for target in ("acme/tiny --include *.safetensors", *targets[1:]):
        assert f"modelmirror: {target}: What came for" in ran.err, target
    assert site.tree() == {}
    relay.lie = None
    site.export(*targets)
    assert (site.out / "torch/hub/checkpoints/plain.pth").read_bytes() == RESNET[:5000]


def test_bytes_that_nobody_vouches_for_are_those_of_the_mirror(own: World) -> None:
    """Its own digest of them is asked for after they came, for before it had none."""
    with Relay(own.mirror.url) as relay:
        own.url = relay.url
        relay.lie = 3000
        ran = own.export("torch:plain.pth", code=1)
        assert "instead of sha256:" + sha256(RESNET[:5000]) in ran.err
        assert own.tree() == {}


def test_a_full_disk_is_said_and_what_came_is_kept(site: World) -> None:
    """Before anything comes, where sizes are known; in the middle, where they are not."""
    try:
        with small_disk(site.folder / "out", 1 << 20):
            ran = site.export("acme/tiny", code=1)
            assert re.search(r"2\.8 MiB are to come, and \S+ has room for", ran.err)
            assert site.tree() == {}
            ran = site.export("whisper:base", "whisper:medium", code=1)
            assert "No space left on device" in ran.err
            assert "Free some space on that disk and export again" in ran.err
            assert list(site.tree().values()).count(sha256(WHISPER["base"])) <= 1
    except NotPermittedError as why:
        pytest.skip(str(why))


def test_a_folder_that_cannot_be_written_is_said(site: World) -> None:
    """With the line that mends it."""
    site.out.write_text("a file")
    ran = site.export("acme/tiny", code=4)
    assert f"cannot write to {site.out}" in ran.err
    (end,) = site.export("acme/tiny", "--json", code=4).said("end")
    assert f"cannot write to {site.out}" in end["error"]
    assert end["next"] == "Name a folder that can be written to."


def test_flags_of_the_other_format_are_refused(site: World) -> None:
    """A bundle that was to be signed, or a cache without links, is not written without a word."""
    bundle = str(site.out / "x.bundle")
    for words, sentence in (
        (("--format", "cache", "--sign", "key"), "--sign is for --format bundle"),
        (("--format", "cache", "--split", "1GB"), "--split is for --format bundle"),
        (("--links", "none"), "--links is for --format cache"),
        (("--set", "HF_HOME=/app"), "--set is for --format cache"),
    ):
        done = order(site.out / "data", "export", bundle, "acme/tiny", *words)
        assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr
    done = order(site.out / "data", "export", bundle, "acme/tiny=/app/tiny")
    assert (done.returncode, "is for --format cache" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "Give it to that user: chown -R {owner} {there}"),
        (errno.EROFS, "Name a folder that can be written to."),
    ],
)
def test_a_folder_is_given_to_its_user_only_where_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    """And named is one that is there; on a disk that is read-only chown fails as well."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    places = Places({}, "/m")
    endpoint, folder = Endpoint("http://none"), tmp_path / "a/b"
    export = Export(folder, endpoint, places, Events(None), shelf=None, real=False, verify=False)
    with pytest.raises(StoreUnusableError) as refused:
        export.run([])
    owner = f"{os.geteuid()}:{os.getegid()}"
    assert refused.value.hint == hint.format(owner=owner, there=tmp_path)


def test_two_files_of_one_name_are_not_written_over_each_other(site: World) -> None:
    """The second target says which; the same file for both is one."""
    ran = site.export(
        "acme/tiny=/m",
        "speechbrain/spkrec-ecapa-voxceleb=/m",
        "torch:plain.pth=/m/config.json",
        code=1,
    )
    assert (
        "acme/tiny=/m and torch:plain.pth=/m/config.json have different files for config.json"
        in ran.err
    )
    assert (site.out / "config.json").read_bytes() == TINY["config.json"]
    assert "2 of 3 targets are whole" in ran.out
    site.export("acme/tiny=/m", "acme/tiny@main=/m")


def test_files_of_one_repo_may_be_several_targets(site: World) -> None:
    """Each with its own globs, in one run or in two."""
    page = "https://huggingface.co/acme/tiny/blob/main"
    site.export(f"{page}/config.json", f"{page}/onnx/model.onnx", "--set", "HF_HOME=/h")
    site.export("acme/tiny", "--include", "empty.txt", "--set", "HF_HOME=/h")
    found = {path.name for path in (site.out / "hub").rglob("*") if path.is_symlink()}
    assert found == {"config.json", "model.onnx", "empty.txt"}
    assert len(site.manifest()["targets"]) == 3
    assert len(site.manifest()["links"]) == 3


def test_what_is_ours_is_not_written_over(site: World) -> None:
    """The manifest's name is no place."""
    ran = site.export("torch:plain.pth=.modelmirror.json", code=1)
    assert "is the exported folder's own" in ran.err


def test_what_failed_is_missed_by_whoever_checks(own: World) -> None:
    """Its files are in the manifest, though they are not there; what was whole before stays whole."""
    own.export(
        "acme/tiny", "torchhub:pytorch/vision", "--set", "HF_HOME=/h", "--set", "TORCH_HOME=/h/t"
    )
    before = own.manifest()
    own.origin.repo("models", "acme/tiny").push({"onnx/model.onnx": bytes_of("newer", 50_000)})
    with Relay(own.mirror.url) as relay:
        own.url, relay.lie = relay.url, 30_000
        own.export("acme/tiny", "whisper:base", "--set", "HF_HOME=/h", code=1)
    after = own.manifest()
    of = {one["target"]: one["files"] for one in after["targets"]}
    assert (
        of["acme/tiny"] == {one["target"]: one["files"] for one in before["targets"]}["acme/tiny"]
    )
    assert [path for path in of["whisper:base"] if not (own.out / path).exists()] == [
        "whisper/base.pt"
    ]
    assert after["files"]["whisper/base.pt"] == {"mtime": 0, "sha256": "", "size": 0}


# ── said wrongly ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("whisper:gigantic",), "Whisper has no model 'gigantic'"),
        (("acme/nothing",), "acme/nothing"),
        (("acme/tiny@v9",), "acme/tiny@v9"),
        (("acme/tiny", "--include", "*.gguf"), "has no file that --include"),
        (("https://evil.example/model.bin=x.bin",), "evil.example"),
        (("nltk:nothing",), "no package or collection 'nothing'"),
        (("torch:missing.pth",), "missing.pth"),
        (("torchhub:pytorch/vision:missing",), "missing"),
    ],
)
def test_a_target_that_is_not_there_is_named(
    site: World, arguments: tuple[str, ...], said: str
) -> None:
    """Others are laid out all the same, and the exit code tells."""
    ran = site.export(*arguments, "torch:plain.pth", code=1)
    assert said in ran.err
    assert "1 of 2 targets are whole" in ran.out
    assert [one["target"] for one in site.manifest()["targets"]] == ["torch:plain.pth"]
    assert list(site.manifest()["files"]) == ["torch/hub/checkpoints/plain.pth"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("wisper:base",), "'wisper' is no kind of target"),
        (("a b",), "'a b' is no repo"),
        (("acme/tiny", "--set", "HF_HOME"), "sets nothing"),
        (("acme/tiny", "--set", "HF_HOEM=/x"), "No client that is known reads HF_HOEM"),
        (("acme/tiny", "--set", "HF_HOME=/a", "--root", "/b"), "is outside of /b"),
        (("torch:plain.pth=../x",), "is outside of"),
        (("torch:plain.pth=$NOWHERE/x",), "NOWHERE, which is not set"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    site: World, arguments: tuple[str, ...], said: str
) -> None:
    """Before anything is touched."""
    ran = site.export(*arguments, code=2)
    assert said in " ".join(ran.err.split())
    assert not site.out.exists()


def test_no_mirror_is_said(site: World) -> None:
    """With what to do."""
    with Hosts() as gone:
        url = gone.url
    site.url = url
    ran = site.export("acme/tiny", code=1)
    assert f"No mirror answers at {url}" in ran.err
    assert PYTORCH not in ran.err
