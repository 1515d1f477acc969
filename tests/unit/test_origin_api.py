"""The scripted origin's API answers in the Hub's shape."""

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest

from tests.origin import Origin
from tests.origin.asking import ask, bearer


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """One hub for all tests of this module, which only read."""
    with Origin() as running:
        running.tokens = {"tokenA": "alice", "tokenB": "bob"}
        tiny = running.add_repo(
            "models",
            "acme/tiny",
            {"config.json": b'{"model_type": "bert"}', "onnx/a/model.onnx": b"o" * 9, "z.txt": b""},
            refs={"refs/pr/1": {"new.txt": b"n"}, "refs/convert/parquet": {"x": b""}},
            info={"pipeline_tag": "fill-mask", "tags": ["mine"]},
        )
        tiny.push({"config.json": b'{"model_type": "gpt"}'}, "Second\n\nand why")
        running.tag(tiny, "v1")
        running.add_repo("models", "acme/wide", {f"{n:04}.txt": b"%d" % n for n in range(2550)})
        running.add_repo(
            "models", "acme/gated", {"m.bin": b"weights"}, gated="manual", readers=["tokenA"]
        )
        running.add_repo("models", "acme/gguf", {"tiny-Q4_K_M.gguf": b"g" * 100})
        running.add_repo("models", "acme/hidden", {"a": b""}, private=True, readers=["tokenA"])
        running.add_repo(
            "datasets",
            "acme/books",
            {"a.csv": b"x"},
            refs={"refs/convert/parquet": {"default/train/0000.parquet": b"PAR1"}},
        )
        yield running


def test_info_has_the_fields_that_clients_read(origin: Origin) -> None:
    """The description of a repo names commit, files and state; ``blobs`` adds sizes and digests."""
    tiny = origin.repo("models", "acme/tiny")
    info = ask(f"{origin.url}/api/models/acme/tiny").json()
    assert info["id"] == "acme/tiny"
    assert re.fullmatch(r"[0-9a-f]{24}", info["_id"])
    assert info["sha"] == tiny.commit
    assert info["siblings"] == [{"rfilename": path} for path in tiny.paths]
    assert (info["private"], info["gated"], info["disabled"]) == (False, False, False)
    assert (info["pipeline_tag"], info["tags"]) == ("fill-mask", ["mine"])
    assert (info["library_name"], info["config"]) == ("transformers", {"model_type": "gpt"})
    assert {"cardData", "lastModified", "createdAt"} <= info.keys()
    query = "?blobs=True&securityStatus=true"
    info = ask(f"{origin.url}/api/models/acme/tiny/revision/main{query}").json()
    entry = tiny.entry("onnx/a/model.onnx")
    assert info["siblings"][1] == {
        "rfilename": entry.path,
        "size": 9,
        "blobId": entry.oid,
        "lfs": {"sha256": entry.sha256, "size": 9, "pointerSize": len(entry.pointer)},
    }
    assert info["securityRepoStatus"]["scansDone"] is True
    info = ask(f"{origin.url}/api/models/acme/tiny?expand=sha&expand=gated").json()
    assert info.keys() == {"_id", "id", "sha", "gated"}


@pytest.mark.parametrize("name", ["main", "v1", "HEAD", "refs/pr/1", "refs/convert/parquet"])
def test_revision_answers_every_ref(origin: Origin, name: str) -> None:
    """A revision's description shows that revision's commit and files."""
    tiny = origin.repo("models", "acme/tiny")
    info = ask(f"{origin.url}/api/models/acme/tiny/revision/{quote(name, safe='')}").json()
    commit = tiny.resolve(name)
    assert commit is not None
    assert info["sha"] == commit.oid
    assert [row["rfilename"] for row in info["siblings"]] == sorted(commit.files)
    old = ask(f"{origin.url}/api/models/acme/tiny/revision/{info['sha']}").json()
    assert old["sha"] == info["sha"]


def test_tree_lists_folders_and_files_with_their_git_ids(origin: Origin) -> None:
    """The tree shows one level or all, LFS and Xet digests, and 404 for a folder that is not."""
    tiny = origin.repo("models", "acme/tiny")
    url = f"{origin.url}/api/models/acme/tiny/tree/main"
    top = ask(url).json()
    assert [(row["type"], row["path"]) for row in top] == [
        ("directory", "onnx"),
        ("file", "config.json"),
        ("file", "z.txt"),
    ]
    entry = tiny.entry("onnx/a/model.onnx")
    row = {
        "type": "file",
        "oid": entry.oid,
        "size": 9,
        "path": entry.path,
        "lfs": {"oid": entry.sha256, "size": 9, "pointerSize": len(entry.pointer)},
        "xetHash": entry.xet_hash,
    }
    assert ask(f"{url}/onnx%2Fa").json() == [row]
    assert ask(f"{url}/onnx/a").json() == [row]
    every = ask(f"{url}?recursive=true").json()
    assert [row["path"] for row in every][:3] == ["onnx", "onnx/a", "onnx/a/model.onnx"]
    told = {row["path"]: row for row in ask(f"{url}?recursive=true&expand=true").json()}
    head = tiny.head()
    assert told["config.json"]["lastCommit"]["id"] == head.oid
    assert told["config.json"]["lastCommit"]["title"] == "Second"
    assert told["onnx"]["lastCommit"]["id"] == head.parent
    assert told["config.json"]["securityFileStatus"]["status"] == "safe"
    missing = ask(f"{url}/additional_chat_templates?recursive=false&expand=false")
    assert (missing.status, missing.headers["x-error-code"]) == (404, "EntryNotFound")


@pytest.mark.parametrize(("query", "page"), [("", 1000), ("&expand=true", 50), ("&limit=700", 700)])
def test_tree_comes_in_pages(origin: Origin, query: str, page: int) -> None:
    """A long listing is cut into pages that absolute links chain, until every entry was seen once."""
    url: str | None = f"{origin.url}/api/models/acme/wide/tree/main?recursive=true{query}"
    sizes = []
    paths = []
    while url is not None:
        assert url.startswith(origin.url)
        answer = ask(url)
        sizes.append(len(answer.json()))
        paths += [row["path"] for row in answer.json()]
        url = answer.next
    assert paths == [f"{n:04}.txt" for n in range(2550)]
    assert set(sizes[:-1]) == {page}


def test_tree_hides_xet_hashes_from_those_before_the_gate(origin: Origin) -> None:
    """A gated repo is listed to everyone, with its Xet hashes for its readers only."""
    url = f"{origin.url}/api/models/acme/gated/tree/main"
    entry = origin.repo("models", "acme/gated").entry("m.bin")
    assert ask(url).json()[0]["xetHash"] == "****"
    assert ask(url, headers=bearer("tokenB")).json()[0]["xetHash"] == "****"
    assert ask(url, headers=bearer("tokenA")).json()[0]["xetHash"] == entry.xet_hash


def test_paths_info_takes_forms_and_json(origin: Origin) -> None:
    """Both bodies give the rows of the paths that exist, folders included."""
    url = f"{origin.url}/api/models/acme/tiny/paths-info/main"
    paths = ["config.json", "onnx", "nope"]
    form = urlencode([("paths", path) for path in paths] + [("expand", "true")]).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    rows = ask(url, "POST", kind, form).json()
    assert [row["path"] for row in rows] == ["config.json", "onnx"]
    assert rows[0]["lastCommit"]["title"] == "Second"
    body = json.dumps({"paths": paths, "expand": False}).encode()
    rows = ask(url, "POST", {"Content-Type": "application/json"}, body).json()
    assert [row["type"] for row in rows] == ["file", "directory"]
    assert "lastCommit" not in rows[0]


def test_refs_and_commits_tell_the_history(origin: Origin) -> None:
    """Refs come in four groups, commits newest first and in pages."""
    tiny = origin.repo("models", "acme/tiny")
    api = f"{origin.url}/api/models/acme/tiny"
    refs = ask(f"{api}/refs").json()
    assert refs["branches"] == [
        {"name": "main", "ref": "refs/heads/main", "targetCommit": tiny.commit}
    ]
    assert [ref["name"] for ref in refs["tags"] + refs["converts"]] == ["v1", "parquet"]
    assert "pullRequests" not in refs
    refs = ask(f"{api}/refs?include_prs=1").json()
    assert [ref["ref"] for ref in refs["pullRequests"]] == ["refs/pr/1"]
    first = ask(f"{api}/commits/main?limit=1")
    assert first.headers["x-total-count"] == "2"
    assert (first.json()[0]["id"], first.json()[0]["title"]) == (tiny.commit, "Second")
    assert first.json()[0]["message"] == "and why"
    assert first.next is not None
    second = ask(first.next)
    assert [row["title"] for row in second.json()] == ["initial commit"]
    assert second.next is None


def test_search_shows_what_the_caller_may_see(origin: Origin) -> None:
    """A search filters, pages, and hides private repos from strangers."""
    url = f"{origin.url}/api/models"
    names = [row["id"] for row in ask(url).json()]
    assert names == ["acme/gated", "acme/gguf", "acme/tiny", "acme/wide"]
    assert "acme/hidden" in [row["id"] for row in ask(url, headers=bearer("tokenA")).json()]
    assert [row["id"] for row in ask(f"{url}?search=TIN&author=acme").json()] == ["acme/tiny"]
    assert [row["id"] for row in ask(f"{url}?filter=mine").json()] == ["acme/tiny"]
    page = ask(f"{url}?limit=3&full=true")
    assert "siblings" in page.json()[0]
    assert page.next is not None
    assert [row["id"] for row in ask(page.next).json()] == ["acme/wide"]


def test_small_services_answer(origin: Origin) -> None:
    """Identity, access checks, telemetry and client start-up calls have their answers."""
    url = origin.url
    assert ask(f"{url}/api/whoami-v2").status == 401
    assert ask(f"{url}/api/whoami-v2", headers=bearer("tokenA")).json()["name"] == "alice"
    assert ask(f"{url}/api/models/acme/gated/auth-check").status == 401
    assert ask(f"{url}/api/models/acme/gated/auth-check", headers=bearer("tokenB")).status == 403
    assert ask(f"{url}/api/models/acme/gated/auth-check", headers=bearer("tokenA")).status == 200
    harnesses: dict[str, object] = {"standardEnvVars": [], "harnesses": {}}
    assert ask(f"{url}/api/agent-harnesses").json() == harnesses
    assert ask(f"{url}/api/telemetry/x/y", "HEAD").status == 200
    assert ask(f"{url}/api/models/acme/tiny/discussions?p=0").json()["discussions"] == []
    assert ask(f"{url}/api/nothing").status == 404


def test_parquet_listing_leads_to_the_converted_files(origin: Origin) -> None:
    """The listing has absolute URLs; each redirects to the file under refs/convert/parquet."""
    listing = ask(f"{origin.url}/api/datasets/acme/books/parquet").json()
    (url,) = listing["default"]["train"]
    assert url == f"{origin.url}/api/datasets/acme/books/parquet/default/train/0.parquet"
    assert ask(url.rpartition("/")[0]).json() == [url]
    target = ask(url).location
    assert ask(ask(target).location).body == b"PAR1"


def test_manifests_name_the_gguf_file_to_llama_cpp_alone(origin: Origin) -> None:
    """The OCI manifest has the LFS digest as its model layer, and every layer can be fetched."""
    url = f"{origin.url}/v2/acme/gguf"
    entry = origin.repo("models", "acme/gguf").entry("tiny-Q4_K_M.gguf")
    plain = ask(f"{url}/manifests/latest").json()
    assert "ggufFile" not in plain
    named = ask(f"{url}/manifests/q4_k_m", headers={"User-Agent": "llama-cpp/b1"}).json()
    assert named["ggufFile"]["rfilename"] == "tiny-Q4_K_M.gguf"
    assert plain["layers"][0]["digest"] == f"sha256:{entry.sha256}"
    for layer in [plain["config"], *plain["layers"]]:
        blob = ask(f"{url}/blobs/{layer['digest']}")
        blob = ask(blob.location) if blob.status == 307 else blob
        assert len(blob.body) == layer["size"]
    assert ask(f"{url}/manifests/q8_0").status == 404


def test_writes_are_refused(origin: Origin) -> None:
    """Nobody writes through HTTP: 401 without a token, 403 with one."""
    for path in ("/api/repos/create", "/api/models/acme/tiny/commit/main"):
        assert ask(origin.url + path, "POST", body=b"{}").status == 401
        assert ask(origin.url + path, "POST", bearer("tokenA"), b"{}").status == 403
