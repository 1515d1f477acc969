"""Requests become questions: the URL map, and what is refused at the door."""

import json
from typing import Any

import pytest

from mirror.credential import Credential
from mirror.errors import MalformedQuestionError, MethodRefusedError, QuestionError
from mirror.hubs.huggingface import questions
from mirror.hubs.huggingface.questions import (
    AuthCheck,
    Fixed,
    LfsBatch,
    OciManifest,
    Passed,
    PathsInfo,
    RepoFile,
    RepoInfo,
    RepoPage,
    RepoRefs,
    RepoTree,
    StoredObject,
    XetToken,
)
from mirror.messages import RequestHead
from mirror.names import Access, Question, Tunnel
from tests.hubs.huggingface.scripts import BASE, COMMIT, WEIGHTS_SHA, new_hub, request

ID = "/api/models/acme/tiny-bert"


def recognised(path: str, query: str = "", body: bytes = b"", **more: Any) -> Question | None:
    """What the hub makes of a request."""
    return new_hub().recognise(request(path, query, **more), body)


@pytest.mark.parametrize(
    ("path", "repo", "revision", "file"),
    [
        ("/acme/tiny-bert/resolve/main/config.json", "models/acme/tiny-bert", "main", "config.json"),
        ("/gpt2/resolve/main/config.json", "models/gpt2", "main", "config.json"),
        ("/datasets/acme/csvset/resolve/v1/data/a.csv", "datasets/acme/csvset", "v1", "data/a.csv"),
        ("/datasets/squad/resolve/main/a", "datasets/squad", "main", "a"),
        ("/spaces/acme/demo/resolve/main/app.py", "spaces/acme/demo", "main", "app.py"),
        ("/kernels/acme/fast/resolve/main/build/x.so", "kernels/acme/fast", "main", "build/x.so"),
        ("/acme/x/resolve/refs%2Fpr%2F1/f", "models/acme/x", "refs/pr/1", "f"),
        ("/acme/x/resolve/refs/pr/1/f", "models/acme/x", "refs/pr/1", "f"),
        ("/acme/x/resolve/refs/convert/parquet/d/f", "models/acme/x", "refs/convert/parquet", "d/f"),
        ("/acme/x/resolve/feat%2Fone/d/f", "models/acme/x", "feat/one", "d/f"),
        ("/acme/x/resolve/HEAD/f", "models/acme/x", "main", "f"),
        ("/acme/x/resolve/main/na%C3%AFve%20file%2B1.txt", "models/acme/x", "main", "naïve file+1.txt"),
        ("/acme/x/resolve/main/a+b", "models/acme/x", "main", "a+b"),
        ("/acme/x/resolve/main/100%2525", "models/acme/x", "main", "100%25"),
        ("/acme/x/resolve/main/sub%2Ff", "models/acme/x", "main", "sub/f"),
        ("/acme/x/resolve/main/naïve", "models/acme/x", "main", "naïve"),
        ("/acme/x/resolve/main/resolve/main/f", "models/acme/x", "main", "resolve/main/f"),
        ("/acme/info/resolve/main/f", "models/acme/info", "main", "f"),
        (f"/api/resolve-cache/models/acme/x/{COMMIT}/d/f", "models/acme/x", COMMIT, "d/f"),
        (f"/api/resolve-cache/datasets/squad/{COMMIT}/f", "datasets/squad", COMMIT, "f"),
        ("/api/datasets/acme/d/parquet/c/train/3.parquet", "datasets/acme/d", "refs/convert/parquet",
         "c/train/0003.parquet"),
    ],
)  # fmt: skip
def test_recognise_reads_file_urls(path: str, repo: str, revision: str, file: str) -> None:
    """Ids of one and two segments, revisions with slashes and odd names are told apart."""
    for method in ("GET", "HEAD"):
        question = recognised(path, method=method)
        assert isinstance(question, RepoFile)
        assert question.repo is not None
        found = (question.repo.name, question.revision, question.path)
        assert found == (repo, revision, file)
        assert question.access is Access.READ


def test_recognise_ignores_the_query_of_a_redirect_target() -> None:
    """A resolve-cache URL means the same with the query that the Hub gives it."""
    path = f"/api/resolve-cache/models/acme/x/{COMMIT}/f"
    query = "%2Facme%2Fx%2Fresolve%2Fmain%2Ff=&etag=%22abc%22"
    assert recognised(path, query) == recognised(path)


@pytest.mark.parametrize(
    ("path", "query", "kind", "fields"),
    [
        (ID, "", RepoInfo, {"revision": "main", "blobs": False, "query": ""}),
        (ID, "blobs=True&securityStatus=False", RepoInfo, {"blobs": True, "query": ""}),
        (ID, "securityStatus=true&blobs=true", RepoInfo,
         {"blobs": True, "query": "securityStatus=true"}),
        (ID, "expand=downloads&expand=tags", RepoInfo, {"expand": ("downloads", "tags")}),
        (f"{ID}/revision/HEAD", "", RepoInfo, {"revision": "main"}),
        (f"{ID}/revision/refs%2Fpr%2F1", "", RepoInfo, {"revision": "refs/pr/1"}),
        (f"{ID}/revision/refs/pr/1", "", RepoInfo, {"revision": "refs/pr/1"}),
        ("/api/models/gpt2", "", RepoInfo, {"revision": "main"}),
        (f"{ID}/tree/main", "recursive=True&expand=False", RepoTree,
         {"folder": "", "recursive": True, "expand": False, "limit": 1000}),
        (f"{ID}/tree/main/sub%2Fdir", "", RepoTree, {"folder": "sub/dir"}),
        (f"{ID}/tree/main/sub/dir/", "limit=5", RepoTree, {"folder": "sub/dir", "limit": 5}),
        (f"{ID}/tree/main", "cursor=abc", RepoTree, {"foreign": True}),
        (f"{ID}/tree/main", "limit=99999", RepoTree, {"limit": 1000}),
        (f"{ID}/refs", "include_prs=1", RepoRefs, {"prs": True}),
        (f"{ID}/commits/main", "p=2", RepoPage, {"tail": "/commits/main?p=2"}),
        ("/api/datasets/squad/commits/refs%2Fpr%2F1", "", RepoPage,
         {"tail": "/commits/refs%2Fpr%2F1"}),
        (f"{ID}/discussions", "", RepoPage, {"tail": "/discussions"}),
        ("/api/datasets/a/d/parquet/c", "", RepoPage, {"tail": "/parquet/c"}),
        (f"{ID}/auth-check", "", AuthCheck, {"access": Access.READ}),
        (f"{ID}/xet-read-token/main", "", XetToken, {"revision": "main", "access": Access.READ}),
        ("/api/whoami-v2", "", Passed, {"target": "/api/whoami-v2", "lifetime": 0.0}),
        ("/api/models", "search=bert&limit=3", Passed,
         {"target": "/api/models?search=bert&limit=3", "lifetime": 60.0}),
        (f"{ID}/likers", "", Passed, {"target": f"{ID}/likers", "access": Access.NONE}),
        ("/api/daily_papers", "", Passed, {"target": "/api/daily_papers"}),
        ("/api/agent-harnesses", "", Fixed,
         {"body": b'{"standardEnvVars":[],"harnesses":{}}'}),
        ("/api/telemetry/x", "", Fixed, {"status": 200}),
        ("/v2/", "", Fixed, {"status": 200}),
        ("/v2/acme/x/manifests/Q4_K_M", "", OciManifest, {"tag": "Q4_K_M", "agent": ""}),
        (f"/v2/acme/x/blobs/sha256:{WEIGHTS_SHA}", "", StoredObject,
         {"sha256": WEIGHTS_SHA, "oci": True}),
        (f"/acme/x.git/info/lfs/objects/{WEIGHTS_SHA}", "", StoredObject,
         {"sha256": WEIGHTS_SHA, "access": Access.READ, "caller": None}),
    ],
)  # fmt: skip
def test_recognise_reads_api_calls(
    path: str, query: str, kind: type[Question], fields: dict[str, object]
) -> None:
    """Each route of the API becomes its own kind of question."""
    question = recognised(path, query)
    assert type(question) is kind
    assert {name: getattr(question, name) for name in fields} == fields


def test_recognise_reads_paths_from_forms_and_json() -> None:
    """Python sends a form, JavaScript JSON; both may ask for expanded entries."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    path = f"{ID}/paths-info/main"
    question = recognised(
        path, "", b"paths=a%2Bb&paths=onnx/&expand=True", method="POST", headers=form
    )
    assert isinstance(question, PathsInfo)
    assert (question.paths, question.expand) == (("a+b", "onnx"), True)
    body = json.dumps({"paths": ["a+b"], "expand": False}).encode()
    kind = {"content-type": "application/json"}
    question = recognised(path, "", body, method="POST", headers=kind)
    assert isinstance(question, PathsInfo)
    assert (question.paths, question.expand) == (("a+b",), False)


def test_recognise_passes_the_agent_of_llama_cpp_on() -> None:
    """The Hub's manifest has file names for that client only, so its name is part of the question."""
    agent = {"user-agent": "llama-cpp/b1234"}
    question = recognised("/v2/acme/x/manifests/latest", headers=agent)
    assert isinstance(question, OciManifest)
    assert question.agent == "llama-cpp"


def test_recognise_leaves_ollamas_library_to_others() -> None:
    """``/v2/library`` is another registry."""
    assert recognised("/v2/library/llama3/manifests/latest") is None


@pytest.mark.parametrize(
    "path",
    ["/", "", "/-/live", "/-/host/x/y", "//evil", "/health", "/acme/x", "/acme/x/blob/main/f",
     "/acme/x/tree/main", "/favicon.ico"],
)  # fmt: skip
def test_recognise_leaves_what_is_not_the_hubs(path: str) -> None:
    """Our own pages and the Hub's web pages are not claimed."""
    assert recognised(path) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/repos/create"),
        ("DELETE", "/api/repos/delete"),
        ("POST", f"{ID}/commit/main"),
        ("POST", f"{ID}/preupload/main"),
        ("PUT", f"{ID}/settings"),
        ("GET", f"{ID}/xet-write-token/main"),
        ("POST", "/acme/x/resolve/main/f"),
        ("DELETE", "/acme/x/resolve/main/f"),
        ("POST", "/acme/x.git/git-receive-pack"),
        ("POST", "/acme/x.git/info/lfs/locks/verify"),
        ("PUT", f"/acme/x.git/info/lfs/objects/{WEIGHTS_SHA}"),
        ("PUT", "/v2/acme/x/manifests/latest"),
        ("POST", "/-/cas/v1/xorbs/default/x"),
        ("GET", f"{ID}/paths-info/main"),
    ],
)
def test_recognise_refuses_writes(method: str, path: str) -> None:
    """Nothing changes the Hub through a mirror, and the sentence says what to do."""
    with pytest.raises(MethodRefusedError):
        recognised(path, method=method)


def test_recognise_tells_git_in_plain_text_that_it_cannot_push() -> None:
    """Git prints a plain text body and nothing else."""
    question = recognised("/acme/x.git/info/refs", "service=git-receive-pack")
    assert isinstance(question, Fixed)
    assert question.status == 403
    assert b"downloads only" in question.body


@pytest.mark.parametrize(
    "path",
    [
        "/acme/x/resolve/main/../../etc/passwd",
        "/acme/x/resolve/main/%2e%2e/%2e%2e/etc/passwd",
        "/acme/x/resolve/main/a%2F..%2Fb",
        "/acme/x/resolve/main/a//b",
        "/acme/x/resolve/main/./b",
        "/acme/x/resolve/main/a%00b",
        "/acme/x/resolve/main/%ff",
        "/acme/x/resolve/main/" + "a" * 10_000,
        "/acme/x/resolve/main",
        "/acme/x/resolve/..%2Fx/f",
        "/acme/x/resolve/a%20b/f",
        "/acme/x/resolve/" + "r" * 300 + "/f",
        "/../x/resolve/main/f",
        "/acme/%2e%2e/resolve/main/f",
        "/acme/a%2Fb/resolve/main/f",
        "/-acme/x/resolve/main/f",
        "/api/models/..",
        "/api/models/acme/..%2Fx",
        "/api/../x",
        "/api/%2e%2e/x",
        "/api/models/acme/x/tree/main/..",
        "/api/resolve-cache/models/acme/x/main/f",
        "/api/buckets/a/b/tree",
        "/buckets/a/b/resolve/f",
        "/v2/acme/x/blobs/md5:00",
        "/v2/acme/x/y/z/manifests/t",
        "/acme/x/info/refs",
        "/acme/x.git/info/lfs/objects/nohash",
    ],
)
def test_recognise_refuses_hostile_and_malformed_names(path: str) -> None:
    """What climbs, is no UTF-8, is over-long or is no name at all is refused with a sentence."""
    with pytest.raises(QuestionError) as caught:
        recognised(path)
    assert len(str(caught.value)) > 20


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{ID}/paths-info/main", b"{"),
        (f"{ID}/paths-info/main", b'{"paths": 3}'),
        (f"{ID}/paths-info/main", b'{"paths": [3]}'),
        (f"{ID}/paths-info/main", b'{"paths": ["../x"]}'),
        (f"{ID}/paths-info/main", b'{"paths": ["\\ud800"]}'),
        ("/acme/x.git/info/lfs/objects/batch",
         b'{"operation": "download", "objects": [], "ref": {"name": "\\udc80"}}'),
        (f"{ID}/paths-info/main", b"[" * 100_000),
        ("/acme/x.git/info/lfs/objects/batch", b"{}"),
        ("/acme/x.git/info/lfs/objects/batch",
         b'{"operation": "download", "objects": [{"oid": "x", "size": 1}]}'),
    ],
)  # fmt: skip
def test_recognise_refuses_bodies_that_cannot_be_read(path: str, body: bytes) -> None:
    """A broken body is the caller's fault and is said to be."""
    kind = {"content-type": "application/json"}
    with pytest.raises(MalformedQuestionError):
        recognised(path, "", body, method="POST", headers=kind)


def test_recognise_refuses_lfs_uploads() -> None:
    """A batch to upload is a write."""
    body = json.dumps({"operation": "upload", "objects": []}).encode()
    with pytest.raises(MethodRefusedError):
        recognised("/acme/x.git/info/lfs/objects/batch", "", body, method="POST")


def test_recognise_reads_a_git_batch() -> None:
    """The branch that is checked out tells whose files to look through."""
    objects = [{"oid": WEIGHTS_SHA, "size": 3}]
    ref = {"name": "refs/heads/dev"}
    body = json.dumps({"operation": "download", "objects": objects, "ref": ref}).encode()
    for suffix in ("", ".git"):
        path = f"/datasets/acme/x{suffix}/info/lfs/objects/batch"
        question = recognised(path, "", body, method="POST")
        assert isinstance(question, LfsBatch)
        assert question.repo is not None
        assert question.repo.name == "datasets/acme/x"
        assert (question.revision, question.objects) == ("dev", ((WEIGHTS_SHA, 3),))


def test_recognise_tunnels_git() -> None:
    """Discovery and negotiation go through as they are, with the headers git's protocol needs."""
    headers = {"git-protocol": "version=2", "cookie": "secret"}
    question = recognised("/acme/x/info/refs", "service=git-upload-pack", headers=headers)
    assert isinstance(question, Tunnel)
    assert question.request.target == "/acme/x/info/refs?service=git-upload-pack"
    assert question.request.headers == (("git-protocol", "version=2"),)
    assert (question.repo, question.access) == (None, Access.NONE)
    question = recognised("/acme/x.git/git-upload-pack", "", b"0000", method="POST")
    assert isinstance(question, Tunnel)
    assert (question.request.method, question.request.body) == ("POST", b"0000")


def test_recognise_lets_web_pages_ask() -> None:
    """A CORS preflight for a read is answered, one for a write is not."""
    asked = {"access-control-request-method": "GET"}
    question = recognised("/acme/x/resolve/main/f", method="OPTIONS", headers=asked)
    assert isinstance(question, Fixed)
    assert question.status == 204
    asked = {"access-control-request-method": "DELETE"}
    with pytest.raises(MethodRefusedError):
        recognised("/acme/x/resolve/main/f", method="OPTIONS", headers=asked)
    assert recognised("/-/live", method="OPTIONS") is None


@pytest.mark.parametrize("header", [None, "Basic eA==", "Bearer hf_x", "Bearer a.b", "Bearer ..."])
def test_recognise_opens_the_cas_to_its_own_tokens_only(header: str | None) -> None:
    """Any other credential is told to fetch a new token."""
    credential = None if header is None else Credential(header)
    path = f"/-/cas/v2/reconstructions/{'e' * 64}"
    head = RequestHead("GET", path, "", {}, credential, BASE)
    question = new_hub().recognise(head, b"")
    assert isinstance(question, Fixed)
    assert question.status == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/-/cas/v1/telemetry", 200),
        ("GET", "/-/cas/v1/chunks/default-merkledb/x", 404),
        ("GET", "/-/cas/xorbs/x", 403),
    ],
)
def test_recognise_answers_the_rest_of_the_cas(method: str, path: str, status: int) -> None:
    """Telemetry is swallowed, deduplication knows nothing, forged links open nothing."""
    question = recognised(path, method=method)
    assert isinstance(question, Fixed)
    assert question.status == status


def test_questions_are_values() -> None:
    """Every kind of question can be compared and hashed, so it can be a key."""
    kinds = [kind for kind in vars(questions).values() if isinstance(kind, type)]
    frozen = [kind for kind in kinds if issubclass(kind, Question)]
    assert len(frozen) > 10
    assert all(kind.__hash__ is not None for kind in frozen)
