"""What clients get: heads, bodies, and that every URL leads to the mirror."""

import json
from typing import Any

import pytest

from mirror.digest import SHA256
from mirror.messages import Span
from tests.doubles.scripted_facts import ScriptedUpstream
from tests.hubs.huggingface.scripts import (
    BASE,
    COMMIT,
    CONFIG,
    ELEMENTS,
    TREE,
    WEIGHTS_SHA,
    WEIGHTS_SIZE,
    XET,
    engine,
    git_oid,
    header,
    info,
    parsed,
    request,
    small,
    text,
    tree,
    upstream,
)

API = "/api/models/acme/tiny-bert"
VIA = {"via": "1.1 modelmirror"}


def test_answer_of_a_large_file_has_all_that_clients_read() -> None:
    """Digest, size and commit stand in the head; the body is one span of the blob."""
    answer = engine().ask(request("/acme/tiny-bert/resolve/main/model.safetensors"))
    assert (answer.status, answer.etag, answer.ranges) == (200, WEIGHTS_SHA, True)
    assert answer.size == WEIGHTS_SIZE
    assert header(answer, "x-repo-commit") == COMMIT
    assert header(answer, "x-linked-etag") == f'"{WEIGHTS_SHA}"'
    assert header(answer, "x-linked-size") == str(WEIGHTS_SIZE)
    assert header(answer, "content-type") == "application/octet-stream"
    assert header(answer, "access-control-allow-origin") == "*"
    (span,) = answer.body
    assert isinstance(span, Span)
    assert span.blob.digest.algorithm == SHA256
    assert span.blob.source.target == f"/acme/tiny-bert/resolve/{COMMIT}/model.safetensors"
    for name in ("x-xet-hash", "link", "location", "content-encoding", "content-length", "etag"):
        assert header(answer, name) is None


def test_answer_of_a_small_file_is_named_by_git() -> None:
    """A file that git holds itself has git's object id as its tag, and an encoded source."""
    answer = engine().ask(request("/acme/tiny-bert/resolve/main/onnx/na%C3%AFve%20file%2B1.txt"))
    assert answer.etag == git_oid(b"x")
    (span,) = answer.body
    assert isinstance(span, Span)
    assert span.blob.source.target.endswith("/onnx/na%C3%AFve%20file%2B1.txt")
    assert header(answer, "content-disposition") == (
        "inline; filename*=UTF-8''na%C3%AFve%20file%2B1.txt; filename=\"na?ve file+1.txt\";"
    )


def test_answer_of_an_empty_file_has_no_body() -> None:
    """No blob is fetched for nothing."""
    answer = engine().ask(request("/acme/tiny-bert/resolve/main/empty.txt"))
    assert (answer.status, answer.body, answer.etag) == (200, (), git_oid(b""))


@pytest.mark.parametrize(
    ("revision", "more", "caching"),
    [
        (COMMIT, {}, "public, max-age=31536000, immutable"),
        ("main", {}, "no-cache"),
        (COMMIT, {"private": True}, "private, no-cache"),
        (COMMIT, {"gated": "auto"}, "private, no-cache"),
    ],
)
def test_answer_may_be_kept_for_ever_only_if_public_and_pinned(
    revision: str, more: dict[str, Any], caching: str
) -> None:
    """A shared cache in front of the mirror must never hold what not everyone may see."""
    scripted = upstream(**more)
    scripted.put(f"{API}/auth-check", b"")
    answer = engine(scripted, caller="alice").ask(
        request(f"/acme/tiny-bert/resolve/{revision}/config.json")
    )
    assert header(answer, "cache-control") == caching


@pytest.mark.parametrize("path", ["nope.json", "onnx", "config.json/x"])
def test_answer_of_a_missing_file_is_proved(path: str) -> None:
    """Clients write this down for ever, so it carries the commit that proves it."""
    answer = engine().ask(request(f"/acme/tiny-bert/resolve/main/{path}"))
    assert answer.status == 404
    assert header(answer, "x-error-code") == "EntryNotFound"
    assert header(answer, "x-repo-commit") == COMMIT


def test_answer_to_raw_is_the_pointer_of_a_large_file() -> None:
    """What git holds for it, whose tag is git's own."""
    answer = engine().ask(request("/acme/tiny-bert/raw/main/model.safetensors"))
    assert (
        text(answer)
        == (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{WEIGHTS_SHA}\nsize 300000\n"
        ).encode()
    )
    assert answer.etag == "f" * 40
    answer = engine().ask(request("/acme/tiny-bert/raw/main/config.json"))
    assert answer.etag == git_oid(CONFIG)


def test_answer_to_another_mirror_shows_xet() -> None:
    """A mirror behind this one serves its own CAS and needs the hashes; its links lead here."""
    run = engine()
    answer = run.ask(request("/acme/tiny-bert/resolve/main/model.safetensors", headers=VIA))
    assert header(answer, "x-xet-hash") == XET
    link = header(answer, "link")
    assert link is not None
    assert link.count(BASE) == 2
    listed = parsed(run.ask(request(f"{API}/tree/main", headers=VIA)))
    assert XET in [element.get("xetHash") for element in listed]


@pytest.mark.parametrize(
    ("path", "query", "method", "body"),
    [
        (API, "", "GET", b""),
        (API, "blobs=true", "GET", b""),
        (f"{API}/tree/main", "recursive=true", "GET", b""),
        (f"{API}/paths-info/main", "", "POST", b"paths=model.safetensors"),
    ],
)
def test_answer_shows_no_plain_client_a_xet_hash(
    path: str, query: str, method: str, body: bytes
) -> None:
    """A hash in a listing is enough to lead a client past plain HTTP."""
    siblings = [{"rfilename": "model.safetensors", "xetHash": XET}]
    answer = engine(upstream(siblings=siblings)).ask(request(path, query, method=method), body)
    assert answer.status == 200
    assert b"model.safetensors" in text(answer)
    assert b"xetHash" not in text(answer)


def test_answer_describes_a_repo_in_upstreams_own_bytes() -> None:
    """Nothing is lost of what upstream said."""
    assert text(engine().ask(request(API))) == info()


def test_answer_describes_siblings_with_their_digests() -> None:
    """With ``blobs`` sizes and digests come from the list."""
    siblings = parsed(engine().ask(request(API, "blobs=True")))["siblings"]
    assert len(siblings) == 4
    heavy = next(item for item in siblings if item["rfilename"] == "model.safetensors")
    lfs = {"sha256": WEIGHTS_SHA, "size": WEIGHTS_SIZE, "pointerSize": 131}
    assert heavy == {"rfilename": "model.safetensors", "blobId": "f" * 40, "size": WEIGHTS_SIZE,
                     "lfs": lfs}  # fmt: skip


def test_answer_lists_folders_pages_and_depths() -> None:
    """Any cut of the stored list is made here, with links of our own to the next page."""
    run = engine()
    listed = parsed(run.ask(request(f"{API}/tree/main")))
    assert [item["path"] for item in listed] == [
        "config.json", "empty.txt", "model.safetensors", "onnx"
    ]  # fmt: skip
    listed = parsed(run.ask(request(f"{API}/tree/main/onnx")))
    assert [item["path"] for item in listed] == ["onnx/naïve file+1.txt"]
    seen: list[str] = []
    path, query = f"{API}/tree/main", "recursive=true&limit=2"
    for _ in range(3):
        answer = run.ask(request(path, query))
        seen += [item["path"] for item in parsed(answer)]
        link = header(answer, "link")
        if link is None:
            break
        assert link.startswith(f"<{BASE}{API}/tree/{COMMIT}?")
        assert link.endswith('>; rel="next"')
        path, _, query = link[len(BASE) + 1 : link.index(">")].partition("?")
    assert sorted(seen) == sorted(element["path"] for element in ELEMENTS)
    assert len(run.upstream.asked) == 2


def test_answer_tells_the_commit_where_expand_cannot_be_asked() -> None:
    """Offline the snapshot's own commit stands in for each file's last one."""
    run = engine()
    run.ask(request(f"{API}/tree/main"))
    run.facts.offline = True
    (element, *_) = parsed(run.ask(request(f"{API}/tree/main", "expand=true")))
    date = "2026-01-02T03:04:05.000Z"
    assert element["lastCommit"] == {"id": COMMIT, "title": "", "date": date}


def test_answer_passes_expanded_lists_on() -> None:
    """Who committed what is upstream's to say; the answer outlives the outage."""
    scripted = upstream()
    target = f"{API}/tree/{COMMIT}?expand=true"
    scripted.put(target, tree(small("a", b"") | {"lastCommit": {"id": "1"}}))
    run = engine(scripted)
    first = run.ask(request(f"{API}/tree/main", "expand=true"))
    run.facts.offline = True
    assert text(run.ask(request(f"{API}/tree/main", "expand=true"))) == text(first)
    assert parsed(first)[0]["lastCommit"] == {"id": "1"}


def test_answer_lists_the_asked_paths_that_exist() -> None:
    """Missing paths are just absent."""
    body = b"paths=onnx&paths=nope&paths=config.json&expand=false"
    listed = parsed(engine().ask(request(f"{API}/paths-info/main", method="POST"), body))
    assert [item["path"] for item in listed] == ["onnx", "config.json"]


def test_answer_warns_of_a_branch_as_it_was() -> None:
    """What is shown for want of anything newer says how old it is."""
    run = engine()
    path = "/acme/tiny-bert/resolve/main/config.json"
    assert header(run.ask(request(path)), "x-hf-warning") is None
    run.facts.offline = True
    run.facts.now += 600
    warning = header(run.ask(request(path)), "x-hf-warning")
    assert warning is not None
    assert warning.startswith("modelmirror; ")
    assert "10 minutes" in warning


def test_answer_rewrites_what_passes_through() -> None:
    """Links, URLs and totals of upstream's answer come out as the mirror's; its hashes do not."""
    scripted = ScriptedUpstream()
    body = json.dumps(
        [
            {
                "url": f"{scripted.base}/datasets/a/b",
                "siblings": [{"xetHash": XET}],
                "x": scripted.base,
            }
        ]
    ).encode()
    link = f'<{scripted.base}/api/models?search=b&cursor=2>; rel="next"'
    headers = {"link": link, "x-total-count": "7", "set-cookie": "a=b"}
    scripted.put("/api/models?search=b", body, headers=headers)
    answer = engine(scripted).ask(request("/api/models", "search=b"))
    assert parsed(answer) == [{"url": f"{BASE}/datasets/a/b", "siblings": [{}], "x": BASE}]
    assert header(answer, "link") == f'<{BASE}/api/models?search=b&cursor=2>; rel="next"'
    assert header(answer, "x-total-count") == "7"
    assert header(answer, "set-cookie") is None


def test_answer_to_a_search_is_the_callers_own() -> None:
    """What one credential finds is not shown to another."""
    scripted = ScriptedUpstream()
    scripted.put("/api/models?search=b", b'["private"]')
    run = engine(scripted, caller="alice")
    run.ask(request("/api/models", "search=b"))
    run.ask(request("/api/models", "search=b"))
    run.facts.caller = "bob"
    run.ask(request("/api/models", "search=b"))
    assert len(scripted.asked) == 2


def test_answer_lists_branches_seen_when_upstream_is_gone() -> None:
    """Revisions seen one by one make a list too."""
    run = engine()
    run.ask(request(f"{API}/tree/main"))
    run.facts.offline = True
    branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}
    assert parsed(run.ask(request(f"{API}/refs"))) == {
        "branches": [branch],
        "tags": [],
        "converts": [],
    }


def test_answer_of_a_registry_layer_says_where_it_is() -> None:
    """Ollama takes the URL of a layer from Location, even of a 200."""
    path = f"/v2/acme/tiny-bert/blobs/sha256:{WEIGHTS_SHA}"
    answer = engine().ask(request(path))
    assert header(answer, "location") == BASE + path
    assert answer.etag == WEIGHTS_SHA


def test_answer_of_a_registry_manifest_depends_on_the_client() -> None:
    """llama.cpp is shown file names; its answer is kept apart."""
    scripted = upstream()
    scripted.put("/v2/acme/tiny-bert/manifests/latest", b"{}")
    run = engine(scripted)
    run.ask(request("/v2/acme/tiny-bert/manifests/latest"))
    run.ask(request("/v2/acme/tiny-bert/manifests/latest", headers={"user-agent": "llama-cpp/b1"}))
    agents = [dict(asked.headers).get("user-agent") for asked in scripted.asked[1:]]
    assert agents == [None, "llama-cpp"]


def test_answer_to_a_git_batch_leads_here() -> None:
    """Objects that are known have links of ours, the others an error of their own."""
    objects = [{"oid": WEIGHTS_SHA, "size": 1}, {"oid": "b" * 64, "size": 2}]
    body = json.dumps({"operation": "download", "objects": objects}).encode()
    batch = request("/acme/tiny-bert.git/info/lfs/objects/batch", method="POST")
    answer = engine().ask(batch, body)
    assert header(answer, "content-type") == "application/vnd.git-lfs+json"
    known, unknown = parsed(answer)["objects"]
    href = known["actions"]["download"]["href"]
    assert href == f"{BASE}/acme/tiny-bert.git/info/lfs/objects/{WEIGHTS_SHA}"
    assert (known["size"], unknown["error"]["code"]) == (WEIGHTS_SIZE, 404)


def test_answer_to_a_git_batch_of_a_private_repo_carries_a_pass() -> None:
    """git-lfs sends no credential to the link, so the link says whose it is, and for how long."""
    run = engine(upstream(private=True), caller="alice")
    objects = [{"oid": WEIGHTS_SHA, "size": 1}]
    body = json.dumps({"operation": "download", "objects": objects}).encode()
    batch = request("/acme/tiny-bert.git/info/lfs/objects/batch", method="POST")
    href = parsed(run.ask(batch, body))["objects"][0]["actions"]["download"]["href"]
    path, _, query = href.removeprefix(BASE).partition("?")
    question = run.hub.recognise(request(path, query), b"")
    assert question is not None
    assert question.caller == "alice"
    assert run.ask(request(path, query)).etag == WEIGHTS_SHA
    run.facts.now += 901
    assert run.ask(request(path, query)).status == 403


def test_answer_names_no_page_of_its_own_origin() -> None:
    """A page in a repo must not run as one of the mirror's."""
    scripted = upstream()
    scripted.put(f"{API}/tree/{COMMIT}{TREE}", tree(small("a.html", b"x"), small("b.svg", b"x")))
    run = engine(scripted)
    for name in ("a.html", "b.svg"):
        answer = run.ask(request(f"/acme/tiny-bert/resolve/main/{name}"))
        assert header(answer, "content-type") == "text/plain; charset=utf-8"
        assert "sandbox" in (header(answer, "content-security-policy") or "")
