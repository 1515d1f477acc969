"""The scripted origin's repositories are real ones, and its Xet content store fits its files."""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.origin import Origin, Repo
from tests.origin.asking import ask, bearer
from tests.origin.objects import git_environment

_weights = hashlib.sha256(b"weights").digest() * 20_000
_attributes = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """One hub for all tests of this module, which only read."""
    with Origin() as running:
        running.tokens = {"tokenA": "alice", "tokenB": "bob"}
        files = {
            ".gitattributes": _attributes,
            "a/b/c.txt": b"deep",
            "a.txt": b"beside the folder a",
            "a-b": b"sorts before a/",
            'odd "name" \\ é.txt': b"odd",
            "empty": b"",
            "model.bin": _weights,
        }
        tiny = running.add_repo("models", "acme/tiny", files, renamed_from=["acme/old"])
        tiny.push({"a.txt": None, "new.txt": b"new"}, "Second")
        running.tag(tiny, "v1")
        running.add_repo("datasets", "acme/private", {"a": b"x"}, private=True, readers=["tokenA"])
        yield running


@pytest.fixture
def tiny(origin: Origin) -> Repo:
    """The repo that most tests ask for."""
    return origin.repo("models", "acme/tiny")


def _git(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *map(str, arguments)],
        env={**git_environment(), "GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["acme/tiny", "acme/tiny.git", "acme/old"])
def test_clone_gives_the_ids_that_the_api_tells(
    origin: Origin, tiny: Repo, tmp_path: Path, name: str
) -> None:
    """A clone has the commits, trees and blobs of the API; files in LFS are pointers."""
    done = _git("clone", "-q", f"{origin.url}/{name}", tmp_path / "clone")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "clone"
    log = _git("-C", folder, "log", "--format=%H").stdout.split()
    assert log == [commit.oid for commit in tiny.history(tiny.head())]
    listed = _git("-C", folder, "ls-tree", "-r", "-t", "-z", "HEAD").stdout.split("\0")[:-1]
    found = {row.partition("\t")[2]: row.split()[2] for row in listed}
    url = f"{origin.url}/api/models/acme/tiny/tree/main?recursive=true"
    assert found == {row["path"]: row["oid"] for row in ask(url).json()}
    assert (folder / "model.bin").read_bytes() == tiny.entry("model.bin").pointer
    assert (folder / "a/b/c.txt").read_bytes() == b"deep"
    assert _git("-C", folder, "rev-parse", "v1").stdout.strip() == tiny.commit
    assert _git("-C", folder, "fsck", "--strict").returncode == 0


def test_clone_of_a_private_repo_needs_its_reader(origin: Origin, tmp_path: Path) -> None:
    """Git is asked for a password, and let in with a reader's token only."""
    host = origin.url.removeprefix("http://")
    path = "datasets/acme/private"
    for login in ("", "bob:tokenB@", "alice:wrong@"):
        assert _git("clone", f"http://{login}{host}/{path}", tmp_path / "no").returncode != 0
    done = _git("clone", f"http://alice:tokenA@{host}/{path}", tmp_path / "yes")
    assert done.returncode == 0, done.stderr
    challenge = ask(f"{origin.url}/{path}/info/refs?service=git-upload-pack")
    assert (challenge.status, challenge.headers["www-authenticate"][:5]) == (401, "Basic")
    push = ask(f"{origin.url}/{path}/info/refs?service=git-receive-pack", headers=bearer("tokenA"))
    assert push.status == 403


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_git_lfs_downloads_the_contents(origin: Origin, tmp_path: Path) -> None:
    """``git lfs pull`` replaces the pointers by the contents from the CDN."""
    folder = tmp_path / "clone"
    assert _git("clone", "-q", f"{origin.url}/acme/tiny", folder).returncode == 0
    assert _git("-C", folder, "lfs", "install", "--local").returncode == 0
    done = _git("-C", folder, "lfs", "pull")
    assert done.returncode == 0, done.stderr
    assert (folder / "model.bin").read_bytes() == _weights


@pytest.mark.parametrize("name", ["acme/tiny", "acme/tiny.git"])
def test_lfs_batch_signs_urls_and_names_what_is_missing(
    origin: Origin, tiny: Repo, name: str
) -> None:
    """The batch API answers each object with a CDN address or an error, and refuses uploads."""
    entry = tiny.entry("model.bin")
    objects = [{"oid": entry.sha256, "size": entry.size}, {"oid": "0" * 64, "size": 1}]
    url = f"{origin.url}/{name}/info/lfs/objects/batch"
    kind = {"Content-Type": "application/vnd.git-lfs+json"}
    body = json.dumps({"operation": "download", "objects": objects}).encode()
    answer = ask(url, "POST", kind, body)
    assert answer.headers["content-type"] == "application/vnd.git-lfs+json"
    there, gone = answer.json()["objects"]
    assert ask(there["actions"]["download"]["href"]).body == _weights
    assert gone["error"]["code"] == 404
    body = json.dumps({"operation": "upload", "objects": objects}).encode()
    assert ask(url, "POST", kind, body).status == 401


def test_xet_reconstruction_leads_to_the_bytes(origin: Origin, tiny: Repo) -> None:
    """The chunks that a reconstruction points to are the bytes of the range asked for."""
    token = ask(f"{origin.url}/api/models/acme/tiny/xet-read-token/main")
    told = token.json()
    assert told["casUrl"] == token.headers["x-xet-cas-url"] == origin.cas_url
    assert told["accessToken"] == token.headers["x-xet-access-token"]
    assert str(told["exp"]) == token.headers["x-xet-token-expiration"]
    entry = tiny.entry("model.bin")
    header = bearer(told["accessToken"])
    url = f"{origin.cas_url}/v2/reconstructions/{entry.xet_hash}"
    for first, last in ((0, entry.size - 1), (200_000, 400_000), (131_072, 262_143)):
        plan = ask(url, headers={**header, "Range": f"bytes={first}-{last}"}).json()
        (term,) = plan["terms"]
        (fetch,) = plan["xorbs"][term["hash"]]
        span = fetch["ranges"][0]["bytes"]
        wanted = {"Range": f"bytes={span['start']}-{span['end']}"}
        assert ask(fetch["url"]).status == 403
        assert ask(fetch["url"], headers={"Range": "bytes=0-7"}).status == 403
        xorb = ask(fetch["url"], headers=wanted)
        assert (xorb.status, len(xorb.body)) == (206, span["end"] - span["start"] + 1)
        plain = _unpacked(xorb.body)
        assert len(plain) == term["unpacked_length"]
        offset = plan["offset_into_first_range"]
        assert plain[offset : offset + last - first + 1] == _weights[first : last + 1]
    old = ask(url.replace("/v2/", "/v1/"), headers=header).json()
    assert old["fetch_info"][old["terms"][0]["hash"]][0]["url_range"]["start"] == 0


def _unpacked(xorb: bytes) -> bytes:
    plain = b""
    while xorb:
        assert xorb[0] == xorb[4] == 0
        length = int.from_bytes(xorb[1:4], "little")
        assert length == int.from_bytes(xorb[5:8], "little") <= 131_072
        plain += xorb[8 : 8 + length]
        xorb = xorb[8 + length :]
    return plain


def test_xet_store_refuses_strangers(origin: Origin, tiny: Repo) -> None:
    """Without a token 401, for an unknown hash 404, past the end 416; telemetry is swallowed."""
    token = ask(f"{origin.url}/api/models/acme/tiny/xet-read-token/main").json()["accessToken"]
    cas = origin.cas_url
    url = f"{cas}/v2/reconstructions/{tiny.entry('model.bin').xet_hash}"
    assert ask(url).status == 401
    assert ask(url, headers=bearer(f"{token}0")).status == 401
    assert ask(f"{cas}/v2/reconstructions/{'0' * 64}", headers=bearer(token)).status == 404
    beyond = {**bearer(token), "Range": f"bytes={len(_weights)}-"}
    assert ask(url, headers=beyond).status == 416
    assert ask(f"{cas}/v1/telemetry", "POST", body=b"{}").status == 200
    assert ask(f"{cas}/v1/chunks/default-merkledb/{'0' * 64}").status == 404
    assert ask(f"{origin.url}/api/datasets/acme/private/xet-read-token/main").status == 401


def test_a_repo_of_100_000_files_is_made_within_seconds(origin: Origin) -> None:
    """A wide repo is written by git with the ids that were computed, and listed quickly."""
    files = {f"d{n // 1000:03}/f{n:06}.txt": b"%d" % n for n in range(100_000)}
    started = time.monotonic()
    repo = origin.add_repo("models", "acme/huge", files)
    assert time.monotonic() - started < 10
    counted = subprocess.run(
        ["git", f"--git-dir={repo.git.path}", "ls-tree", "-r", "--name-only", "main"],
        capture_output=True,
        check=True,
    )
    assert counted.stdout.count(b"\n") == 100_000
