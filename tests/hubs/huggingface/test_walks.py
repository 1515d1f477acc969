"""What a walk costs upstream: every request is counted, and every walk ends."""

import json

import pytest

from mirror.errors import NotAdmittedError, OfflineError, UpstreamRefusedError
from mirror.hubs.huggingface.grammar import HUB
from mirror.names import Access, Repo, SnapshotState
from tests.doubles.scripted_facts import ScriptedUpstream
from tests.hubs.huggingface.scripts import (
    COMMIT,
    CONFIG,
    ELEMENTS,
    TREE,
    WEIGHTS_SHA,
    XET,
    engine,
    header,
    info,
    parsed,
    request,
    small,
    text,
    tree,
    upstream,
    weights,
)

API = "/api/models/acme/tiny-bert"
REVISION = f"GET {API}/revision/main"
PINNED = f"GET {API}/revision/{COMMIT}"
LISTING = f"GET {API}/tree/{COMMIT}{TREE}"
PROBE = f"GET {API}/auth-check"
REPO = Repo(HUB, "models/acme/tiny-bert")
FILE = "/acme/tiny-bert/resolve/main/config.json"


def test_walk_of_a_cold_download_is_two_metadata_calls() -> None:
    """The revision, the list, and then every file of the repo without another word."""
    run = engine()
    run.ask(request(f"{API}/revision/main"))
    run.ask(request(f"{API}/tree/{COMMIT}", "recursive=true&expand=false"))
    for element in ELEMENTS:
        if element["type"] == "file":
            for method in ("HEAD", "GET"):
                name = element["path"].replace(" ", "%20").replace("+", "%2B")
                run.ask(request(f"/acme/tiny-bert/resolve/{COMMIT}/{name}", method=method))
    assert run.upstream.targets == [REVISION, LISTING]


def test_walk_of_a_warm_branch_is_one_call_per_lifetime() -> None:
    """Within the lifetime nothing is asked, after it the revision alone."""
    run = engine()
    run.ask(request(FILE))
    run.upstream.asked.clear()
    run.ask(request(FILE))
    assert run.upstream.targets == []
    run.facts.now += 61
    run.ask(request(FILE))
    run.ask(request(FILE))
    assert run.upstream.targets == [REVISION]


def test_walk_of_a_warm_commit_asks_nothing() -> None:
    """A commit never moves: a day later nothing is asked about it."""
    run = engine()
    path = f"/acme/tiny-bert/resolve/{COMMIT}/config.json"
    run.ask(request(path))
    assert run.upstream.targets == [PINNED, LISTING]
    run.facts.now += 86_000
    run.upstream.asked.clear()
    run.ask(request(path))
    run.ask(request(f"{API}/revision/{COMMIT}"))
    assert run.upstream.targets == []


def test_walk_asks_both_calls_of_a_cold_commit_at_once() -> None:
    """With a commit in hand neither call waits for the other."""
    run = engine()
    question = run.hub.recognise(request(f"/acme/tiny-bert/resolve/{COMMIT}/config.json"), b"")
    assert question is not None
    assert len(run.hub.needs(question, run.facts)) == 2


def test_walk_follows_every_page_of_a_list() -> None:
    """Pages lead on until the last, which makes the snapshot complete."""
    scripted = upstream()
    for number in range(3):
        target = f"{API}/tree/{COMMIT}{TREE}" + (f"&cursor={number}" if number else "")
        link = f'<https://huggingface.co{API}/tree/{COMMIT}{TREE}&cursor={number + 1}>; rel="next"'
        headers = {"link": link} if number < 2 else {}
        scripted.put(target, tree(small(f"f{number}", b"x")), headers=headers)
    run = engine(scripted)
    for number in range(3):
        assert run.ask(request(f"/acme/tiny-bert/resolve/main/f{number}")).status == 200
    assert len(run.upstream.asked) == 4
    snapshot = run.facts.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert snapshot.state is SnapshotState.COMPLETE


def test_walk_goes_by_path_while_a_list_is_still_being_read() -> None:
    """What is wanted now does not wait for a long list, and absence is proved per path."""
    scripted = upstream()
    link = f'<{scripted.base}{API}/tree/{COMMIT}{TREE}&cursor=1>; rel="next"'
    scripted.put(f"{API}/tree/{COMMIT}{TREE}", tree(small("a", b"x")), headers={"link": link})
    paths = f"{API}/paths-info/{COMMIT}"
    scripted.put(paths, tree(small("config.json", CONFIG)), method="POST")
    run = engine(scripted, pages=1)
    assert run.ask(request(FILE)).status == 200
    assert run.upstream.asked[-1].body == b"paths=config.json&expand=false"
    assert run.ask(request("/acme/tiny-bert/resolve/main/a")).status == 200
    scripted.put(paths, tree(), method="POST")
    assert (
        header(run.ask(request("/acme/tiny-bert/resolve/main/b")), "x-error-code")
        == "EntryNotFound"
    )
    assert run.upstream.targets == [REVISION, LISTING, f"POST {paths}", f"POST {paths}"]


def test_walk_follows_a_rename_once() -> None:
    """Another name of a repo leads to the same facts, whoever comes by which name."""
    scripted = upstream()
    scripted.put("/api/models/acme/old/revision/main", info(), led_to=f"{API}/revision/main")
    run = engine(scripted)
    answer = run.ask(request("/acme/old/resolve/main/config.json"))
    assert answer.status == 200
    assert run.upstream.targets == ["GET /api/models/acme/old/revision/main", LISTING]
    run.ask(request(FILE))
    run.ask(request("/acme/old/resolve/main/model.safetensors"))
    assert len(run.upstream.asked) == 2


def test_walk_of_a_renamed_commit_reads_the_list_once() -> None:
    """The redirect tells the list's repo, even when it arrives before the description."""
    scripted = upstream()
    old = "/api/models/acme/old"
    scripted.put(f"{old}/revision/{COMMIT}", info(), led_to=f"{API}/revision/{COMMIT}")
    listing = tree(*ELEMENTS)
    scripted.put(f"{old}/tree/{COMMIT}{TREE}", listing, led_to=f"{API}/tree/{COMMIT}{TREE}")
    run = engine(scripted)
    assert run.ask(request(f"/acme/old/resolve/{COMMIT}/config.json")).status == 200
    assert len(run.upstream.asked) == 2


def test_walk_probes_a_private_repo_once_per_caller() -> None:
    """The revision call is the probe: a warm repo is asked once for every new credential."""
    run = engine(upstream(private=True), caller="alice")
    path = f"/acme/tiny-bert/resolve/{COMMIT}/config.json"
    run.ask(request(path))
    run.ask(request(path))
    assert run.upstream.targets == [PINNED, LISTING]
    run.facts.caller = "bob"
    run.upstream.asked.clear()
    run.ask(request(path))
    run.ask(request(path))
    assert run.upstream.targets == [PINNED]


def test_walk_probes_gated_content_once_per_caller() -> None:
    """The list of a gated repo is open; its content takes an auth-check of each credential."""
    scripted = upstream(gated="manual")
    scripted.put(f"{API}/auth-check", b"")
    run = engine(scripted, caller="alice")
    run.ask(request(f"{API}/tree/main"))
    assert run.upstream.targets == [REVISION, LISTING]
    run.ask(request(FILE))
    run.ask(request(FILE))
    assert run.upstream.targets == [REVISION, LISTING, PROBE]
    question = run.hub.recognise(request(FILE), b"")
    assert question is not None
    run.facts.caller = "bob"
    needs = run.hub.needs(question, run.facts)
    assert [need.as_caller for need in needs] == [True]


def test_walk_passes_a_refused_probe_on() -> None:
    """Upstream's refusal reaches the caller, and is remembered against the credential."""
    scripted = upstream(gated="auto")
    refusal = {"x-error-code": "GatedRepo", "x-error-message": "Ask for access."}
    scripted.put(f"{API}/auth-check", b"{}", status=403, headers=refusal)
    run = engine(scripted, caller="bob")
    with pytest.raises(UpstreamRefusedError) as caught:
        run.ask(request(FILE))
    assert caught.value.status == 403
    assert not run.facts.admitted(REPO, Access.READ)
    assert run.facts.admitted(REPO, Access.LIST)


def test_walk_of_a_stranger_stops_at_the_gate_while_offline() -> None:
    """Nothing is needed for whom the facts refuse already: gated is said, private is not."""
    scripted = upstream(gated="auto")
    scripted.put(f"{API}/auth-check", b"")
    run = engine(scripted, caller="alice")
    run.ask(request(FILE))
    run.facts.caller, run.facts.offline = "", True
    with pytest.raises(NotAdmittedError) as caught:
        run.ask(request(FILE))
    assert caught.value.gated
    run = engine(upstream(private=True), caller="alice")
    run.ask(request(FILE))
    run.facts.caller, run.facts.offline = "", True
    with pytest.raises(NotAdmittedError) as caught:
        run.ask(request(FILE))
    assert not caught.value.gated


def test_walk_of_an_unknown_repo_offline_needs_what_it_cannot_have() -> None:
    """The engine makes a 501 of a need that cannot be met."""
    run = engine()
    run.facts.offline = True
    with pytest.raises(OfflineError):
        run.ask(request(FILE))


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        (API, "", 200),
        (API, "blobs=true", 200),
        (API, "securityStatus=true&blobs=true", 200),
        (API, "expand=tags", 200),
        (f"{API}/revision/main", "", 200),
        (f"{API}/revision/{COMMIT}", "", 200),
        (f"{API}/tree/main", "recursive=true", 200),
        (f"{API}/tree/main/onnx", "expand=true", 200),
        (f"{API}/tree/main/nowhere", "", 404),
        (f"{API}/refs", "", 200),
        (f"{API}/auth-check", "", 200),
        (f"{API}/xet-read-token/main", "", 200),
        (FILE, "", 200),
        ("/acme/tiny-bert/resolve/main/nope.json", "", 404),
        (f"/acme/tiny-bert/raw/{COMMIT}/model.safetensors", "", 200),
    ],
)
def test_walk_offline_answers_all_of_a_repo_once_read(path: str, query: str, status: int) -> None:
    """After one download everything about the repo is known, and stays so without upstream."""
    run = engine()
    run.ask(request(FILE))
    run.facts.offline = True
    run.facts.now += 7 * 86_400
    assert run.ask(request(path, query)).status == status


def test_walk_to_a_token_reads_a_redacted_list_again_as_reader() -> None:
    """Whoever was shown no hashes yields to whoever is."""
    scripted = upstream(gated="auto", xet="****")
    scripted.put(f"{API}/auth-check", b"")
    run = engine(scripted)
    run.ask(request(f"{API}/tree/main"))
    snapshot = run.facts.snapshot(REPO, COMMIT)
    assert snapshot is not None
    assert snapshot.view == "redacted"
    assert run.facts.by_xet(REPO, XET) is None
    scripted.put(f"{API}/tree/{COMMIT}{TREE}", tree(weights("model.safetensors")))
    run.facts.caller = "alice"
    run.ask(request(f"{API}/xet-read-token/{COMMIT}"))
    assert run.upstream.targets == [REVISION, LISTING, PROBE, LISTING]
    assert run.facts.by_xet(REPO, XET) is not None
    run.ask(request(f"{API}/xet-read-token/{COMMIT}"))
    assert len(run.upstream.asked) == 4


def test_walk_to_a_token_ends_where_even_readers_see_no_hashes() -> None:
    """A list that stays redacted is read once more, not for ever."""
    scripted = upstream(gated="auto", xet="****")
    scripted.put(f"{API}/auth-check", b"")
    run = engine(scripted, caller="alice")
    assert run.ask(request(f"{API}/xet-read-token/main")).status == 200
    assert run.upstream.targets.count(LISTING) == 2


def test_walk_of_a_layer_the_hub_made_up_keeps_what_its_name_says() -> None:
    """Templates and parameters are in no file of the repo; they are checked against their digest."""
    made = b"{{ .Prompt }}"
    digest = "8" * 64
    path = f"/v2/acme/tiny-bert/blobs/sha256:{digest}"
    scripted = upstream()
    scripted.put(path, made)
    run = engine(scripted)
    with pytest.raises(Exception, match="not what its name says"):
        run.ask(request(path))


def test_walk_of_a_large_repo_stays_per_path() -> None:
    """Above the limit listings are passed through and files asked for one by one."""
    scripted = upstream()
    link = f'<{scripted.base}{API}/tree/{COMMIT}{TREE}&cursor=1>; rel="next"'
    scripted.put(f"{API}/tree/{COMMIT}{TREE}", tree(small("a", b"x")), headers={"link": link})
    plain = f"{API}/tree/{COMMIT}?recursive=true"
    scripted.put(
        plain,
        tree(weights("w.bin")),
        headers={"link": f'<{scripted.base}{plain}&cursor=9>; rel="next"'},
    )
    run = engine(scripted, pages=1)
    answer = run.ask(request(f"{API}/tree/main", "recursive=true"))
    assert run.upstream.targets[-1] == f"GET {plain}"
    assert header(answer, "link") == f'<http://mirror.test:8090{plain}&cursor=9>; rel="next"'
    assert [element["path"] for element in parsed(answer)] == ["w.bin"]
    assert "xetHash" not in parsed(answer)[0]


def test_walk_of_a_page_that_upstream_goes_on_with_never_begins_again() -> None:
    """A list that became complete meanwhile counts otherwise: from its start it would come twice."""
    run = engine()
    run.ask(request(f"{API}/tree/{COMMIT}", "recursive=true&expand=false"))
    run.facts.offline = True
    with pytest.raises(OfflineError):
        run.ask(request(f"{API}/tree/{COMMIT}", "recursive=true&cursor=bm90IG91cnM"))
    assert run.ask(request(f"{API}/tree/{COMMIT}", "recursive=true&expand=true")).status == 200


def test_walk_of_an_unknown_object_reads_the_branch_first() -> None:
    """git-lfs may come before anybody listed the repo."""
    run = engine()
    path = f"/acme/tiny-bert.git/info/lfs/objects/{WEIGHTS_SHA}"
    assert run.ask(request(path)).status == 200
    assert run.upstream.targets == [REVISION, LISTING]
    assert run.ask(request(path.replace(WEIGHTS_SHA, "b" * 64))).status == 404


def test_walk_reads_a_converted_file_by_its_number() -> None:
    """The Hub's redirect to its conversion branch is followed here, from the list."""
    api = "/api/datasets/acme/d"
    scripted = ScriptedUpstream()
    revision = f"{api}/revision/refs%2Fconvert%2Fparquet"
    scripted.put(revision, info(id="acme/d"))
    scripted.put(f"{api}/tree/{COMMIT}{TREE}", tree(small("c/partial-train/0003.parquet", b"x")))
    answer = engine(scripted).ask(request(f"{api}/parquet/c/train/3.parquet"))
    assert answer.status == 200
    assert header(answer, "content-disposition") == (
        "inline; filename*=UTF-8''0003.parquet; filename=\"0003.parquet\";"
    )


def test_walk_of_a_git_batch_is_admitted_by_gits_own_route() -> None:
    """Git's credential may open nothing but git's routes; a link to an object is its admission."""
    scripted = upstream(gated="auto")
    batch = "/acme/tiny-bert.git/info/lfs/objects/batch"
    link = {"oid": WEIGHTS_SHA, "size": 1, "actions": {"download": {"href": "https://cdn.test/x"}}}
    scripted.put(batch, json.dumps({"objects": [link]}).encode(), method="POST")
    run = engine(scripted)
    run.ask(request(f"{API}/tree/main"))
    run.facts.caller = "alice"
    objects = [{"oid": WEIGHTS_SHA, "size": 1}]
    body = json.dumps({"operation": "download", "objects": objects}).encode()
    run.ask(request(batch, method="POST"), body)
    assert b"cdn.test" not in text(run.ask(request(batch, method="POST"), body))
    assert run.upstream.targets == [REVISION, LISTING, f"POST {batch}"]
    refused = {"oid": WEIGHTS_SHA, "error": {"code": 403, "message": "Not you."}}
    scripted.put(batch, json.dumps({"objects": [refused]}).encode(), method="POST")
    run.facts.caller = "bob"
    with pytest.raises(UpstreamRefusedError, match="Not you"):
        run.ask(request(batch, method="POST"), body)
