"""`modelmirror adopt`: caches of huggingface_hub, made by it, then served to clients that have nothing."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.mirror.adopting import Done, adopt, client, command, contents, environment, online, tree
from tests.mirror.operating import said, told
from tests.mirror.running import Running
from tests.origin import Origin, Repo

WEIGHTS = bytes(range(256)) * 8192
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": WEIGHTS,
    "onnx/model.onnx": b"onnx" * 5000,
    "empty.txt": b"",
}
EVERYONE = ("--grant", "*")


@pytest.fixture
def repo(origin: Origin) -> Repo:
    """A public repo."""
    return origin.add_repo("models", "acme/tiny", FILES)


@pytest.fixture
def whole(origin: Origin, tmp_path: Path, repo: Repo) -> Path:
    """A cache with all of it."""
    del repo
    client(origin.url, tmp_path / "cache", "snapshot_download('acme/tiny')")
    return tmp_path / "cache"


@pytest.fixture
def partly(origin: Origin, tmp_path: Path, repo: Repo) -> Path:
    """A cache with two of its files, and the knowledge that a third does not exist."""
    del repo
    code = """
for name in ("config.json", "model.safetensors", "absent.json"):
    try:
        hf_hub_download("acme/tiny", name)
    except errors.EntryNotFoundError:
        print(name)
"""
    assert client(origin.url, tmp_path / "cache", code) == "absent.json\n"
    return tmp_path / "cache"


def _blob(cache: Path, name: str) -> Path:
    (link,) = cache.glob(f"models--acme--tiny/snapshots/*/{name}")
    return link.resolve()


def test_a_whole_cache_is_served_offline_to_an_empty_client(
    origin: Origin, tmp_path: Path, whole: Path
) -> None:
    """snapshot_download of an empty client gets the same bytes; the source is as it was."""
    before = tree(whole)
    done = adopt(tmp_path / "data", str(whole), *EVERYONE)
    assert done.code == 0, done.err
    # The empty file every mirror has.
    assert done.tally("hub") == {"proven": 3, "present": 1}
    assert tree(whole) == before
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        client(mirror.url, tmp_path / "empty", "snapshot_download('acme/tiny')")
        (snapshot,) = (tmp_path / "empty").glob("models--acme--tiny/snapshots/*")
        assert contents(snapshot) == FILES
        assert snapshot.name in {path.name for path in whole.glob("*/snapshots/*")}
        # The list was kept, so absence is proved by it.
        assert mirror.ask("/acme/tiny/resolve/main/none.bin").status == 404
        info = mirror.ask("/api/models/acme/tiny/revision/main").json()
        assert {item["rfilename"] for item in info["siblings"]} == set(FILES)


def test_a_partial_cache_says_how_much_of_it_is_here(
    origin: Origin, tmp_path: Path, partly: Path
) -> None:
    """404 by its .no_exist alone, else 501 with a number; no list is made up."""
    assert adopt(tmp_path / "data", str(partly), *EVERYONE).code == 0
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/config.json").body == FILES["config.json"]
        assert mirror.ask("/acme/tiny/resolve/main/absent.json").status == 404
        other = mirror.ask("/acme/tiny/resolve/main/onnx/model.onnx")
        assert other.status == 501
        assert "It has 2 files of " in other.headers["x-error-message"]
        listed = mirror.ask("/api/models/acme/tiny/tree/main")
        assert listed.status == 501
        assert "cannot tell whether there are others" in listed.headers["x-error-message"]
        described = mirror.ask("/api/models/acme/tiny/revision/main")
        names = {item["rfilename"] for item in described.json()["siblings"]}
        assert names == {"config.json", "model.safetensors"}
        assert "It has 2 files" in described.headers["x-hf-warning"]
        got = client(
            mirror.url, tmp_path / "empty", "print(hf_hub_download('acme/tiny', 'config.json'))"
        )
        assert Path(got.strip()).read_bytes() == FILES["config.json"]


def test_a_list_that_was_kept_tells_which_files_are_lacking(
    origin: Origin, tmp_path: Path, repo: Repo
) -> None:
    """A client that left files out had their list all the same: they are 501 with a count."""
    del repo
    cache = tmp_path / "cache"
    client(origin.url, cache, "snapshot_download('acme/tiny', allow_patterns='*.json')")
    assert adopt(tmp_path / "data", str(cache), *EVERYONE).code == 0
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        lacking = mirror.ask("/acme/tiny/resolve/main/model.safetensors")
        assert lacking.status == 501
        assert "It has 1 of the 4 files" in lacking.headers["x-error-message"]
        assert mirror.ask("/acme/tiny/resolve/main/none.bin").status == 404


def test_upstream_has_the_last_word_once_it_can_be_asked(
    origin: Origin, tmp_path: Path, partly: Path
) -> None:
    """Online its list takes the place of what the cache told, and nothing is fetched twice."""
    assert adopt(tmp_path / "data", str(partly)).code == 0
    before = len(origin.log)
    with Running(tmp_path / "data", origin) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").body == WEIGHTS
        listed = mirror.ask("/api/models/acme/tiny/tree/main?recursive=true").json()
        assert {item["path"] for item in listed if item["type"] == "file"} == set(FILES)
    asked = [seen.path for seen in origin.log[before:]]
    assert not any("/resolve/" in path for path in asked), asked


def test_what_is_public_is_asked_and_what_is_not_is_listed(
    origin: Origin, tmp_path: Path, whole: Path
) -> None:
    """Upstream says who may see it; the rest is private until the operator's line."""
    origin.add_repo(
        "models", "acme/private", {"config.json": b"{}"}, private=True, readers=["tokenA"]
    )
    origin.add_repo(
        "models", "acme/gated", {"config.json": b"[]"}, gated="manual", readers=["tokenA"]
    )
    code = "[snapshot_download(name, token='tokenA') for name in ('acme/private', 'acme/gated')]"
    client(origin.url, whole, code)
    done = adopt(tmp_path / "data", str(whole), settings=online(origin))
    lines = {item["repo"]: (item["why"], item["line"]) for item in done.report["undecided"]}
    assert lines == {
        "acme/private": (
            "whether it is public is not known",
            "modelmirror grant acme/private everyone",
        ),
        "acme/gated": ("it is gated", "modelmirror grant acme/gated everyone"),
    }
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/config.json").status == 200
        assert mirror.ask("/acme/private/resolve/main/config.json").status == 501
        assert mirror.ask("/acme/gated/resolve/main/config.json").status == 401
    assert adopt(tmp_path / "data", str(whole), "--grant", "acme/private").code == 0
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/private/resolve/main/config.json").body == b"{}"
        assert mirror.ask("/acme/gated/resolve/main/config.json").status == 401


def test_a_running_mirror_takes_it_and_serves_it_at_once(
    origin: Origin, tmp_path: Path, whole: Path
) -> None:
    """Over its control socket, while it serves."""
    with Running(tmp_path / "data", origin) as mirror:
        done = adopt(tmp_path / "data", str(whole))
        assert done.code == 0, done.err
        assert done.tally("hub") == {"proven": 3, "present": 1}
        assert done.report["undecided"] == []
        before = len(origin.log)
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").body == WEIGHTS
        assert not [seen for seen in origin.log[before:] if "/resolve/" in seen.path]


def test_a_second_run_takes_nothing_twice_and_says_so(tmp_path: Path, whole: Path) -> None:
    """And a dry run says what a first one would take, and takes nothing."""
    dry = adopt(tmp_path / "data", str(whole), "--dry-run")
    assert dry.tally("hub") == {"proven": 3, "present": 1}
    assert dry.report["room"]["needed"] == sum(map(len, FILES.values()))
    assert adopt(tmp_path / "data", str(whole)).tally("hub") == {"proven": 3, "present": 1}
    again = adopt(tmp_path / "data", str(whole), as_json=False)
    assert "Nothing new was taken." in again.out
    assert again.code == 0


def test_a_blob_that_is_not_what_its_name_says_is_refused(
    origin: Origin, tmp_path: Path, partly: Path
) -> None:
    """It is named in the report, the command fails, and nothing of it is served."""
    blob = _blob(partly, "model.safetensors")
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.write_bytes(data)
    done = adopt(tmp_path / "data", str(partly), *EVERYONE)
    assert done.code == 1
    assert done.tally("hub") == {"proven": 1, "refused": 1}
    assert "Its sha256 is" in done.why(blob.name)
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/config.json").status == 200
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").status == 501
    blobs = list((tmp_path / "data" / "v1" / "blobs").rglob("*"))
    assert not any(path.is_file() and path.read_bytes() == bytes(data) for path in blobs)


def test_what_upstream_said_refuses_what_a_cache_says(
    origin: Origin, tmp_path: Path, partly: Path
) -> None:
    """A file under another file's name is not taken for it."""
    (link,) = partly.glob("models--acme--tiny/snapshots/*/config.json")
    blob = _blob(partly, "model.safetensors")
    link.unlink()
    link.symlink_to(os.path.relpath(blob, link.parent))
    done = adopt(tmp_path / "data", str(partly), settings=online(origin))
    assert done.code == 1
    assert "is known to be git-sha1:" in done.why(blob.name)
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/config.json").status == 501


def test_nothing_is_followed_out_of_the_cache(tmp_path: Path, partly: Path) -> None:
    """Links that lead out, devices, pipes, folders that are links, names that no repo has."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"not for anybody")
    (snapshot,) = partly.glob("models--acme--tiny/snapshots/*")
    (snapshot / "leak.json").symlink_to(secret)
    (snapshot / "folder").symlink_to(tmp_path, target_is_directory=True)
    outside = partly / "models--acme--tiny" / "blobs" / ("ab" * 32)
    outside.symlink_to(secret)
    (snapshot / "blob.json").symlink_to(f"../../blobs/{outside.name}")
    bad = partly / "models--..--..--etc"
    shutil.copytree(partly / "models--acme--tiny", bad, symlinks=True)
    odd = partly / "models--acme--odd name"
    shutil.copytree(partly / "models--acme--tiny" / "snapshots", odd / "snapshots", symlinks=True)
    os.mkfifo(snapshot / "pipe")
    done = adopt(tmp_path / "data", str(partly), *EVERYONE)
    assert done.code == 0, done.out
    assert done.tally("hub")["proven"] == 2
    assert "its blob is not in this cache" in done.why("leak.json")
    assert "its blob is not in this cache" in done.why("blob.json")
    assert "no regular file" in done.why("pipe")
    names = {item["repo"] for item in done.report["undecided"]}
    assert not any(".." in name or " " in name for name in names)
    data = (tmp_path / "data" / "v1" / "blobs").rglob("*")
    assert not any(path.is_file() and path.read_bytes() == secret.read_bytes() for path in data)


def test_a_broken_cache_gives_what_is_sound_of_it(tmp_path: Path, whole: Path) -> None:
    """Half downloads, dangling links, a list and a ref that cannot be read are named and passed over."""
    folder = whole / "models--acme--tiny"
    (folder / "blobs" / "aa.incomplete").write_bytes(b"half")
    (tmp_path / "x").mkdir()
    blob = _blob(whole, "onnx/model.onnx")
    blob.unlink()
    (listed,) = folder.glob("trees/*.json")
    listed.write_text('{"format_version": 1, "files": {"a": {"size": -1}}}')
    (folder / "refs" / "broken").write_bytes(b"\xff\xfe")
    done = adopt(tmp_path / "data", str(whole))
    assert done.code == 0
    assert done.tally("hub") == {"proven": 2, "present": 1, "skipped": 4}
    assert "no file list that can be read" in done.why(".json")
    assert "half a download" in done.why(".incomplete")
    assert "names no commit" in done.why("broken")


def test_what_does_not_fit_is_refused_before_a_byte_is_taken(tmp_path: Path, whole: Path) -> None:
    """The whole of it is reckoned with first."""
    settings = {"MODELMIRROR_OFFLINE": "true", "MODELMIRROR_QUOTA": "1MiB"}
    done = adopt(tmp_path / "data", str(whole), settings=settings, as_json=False)
    assert done.code == 1
    assert "There is no room for" in done.err
    assert not list((tmp_path / "data" / "v1" / "blobs").glob("sha256/*/*"))[1:]


def test_mistakes_are_told(tmp_path: Path) -> None:
    """Each in a sentence."""
    for words, sentence in (
        ([str(tmp_path / "none")], "cannot be looked at"),
        (["/dev/null"], "neither a folder nor a file"),
        ([str(tmp_path), "--grant", "a b"], "is no pattern of repos"),
    ):
        done = adopt(tmp_path / "data", *words, as_json=False)
        assert done.code == 1, words
        assert sentence in done.err
    # A variable that is not set is not the folder that one stands in.
    done = adopt(tmp_path / "data", "", as_json=False)
    assert done.code == 2
    assert "An empty PATH names no cache" in done.err


def test_a_hard_link_takes_no_room_and_leaves_the_source_as_it_was(
    origin: Origin, tmp_path: Path, whole: Path
) -> None:
    """Its mode, too; a source that is written to is noticed, and never served."""
    before = tree(whole)
    done = adopt(tmp_path / "data", str(whole), "--link", "hard", *EVERYONE)
    assert done.report["taken"]["hard"]["files"] == 3
    assert tree(whole) == before
    blob = _blob(whole, "model.safetensors")
    assert blob.stat().st_nlink == 2
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").body == WEIGHTS
        with blob.open("r+b") as file:
            file.write(b"other")
        try:
            status = mirror.ask("/acme/tiny/resolve/main/model.safetensors").status
        except (OSError, http.client.HTTPException):
            status = 501  # cut: it was noticed after the head had gone out
        assert status >= 500
    assert blob.stat().st_nlink == 2  # set aside in the quarantine, and still its owner's


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_nothing_half_published(
    origin: Origin, tmp_path: Path, number: int
) -> None:
    """Whatever it had taken is whole, and the next run goes on."""
    files = {f"{n:03}.bin": bytes([n]) * (1 << 20) for n in range(80)}
    origin.add_repo("models", "acme/many", files)
    cache, data = tmp_path / "cache", tmp_path / "data"
    client(origin.url, cache, "snapshot_download('acme/many')")
    process = subprocess.Popen(
        command(data, str(cache)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({"MODELMIRROR_OFFLINE": "true"}),
    )
    blobs = data / "v1" / "blobs" / "sha256"
    deadline = time.monotonic() + 60
    while len(list(blobs.glob("*/*"))) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    if number == signal.SIGINT and process.returncode:
        assert b"Stopped:" in out
    verify = subprocess.run(
        [*command(data)[:3], "verify", "--data", str(data)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert " 0 damaged" in verify.stdout
    done = adopt(data, str(cache), *EVERYONE)
    assert done.code == 0
    tally = done.tally("hub")
    assert tally.get("proven", 0) + tally.get("present", 0) == len(files)
    with Running(data, origin, flags=("--offline",)) as mirror:
        client(mirror.url, tmp_path / "empty", "snapshot_download('acme/many')")
        (snapshot,) = (tmp_path / "empty").glob("models--acme--many/snapshots/*")
        assert contents(snapshot) == files


def test_what_was_adopted_outlives_its_index(origin: Origin, tmp_path: Path, partly: Path) -> None:
    """The index is made again from the records, with what is known of a partial commit."""
    data = tmp_path / "data"
    assert adopt(data, str(partly), *EVERYONE).code == 0
    for path in (data / "v1").glob("index.sqlite3*"):
        path.unlink()
    with Running(data, origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").body == WEIGHTS
        assert mirror.ask("/acme/tiny/resolve/main/absent.json").status == 404
        assert mirror.ask("/acme/tiny/resolve/main/other.json").status == 501


def test_the_report_for_people_has_no_control_characters(tmp_path: Path, partly: Path) -> None:
    """Names in a cache may hold anything, a terminal's orders included."""
    (snapshot,) = partly.glob("models--acme--tiny/snapshots/*")
    (snapshot / "\x1b[31mred\nline").symlink_to("nowhere")
    done = adopt(tmp_path / "data", str(partly), as_json=False)
    assert "\x1b" not in done.out
    assert "\\x1b[31mred\\nline" in done.out


def _lines(done: Done) -> list[str]:
    return [json.loads(line)["event"] for line in done.out.splitlines()]


def test_programs_are_told_how_far_it_is(tmp_path: Path, whole: Path) -> None:
    """One JSON object a line: progress, then the report."""
    done = adopt(tmp_path / "data", str(whole))
    assert _lines(done)[-1] == "report"
    assert set(_lines(done)[:-1]) <= {"progress"}


def test_a_cache_opens_no_content_that_it_did_not_have(origin: Origin, tmp_path: Path) -> None:
    """Whoever knows the digest of a private file gets at it neither by a list nor by a blob's name."""
    secret = b"for alice alone" * 100_000
    digest = hashlib.sha256(secret).hexdigest()
    origin.add_repo(
        "models", "acme/private", {"model.bin": secret}, private=True, readers=["tokenA"]
    )
    origin.add_repo("models", "acme/open", {"config.json": b"{}"})
    cache, data = tmp_path / "cache", tmp_path / "data"
    client(origin.url, cache, "snapshot_download('acme/open')")
    folder = cache / "models--acme--open"
    (listed,) = folder.glob("trees/*.json")
    document = json.loads(listed.read_text())
    said = {"size": len(secret), "blob_id": "0" * 40, "lfs_sha256": digest, "lfs_size": len(secret)}
    document["files"] |= {"by-list.bin": said, "by-name.bin": said}
    listed.write_text(json.dumps(document))
    (folder / "blobs" / digest).write_bytes(bytes(len(secret)))
    (snapshot,) = folder.glob("snapshots/*")
    (snapshot / "by-name.bin").symlink_to(f"../../blobs/{digest}")
    with Running(data, origin) as mirror:
        assert mirror.ask("/acme/private/resolve/main/model.bin", token="tokenA").body == secret
        mirror.settle()
    done = adopt(data, str(cache), "--grant", "acme/open")
    assert done.code == 1
    assert "Its sha256 is" in done.why(digest)
    with Running(data, origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/open/resolve/main/config.json").status == 200
        for path in ("by-list.bin", "by-name.bin"):
            assert mirror.ask(f"/acme/open/resolve/main/{path}").status == 501
        assert mirror.ask(f"/v2/acme/open/blobs/sha256:{digest}").status == 501
        names = {item["path"] for item in mirror.ask("/api/models/acme/open/tree/main").json()}
        assert names == {"config.json", "by-list.bin", "by-name.bin"}


def test_a_file_that_only_a_cache_has_is_not_served_once_upstream_lists(
    origin: Origin, tmp_path: Path, partly: Path
) -> None:
    """What a cache told goes behind upstream's own list, which does not have it."""
    folder = partly / "models--acme--tiny"
    digest = hashlib.sha256(b"added").hexdigest()
    (folder / "blobs" / digest).write_bytes(b"added")
    (snapshot,) = folder.glob("snapshots/*")
    (snapshot / "evil.py").symlink_to(f"../../blobs/{digest}")
    assert adopt(tmp_path / "data", str(partly), *EVERYONE).code == 0
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/evil.py").body == b"added"
    with Running(tmp_path / "data", origin) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/evil.py").status == 404
    with Running(tmp_path / "data", origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/evil.py").status == 404
        assert mirror.ask("/acme/tiny/resolve/main/config.json").status == 200


def test_two_caches_of_a_commit_make_one(origin: Origin, tmp_path: Path, repo: Repo) -> None:
    """What one of them lists and the other has is here afterwards."""
    del repo
    data = tmp_path / "data"
    code = "snapshot_download('acme/tiny', allow_patterns={!r})"
    for number, pattern in enumerate(("*.json", "*.safetensors")):
        cache = tmp_path / f"cache{number}"
        client(origin.url, cache, code.format(pattern))
        assert adopt(data, str(cache), *EVERYONE).tally("hub") == {"proven": 1}
    with Running(data, origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/config.json").status == 200
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").body == WEIGHTS
        lacking = mirror.ask("/acme/tiny/resolve/main/onnx/model.onnx")
        assert lacking.status == 501
        assert "It has 2 of the 4 files" in lacking.headers["x-error-message"]


def test_a_cache_under_a_former_name_is_found_under_the_new_one(
    origin: Origin, tmp_path: Path
) -> None:
    """Upstream tells where a renamed repo is."""
    origin.add_repo("models", "acme/new", FILES, renamed_from=["acme/former"])
    cache, data = tmp_path / "cache", tmp_path / "data"
    client(origin.url, cache, "snapshot_download('acme/former')")
    assert adopt(data, str(cache), settings=online(origin)).code == 0
    with Running(data, origin, flags=("--offline",)) as mirror:
        for name in ("new", "former"):
            got = mirror.ask(f"/acme/{name}/resolve/main/model.safetensors")
            assert got.body == WEIGHTS, name


def test_what_was_adopted_is_served_while_upstream_cannot_be_reached(
    origin: Origin, tmp_path: Path, partly: Path
) -> None:
    """In an outage as offline: at once, with a number of what is lacking."""
    assert adopt(tmp_path / "data", str(partly), *EVERYONE).code == 0
    nobody = {"MODELMIRROR_HUGGINGFACE_UPSTREAMS": "http://127.0.0.1:9"}
    with Running(tmp_path / "data", origin, settings=nobody) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/model.safetensors").body == WEIGHTS
        assert mirror.ask("/acme/tiny/resolve/main/absent.json").status == 404
        other = mirror.ask("/acme/tiny/resolve/main/onnx/model.onnx")
        assert other.status == 501
        assert "It has 2 files of " in other.headers["x-error-message"]


def test_a_revision_that_is_newer_here_stays(origin: Origin, tmp_path: Path, partly: Path) -> None:
    """A cache that was filled earlier does not turn a branch back."""
    data = tmp_path / "data"
    repo = origin.add_repo("models", "acme/moving", {"config.json": b"1"})
    cache = tmp_path / "cache"
    client(origin.url, cache, "snapshot_download('acme/moving')")
    for ref in cache.glob("models--acme--moving/refs/main"):
        os.utime(ref, (1_000_000_000, 1_000_000_000))
    repo.push({"config.json": b"2"}, "Turn it")
    with Running(data, origin) as mirror:
        assert mirror.ask("/acme/moving/resolve/main/config.json").body == b"2"
        mirror.settle()
    assert adopt(data, str(partly)).code == 0
    with Running(data, origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/moving/resolve/main/config.json").body == b"2"
        (old,) = cache.glob("models--acme--moving/snapshots/*")
        assert mirror.ask(f"/acme/moving/resolve/{old.name}/config.json").body == b"1"


def test_nobody_is_asked_where_that_is_not_wanted(
    origin: Origin, tmp_path: Path, whole: Path
) -> None:
    """Then nothing is known to be public, and the report says so."""
    before = len(origin.log)
    done = adopt(tmp_path / "data", str(whole), "--no-ask", settings=online(origin))
    assert len(origin.log) == before
    assert [item["repo"] for item in done.report["undecided"]] == ["acme/tiny"]


def test_a_data_folder_that_cannot_be_used_is_told(tmp_path: Path, whole: Path) -> None:
    """In the words and with the exit code of every command."""
    (tmp_path / "data").write_bytes(b"no folder")
    done = adopt(tmp_path / "data", str(whole), as_json=False)
    assert done.code == 4
    assert "cannot use the data folder" in done.err


def test_a_mirror_that_is_stopped_stops_taking(origin: Origin, tmp_path: Path) -> None:
    """It ends in good order, its command says so, and what it took is whole."""
    files = {f"{n:03}.bin": bytes([n]) * (1 << 20) for n in range(80)}
    origin.add_repo("models", "acme/many", files)
    cache, data = tmp_path / "cache", tmp_path / "data"
    client(origin.url, cache, "snapshot_download('acme/many')")
    with Running(data, origin) as mirror:
        process = subprocess.Popen(
            command(data, str(cache)), stderr=subprocess.PIPE, text=True, env=environment()
        )
        blobs = data / "v1" / "blobs" / "sha256"
        mirror.wait_for(lambda: len(list(blobs.glob("*/*"))) > 2, timeout=60)
        assert mirror.stop() == 0
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "The server has stopped" in err or "did not answer" in err
    assert "Traceback" not in mirror.log.read_text()
    done = adopt(data, str(cache))
    tally = done.tally("hub")
    assert tally["proven"] + tally.get("present", 0) == len(files)


def test_what_was_adopted_is_listed_pinned_and_removed_like_anything_else(
    origin: Origin, tmp_path: Path, whole: Path
) -> None:
    """Under its own commit, marked as adopted; once removed nothing of it is served, or comes back."""
    data = tmp_path / "data"
    assert adopt(data, str(whole), *EVERYONE).code == 0
    (commit,) = (path.name for path in whole.glob("*/snapshots/*"))
    (row,) = told(data, "ls", "acme/tiny")["revisions"]
    assert (row["commit"], row["revision"], row["list"]) == (commit, ["main"], "adopted")
    assert row["files"] == len(FILES)
    size = sum(map(len, FILES.values()))
    (pin,) = told(data, "pin", "acme/tiny@main", "--for", "chat")["pins"]
    assert pin["bytes"] == size
    said(data, "unpin", "acme/tiny@main")
    assert told(data, "gc", "--older", "0s")["blobs"]["count"] == 0
    assert told(data, "rm", "acme/tiny")["freed"] == size
    assert told(data, "ls")["repos"] == []
    (data / "v1" / "index.sqlite3").unlink()
    assert told(data, "ls")["repos"] == []
    with Running(data, origin, flags=("--offline",)) as mirror:
        assert mirror.ask("/acme/tiny/resolve/main/config.json").status == 501
