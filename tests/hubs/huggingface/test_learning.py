"""Responses become facts, and answers that cannot be are as good as none."""

import pytest

from mirror.digest import GIT_SHA1, SHA256
from mirror.errors import UpstreamRefusedError, UpstreamUnreachableError
from mirror.hubs.huggingface import asking, learning
from mirror.hubs.huggingface.grammar import HUB
from mirror.hubs.huggingface.questions import Passed
from mirror.messages import Response, UpstreamRequest
from mirror.names import (
    Access,
    Alias,
    Entries,
    Fact,
    Lead,
    Need,
    Ref,
    Reply,
    Repo,
    Snapshot,
    SnapshotState,
    Verdict,
    Visibility,
)
from tests.hubs.huggingface.scripts import (
    COMMIT,
    CONFIG,
    TREE,
    XET,
    folder,
    git_oid,
    info,
    small,
    tree,
    weights,
)

REPO = Repo(HUB, "models/acme/tiny-bert")
NOW = 1_750_000_000.0
BASE = "https://origin.test/hf"
QUESTION = Passed(target="/api/x")


def response(body: bytes, *, status: int = 200, target: str = "/api/x", **headers: str) -> Response:
    """An answer of upstream; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, named, body, BASE, BASE + target)


def learned(need: Need, answer: Response) -> list[Fact]:
    """What is learned from *answer*."""
    return learning.absorb(QUESTION, need, answer, NOW)


def test_learning_a_revision_says_who_may_see_the_repo() -> None:
    """Commit, audience, description: a plain public repo."""
    body = info()
    facts = learned(asking.revision_need(REPO, "main"), response(body))
    assert facts == [
        Alias(REPO, REPO, "621ffdc036468d709f17434d", NOW),
        Visibility(REPO, private=False, gated=False, seen_at=NOW),
        Ref(REPO, COMMIT, COMMIT, NOW),
        Ref(REPO, "main", COMMIT, NOW),
        Snapshot(REPO, COMMIT, SnapshotState.PENDING, "", body, NOW),
    ]


@pytest.mark.parametrize(
    ("gated", "levels"), [(False, [Access.LIST, Access.READ]), ("auto", [Access.LIST])]
)
def test_learning_a_private_revision_says_that_the_caller_may_see_it(
    gated: object, levels: list[Access]
) -> None:
    """Only what strangers do not get is a word about the caller."""
    facts = learned(asking.revision_need(REPO, "main"), response(info(private=True, gated=gated)))
    assert [fact for fact in facts if isinstance(fact, Verdict)] == [
        Verdict(REPO, level, accepted=True, seen_at=NOW) for level in levels
    ]


@pytest.mark.parametrize("gated", ["auto", "manual", True])
def test_learning_a_gated_revision_lets_nobody_read(gated: object) -> None:
    """Seeing the list of a gated repo says nothing about the caller, for everybody sees it."""
    facts = learned(asking.revision_need(REPO, "main"), response(info(gated=gated)))
    assert Visibility(REPO, private=False, gated=True, seen_at=NOW) in facts
    assert not [fact for fact in facts if isinstance(fact, Verdict)]


def test_learning_another_id_makes_an_alias() -> None:
    """Facts hang on the canonical id; the asked one leads there."""
    asked = Repo(HUB, "models/Acme/Tiny-BERT")
    facts = learned(asking.revision_need(asked, "main"), response(info()))
    assert facts[0] == Alias(asked, REPO, "621ffdc036468d709f17434d", NOW)
    assert all(fact.repo == REPO for fact in facts if isinstance(fact, (Ref, Snapshot, Verdict)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        info(sha=None),
        info(sha="main"),
        info(sha="d" * 40),
        info(id="../../etc"),
        info(id="a/b/c"),
        b"[" * 100_000,
    ],
)
def test_learning_refuses_a_revision_that_cannot_be(body: bytes) -> None:
    """What is no description of that commit is no answer, and nothing of it is kept."""
    with pytest.raises(UpstreamUnreachableError):
        learned(asking.revision_need(REPO, COMMIT), response(body))


def test_learning_a_tree_reads_every_kind_of_element() -> None:
    """Small files are named by git, large ones by sha256; each element is kept as it came."""
    body = b" [\n" + tree(small("config.json", CONFIG), weights("w.bin"), folder("onnx"))[1:]
    facts = learned(asking.tree_need(REPO, COMMIT), response(body))
    entries = facts[0]
    assert isinstance(entries, Entries)
    config, heavy, onnx = entries.entries
    assert config.digest is not None
    assert (config.digest.algorithm, config.digest.hex) == (GIT_SHA1, git_oid(CONFIG))
    assert heavy.digest is not None
    assert (heavy.digest.algorithm, heavy.xet, heavy.size) == (SHA256, XET, 300_000)
    assert (onnx.kind, onnx.digest) == ("directory", None)
    assert all(entry.raw in body for entry in entries.entries)
    assert facts[1] == Snapshot(REPO, COMMIT, SnapshotState.COMPLETE, "full", b"", NOW)


@pytest.mark.parametrize(
    "url",
    [
        f"{BASE}/api/models/acme/tiny-bert/tree/{COMMIT}{TREE}&cursor=x",
        f"https://huggingface.co/api/models/acme/tiny-bert/tree/{COMMIT}{TREE}&cursor=x",
        f"/api/models/acme/tiny-bert/tree/{COMMIT}{TREE}&cursor=x",
    ],
)
def test_learning_a_page_leads_to_the_next_without_its_host(url: str) -> None:
    """The next page is asked of our own upstream, whatever host a link names."""
    link = f'<{url}>; rel="next"'
    facts = learned(asking.tree_need(REPO, COMMIT), response(tree(), link=link))
    target = f"/api/models/acme/tiny-bert/tree/{COMMIT}{TREE}&cursor=x"
    assert facts[-1] == Lead(UpstreamRequest("GET", target))
    assert Snapshot(REPO, COMMIT, SnapshotState.PENDING, "full", b"", NOW) in facts


@pytest.mark.parametrize(
    "url",
    [
        f"{BASE}/api/models/acme/secret/tree/{COMMIT}?cursor=x",
        f"{BASE}/api/models/acme/tiny-bert/tree/{'d' * 40}?cursor=x",
        f"{BASE}/api/whoami-v2",
        f"/api/models/acme/tiny-bert/tree/{COMMIT}{TREE}",
    ],
)
def test_learning_refuses_a_page_that_leads_astray(url: str) -> None:
    """Another repo, another commit, another call, or the same page again: the list is not believed."""
    with pytest.raises(UpstreamUnreachableError):
        learned(asking.tree_need(REPO, COMMIT), response(tree(), link=f'<{url}>; rel="next"'))


def test_learning_a_redacted_page_says_so() -> None:
    """Hidden hashes are no hashes; a reader's view is as full as it gets."""
    answer = response(tree(weights("w", xet="****")))
    facts = learned(asking.tree_need(REPO, COMMIT), answer)
    assert isinstance(facts[0], Entries)
    assert facts[0].entries[0].xet is None
    assert isinstance(facts[1], Snapshot)
    assert facts[1].view == "redacted"
    facts = learned(asking.tree_need(REPO, COMMIT, reader=True), answer)
    assert isinstance(facts[1], Snapshot)
    assert facts[1].view == "full"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[", b"[1]", b'[{"type": "file"}]', b'{"a": [', b"[" * 100_000, b"\xff",
     b'[{"type": "directory", "path": "\\ud800", "oid": ""}]',
     tree({"type": "file", "path": "x", "oid": "short", "size": 1}),
     tree({"type": "file", "path": "x", "oid": "a" * 40, "size": -1}),
     tree({"type": "file", "path": "x", "oid": "a" * 40, "lfs": {"oid": "no", "size": 1}})],
)  # fmt: skip
def test_learning_refuses_a_list_that_cannot_be(body: bytes) -> None:
    """A broken list teaches nothing, not even its readable part."""
    with pytest.raises(UpstreamUnreachableError):
        learned(asking.tree_need(REPO, COMMIT), response(body))


def test_learning_paths_proves_absence() -> None:
    """What was asked for and not told does not exist."""
    need = asking.paths_need(REPO, COMMIT, ["a", "b\nc", "gone"])
    facts = learned(need, response(tree(small("a", b""), small("b\nc", b""))))
    assert isinstance(facts[0], Entries)
    assert facts[0].absent == ("gone",)


def test_learning_a_reply_keeps_the_whole_of_it() -> None:
    """Lifetime and audience are those of the need."""
    request = UpstreamRequest("GET", "/api/models?search=x")
    need = asking.reply_need(request, lifetime=60.0, private=True)
    answer = response(b"[]")
    assert learned(need, answer) == [Reply(need.key, answer, NOW, lifetime=60.0, private=True)]
    assert need.as_caller


@pytest.mark.parametrize(
    ("status", "headers", "body", "code"),
    [
        (401, {}, b'{"error":"Invalid username or password."}', "RepoNotFound"),
        (401, {"x-error-message": "Invalid credentials in Authorization header"}, b"", None),
        (401, {"x-error-code": "GatedRepo"}, b"", "GatedRepo"),
        (404, {"x-error-code": "RevisionNotFound"}, b"", "RevisionNotFound"),
        (403, {"x-error-message": "Access to this resource is disabled."}, b"", None),
    ],
)
def test_learning_a_refusal_keeps_its_words(
    status: int, headers: dict[str, str], body: bytes, code: str | None
) -> None:
    """The code that clients understand is added to the one bare 401 that means a missing repo."""
    answer = Response(status, headers, body, BASE, BASE)
    with pytest.raises(UpstreamRefusedError) as caught:
        learned(asking.revision_need(REPO, "main"), answer)
    assert caught.value.headers.get("x-error-code") == code
    assert caught.value.status == status


def test_learning_a_refusal_of_ones_own_account_is_no_missing_repo() -> None:
    """A 401 that is about no repo stays bare."""
    need = asking.reply_need(UpstreamRequest("GET", "/api/whoami-v2"), lifetime=0.0, private=True)
    with pytest.raises(UpstreamRefusedError) as caught:
        learned(need, response(b"{}", status=401))
    assert caught.value.headers == {}
    assert caught.value.facts == ()


@pytest.mark.parametrize(
    ("need", "code", "refused"),
    [
        (asking.revision_need(REPO, "main"), "RepoNotFound", {Access.LIST, Access.READ}),
        (asking.revision_need(REPO, "main"), "RevisionNotFound", set()),
        (asking.probe_need(REPO), "GatedRepo", {Access.READ}),
        (asking.tree_need(REPO, COMMIT), "GatedRepo", {Access.READ}),
    ],
)
def test_learning_a_refusal_says_what_is_closed(
    need: Need, code: str, refused: set[Access]
) -> None:
    """A missing repo closes all of it, a gate its content, a missing branch nothing."""
    with pytest.raises(UpstreamRefusedError) as caught:
        learned(need, response(b"{}", status=403, x_error_code=code))
    facts = [fact for fact in caught.value.facts if isinstance(fact, Verdict)]
    assert {fact.access for fact in facts} == refused
    assert not any(fact.accepted for fact in facts)


def test_learning_from_a_redirect_that_was_not_followed_teaches_nothing() -> None:
    """A 304 or a 3xx is no answer to what was asked."""
    with pytest.raises(UpstreamUnreachableError):
        learned(asking.probe_need(REPO), response(b"", status=304))
