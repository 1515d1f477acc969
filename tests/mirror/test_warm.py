"""`warm`, `lock` and `check`: what will be needed is fetched once, written down, and looked after."""

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.cache.users import new_token, token_hash
from tests.mirror.exporting import CHECKPOINT, TINY, WHISPER, World, bytes_of, sha256, world
from tests.mirror.warming import bodies, run
from tests.origin.faults import Fault

SIZE = sum(map(len, TINY.values()))
# Two of its files are the same.
STORED = SIZE - len(TINY["copy.json"])
TARGETS = (
    *(
        "acme/tiny",
        "whisper:base",
        f"torch:{CHECKPOINT}",
        "tfhub:google/yamnet/1",
        "nltk:punkt_tab",
    ),
    *("spacy:de_core_news_lg", "torchhub:pytorch/vision", "tiktoken:cl100k_base"),
    *("dataset:acme/words", "kaggle:google/yamnet/tensorFlow2/yamnet/1"),
)
PROJECT = """
[chatbot]
targets = ["acme/tiny", "whisper:base"]

[worker]
targets = ["acme/tiny", { target = "dataset:acme/words", include = ["*.csv"] }, "tfhub:google/yamnet/1"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[World]:
    """A mirror of one's own, which looks each time for what moves."""
    with world(tmp_path, MODELMIRROR_HUGGINGFACE_REF_LIFETIME="0s") as running:
        (tmp_path / "models.toml").write_text(PROJECT)
        yield running


def everything(site: World) -> int:
    """How many requests upstream has seen."""
    return len(site.origin.log) + len(site.hosts.seen)


# ── warm ────────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_of_target_is_fetched_and_then_served_without_upstream(site: World) -> None:
    """Offline the mirror has them all, and a second run fetches nothing."""
    ran = run(site, "warm", *TARGETS, "--json")
    assert [one["error"] for one in ran.said("target")] == [None] * len(TARGETS)
    assert [one["fetched"] > 0 for one in ran.said("target")] == [True] * len(TARGETS)
    ran = run(site, "warm", *TARGETS, "--json")
    assert [one["fetched"] for one in ran.said("target")] == [0] * len(TARGETS)
    site.origin.stop()
    run(site, "check", *TARGETS)
    answer = site.mirror.ask("/acme/tiny/resolve/main/model.safetensors")
    assert sha256(answer.body) == sha256(TINY["model.safetensors"])


def test_what_is_pinned_and_here_costs_upstream_nothing(site: World) -> None:
    """A second run over a commit, Whisper and a checkpoint makes no request."""
    commit = site.origin.repo("models", "acme/tiny").commit
    targets = (f"acme/tiny@{commit}", "whisper:base", f"torch:{CHECKPOINT}")
    run(site, "warm", *targets)
    before = everything(site)
    run(site, "warm", *targets)
    assert everything(site) == before


def test_a_thousand_files_are_looked_through_in_a_second(site: World) -> None:
    """The mirror's part and the command's together, its start aside, over a complete set."""
    many = {f"data/{number}.txt": b"%d" % number for number in range(1000)}
    site.origin.add_repo("datasets", "acme/many", files=many)
    run(site, "warm", "dataset:acme/many")
    began = time.monotonic()
    run(site, "check", "whisper:base", code=1)
    start = time.monotonic() - began
    began = time.monotonic()
    ran = run(site, "warm", "dataset:acme/many", "--json")
    took = time.monotonic() - began - start
    assert ran.said("target")[0]["files"] == 1000
    assert took < 2, took  # 0.3 s on a quiet machine


def test_a_file_of_several_targets_is_fetched_once(site: World) -> None:
    """Bytes that two repos have in common come once, and count once."""
    ran = run(site, "warm", "acme/tiny", "google/siglip-so400m-patch14-384", "--json")
    assert ran.said("room")[0]["bytes"] == STORED
    assert bodies(site) <= SIZE + 10_000  # redirects have bodies too


def test_a_target_that_fails_is_named_and_the_others_come(site: World) -> None:
    """The exit code is 1, and each failure has its reason and what to do."""
    ran = run(site, "warm", "acme/nobody", "acme/tiny", "whisper:none", "--json", code=1)
    told = {one["target"]: one for one in ran.said("target")}
    assert told["acme/tiny"]["error"] is None
    assert told["acme/nobody"]["next"]
    assert "no model 'none'" in told["whisper:none"]["error"]
    assert ran.said("end")[0]["failed"] == ["acme/nobody", "whisper:none"]


def test_a_file_that_does_not_come_is_named(site: World) -> None:
    """One file of a repo is refused upstream; the others are here."""
    site.origin.fault(Fault("status", path="onnx/model.onnx", status=404, times=None))
    ran = run(site, "warm", "acme/tiny", "--json", code=1)
    wrong = [one for one in ran.said("file") if one["error"]]
    assert [one["file"] for one in wrong] == ["onnx/model.onnx"]
    assert "onnx/model.onnx" in ran.said("target")[0]["error"]
    site.origin.clear_faults()
    assert run(site, "warm", "acme/tiny", "--json").said("room")[0]["bytes"] == 400_000


def test_what_cannot_fit_is_refused_before_any_of_it_comes(tmp_path: Path) -> None:
    """It says how much is to come and how much room there is."""
    with world(tmp_path, MODELMIRROR_QUOTA="2MB") as site:
        ran = run(site, "warm", "acme/tiny", code=1)
        assert "2.8 MiB to fetch" in ran.err
        assert "are to come, and the mirror has room for" in ran.err
        assert bodies(site) == 0


def test_with_evict_the_least_used_goes(tmp_path: Path) -> None:
    """Without it the same is refused; what cannot fit even so is refused all the same."""
    with world(tmp_path, MODELMIRROR_QUOTA="5MB") as site:
        other = {"weights.bin": bytes_of("other", 3_000_000)}
        site.origin.add_repo("models", "acme/other", files=other)
        site.origin.add_repo("models", "acme/huge", files={"w.bin": bytes_of("huge", 6_000_000)})
        run(site, "warm", "acme/other")
        assert "--evict" in run(site, "warm", "acme/tiny", code=1).err
        run(site, "warm", "acme/tiny", "--evict")
        run(site, "check", "acme/tiny")
        run(site, "check", "acme/other", code=1)
        assert "room for" in run(site, "warm", "acme/huge", "--evict", code=1).err


def test_events_have_one_schema(site: World) -> None:
    """Each event has every common key, as those of an export have."""
    ran = run(site, "warm", "acme/tiny", "--json")
    keys = {"event", "target", "file", "bytes", "total", "percent", "rate", "eta", "error", "next"}
    assert all(keys <= set(one) for one in ran.events)
    assert ran.events[0]["event"] == "start"
    assert ran.events[0]["schema"] == 1
    assert ran.events[-1]["event"] == "end"
    assert {one["file"] for one in ran.said("file")} >= set(TINY) - {"empty.txt", "copy.json"}
    assert ran.said("file")[0]["target"] == "acme/tiny"


def test_without_a_server_one_is_started_for_it(site: World) -> None:
    """The store then has what a server on the same folder serves."""
    site.mirror.stop()
    run(site, "warm", "acme/tiny", here=True)
    site.origin.stop()
    site.mirror.start()
    assert site.mirror.ask("/acme/tiny/resolve/main/config.json").body == TINY["config.json"]


def test_a_gated_repo_comes_for_those_who_may_read_it_alone(site: World) -> None:
    """It is asked for with the caller's token, and nothing more is given than a GET would give."""
    site.origin.tokens = {"tokenA": "alice", "tokenB": "bob"}
    site.origin.add_repo("models", "acme/gated", files=TINY, gated="manual", readers={"tokenA"})
    ran = run(site, "warm", "acme/gated", code=1)
    assert "acme/gated" in ran.err
    site.environment["HF_TOKEN"] = "tokenA"
    run(site, "warm", "acme/gated")
    site.environment["HF_TOKEN"] = "tokenB"
    run(site, "warm", "acme/gated", code=1)


# ── the door ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"paths": ["/acme/tiny/resolve/main/config.json"]}, "text/plain"),
        ({"paths": "no list"}, "application/json"),
        ({"paths": [7]}, "application/json"),
        ({"paths": ["/-/warm"]}, "application/json"),
        ({"paths": ["/a/../b"]}, "application/json"),
        ({"paths": [], "surprise": True}, "application/json"),
    ],
)
def test_the_route_refuses_what_it_does_not_know(
    site: World, body: dict[str, object], kind: str
) -> None:
    """Also what a page of another site could have a browser post."""
    answer = site.mirror.ask(
        "/-/warm", method="POST", body=json.dumps(body).encode(), headers={"Content-Type": kind}
    )
    assert answer.status == 400
    assert site.mirror.ask("/-/warm").status == 405


def test_only_what_is_stored_is_told_to_those_who_ask_for_that(site: World) -> None:
    """Upstream sees nothing of a request that says only-if-cached."""
    header = {"Cache-Control": "only-if-cached"}
    path = "/acme/tiny/resolve/main/config.json"
    assert site.mirror.ask(path, headers=header).status == 501
    assert everything(site) == 0
    site.mirror.ask(path)
    site.mirror.settle()
    before = everything(site)
    assert site.mirror.ask(path, headers=header).body == TINY["config.json"]
    assert everything(site) == before


def test_a_mirror_with_users_is_told_who_asks(tmp_path: Path) -> None:
    """Also for what is in no repo; strangers are refused each file."""
    token = new_token()
    users = tmp_path / "users.toml"
    users.write_text(f'[alice]\ntokens = ["{token_hash(token)}"]\nread = ["*"]\n')
    with world(tmp_path, MODELMIRROR_ACCESS_USERS=str(users)) as site:
        assert "base.pt" in run(site, "warm", "whisper:base", code=1).err
        site.environment["HF_TOKEN"] = token
        run(site, "warm", "whisper:base", "acme/tiny")
        run(site, "check", "whisper:base", "acme/tiny")
        del site.environment["HF_TOKEN"]
        run(site, "check", "whisper:base", code=1)


def test_a_client_that_goes_away_leaves_nothing_behind(site: World) -> None:
    """What was under way ends, and nothing more is begun."""
    files = {f"part-{number}.bin": bytes_of(f"{number}", 1 << 20) for number in range(9)}
    repo = site.origin.add_repo("models", "acme/parts", files=files)
    site.origin.fault(Fault("drip", path="part-", times=None, rate=1 << 20))
    paths = [f"/acme/parts/resolve/{repo.commit}/{name}" for name in files]
    connection = http.client.HTTPConnection(*site.mirror.address)
    with contextlib.closing(connection):
        body = json.dumps({"paths": paths, "at_once": 2})
        connection.request("POST", "/-/warm", body, {"Content-Type": "application/json"})
        with connection.getresponse() as answer:
            while b"progress" not in answer.readline():
                pass
    site.mirror.settle()
    asked = {seen.path.rpartition("/")[2] for seen in site.origin.log if "part-" in seen.path}
    assert len({name.partition("?")[0] for name in asked if name.startswith("part-")}) <= 4


# ── lock ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lock_is_the_same_twice_and_differs_by_what_has_changed(site: World) -> None:
    """One file more is one line more, besides the commit."""
    lock = site.folder / "models.lock"
    run(site, "warm")
    run(site, "lock")
    first = lock.read_text()
    run(site, "lock")
    assert lock.read_text() == first
    site.origin.repo("models", "acme/tiny").push({"added.txt": b"more"})
    run(site, "lock")
    new = set(lock.read_text().splitlines()) - set(first.splitlines())
    assert len(new) == 2
    assert any('["added.txt", 4, "git-sha1:' in one for one in new)


def test_what_is_locked_stays_what_it_was(site: World) -> None:
    """After a push upstream the locked commit comes, and is checked."""
    old = site.origin.repo("models", "acme/tiny").commit
    run(site, "lock")
    site.origin.repo("models", "acme/tiny").push({"config.json": b"{}"})
    run(site, "warm", "--locked")
    run(site, "check", "--locked")
    answer = site.mirror.ask(f"/acme/tiny/resolve/{old}/config.json")
    assert answer.body == TINY["config.json"]
    ran = run(site, "check", code=0, here=False)
    assert "4 of 4" in ran.out


def test_other_bytes_than_the_locked_ones_fail(site: World) -> None:
    """A lock that names another digest is not met by what is here."""
    lock = site.folder / "models.lock"
    run(site, "lock")
    lock.write_text(lock.read_text().replace(sha256(WHISPER["base"]), sha256(b"other")))
    ran = run(site, "warm", "--locked", "whisper:base", code=1)
    assert "instead of" in ran.err
    assert run(site, "check", "--locked", "whisper:base", code=1).err.count("instead of") == 1


def test_groups_choose(site: World) -> None:
    """Only what a group lists is fetched; the lock of others stays as it is."""
    ran = run(site, "warm", "--group", "chatbot", "--json")
    assert [one["target"] for one in ran.said("target")] == ["acme/tiny", "whisper:base"]
    run(site, "lock")
    before = (site.folder / "models.lock").read_text()
    run(site, "lock", "--group", "worker")
    assert (site.folder / "models.lock").read_text() == before
    ran = run(site, "warm", "--group", "nobody", code=2)
    assert "has no group 'nobody'" in ran.err


def test_what_was_used_can_be_locked(site: World) -> None:
    """Of a repo no more than was asked for, of other hosts files and no pages; with a server and without."""
    ran = run(site, "lock", "--from-use", here=True, code=1)
    assert "Nothing was used" in ran.err
    for path in (
        "/acme/tiny/resolve/main/model.safetensors",
        f"/-/torch/models/{CHECKPOINT}",
        "/-/nltk/index.xml",
        "/-/spacy/simple/de-core-news-lg/",
    ):
        assert site.mirror.ask(path).status == 200
    site.mirror.settle()
    run(site, "lock", "--from-use", "--since", "1h", here=True)
    lock = (site.folder / "models.lock").read_text()
    (site.folder / "models.toml").unlink()
    assert lock.count("[[target]]") == 2
    assert sha256(TINY["model.safetensors"]) in lock
    assert "onnx/model.onnx" not in lock
    run(site, "check", "--locked")
    site.mirror.stop()
    run(site, "lock", "--from-use", here=True)
    assert (site.folder / "models.lock").read_text() == lock
    run(site, "lock", "--since", "1h", here=True, code=2)


def test_a_lock_that_lacks_what_is_listed_is_refused(site: World) -> None:
    """What was added to models.toml after it is named."""
    run(site, "lock")
    listing = site.folder / "models.toml"
    listing.write_text(listing.read_text() + '\n[new]\ntargets = ["whisper:medium"]\n')
    ran = run(site, "check", "--locked", code=2)
    assert "does not have whisper:medium" in ran.err


# ── check ───────────────────────────────────────────────────────────────────────────────────────────


def test_check_names_what_is_missing_and_the_command_that_mends_it(site: World) -> None:
    """The command it names does mend it; upstream is not asked by the check."""
    run(site, "warm", "acme/tiny", "--exclude", "*.onnx")
    before = everything(site)
    ran = run(site, "check", "acme/tiny", "--json", code=1)
    wrong = ran.said("file")
    assert [one["file"] for one in wrong] == ["onnx/model.onnx"]
    assert everything(site) == before
    assert wrong[0]["next"].startswith("modelmirror warm acme/tiny --endpoint http://")
    run(site, "warm", "acme/tiny")
    run(site, "check", "acme/tiny")


def test_check_needs_no_server_and_no_network(site: World) -> None:
    """On the data folder alone it says the same."""
    run(site, "warm", "acme/tiny")
    site.mirror.stop()
    site.origin.stop()
    assert "5 files" in run(site, "check", "acme/tiny", here=True).out
    assert "nothing of it is here" in run(site, "check", "acme/other", here=True, code=1).err


def test_check_sees_a_blob_that_is_gone(site: World) -> None:
    """A file that was deleted under the mirror is missing."""
    run(site, "warm", "whisper:base")
    site.mirror.stop()
    hexes = sha256(WHISPER["base"])
    (site.mirror.data / "v1/blobs/sha256" / hexes[:2] / hexes).unlink()
    ran = run(site, "check", "whisper:base", here=True, code=1)
    assert "base.pt: missing" in ran.err


def test_check_of_an_exported_folder_uses_its_manifest(site: World) -> None:
    """Whole, then with a file gone, then for a target that was never exported."""
    site.export("whisper:base")
    arguments = ("check", "--cache", str(site.out))
    run(site, *arguments)
    run(site, *arguments, "whisper:base")
    ran = run(site, *arguments, "whisper:medium", code=1)
    assert f"modelmirror export --format cache {site.out} whisper:medium" in ran.err
    (site.out / "whisper/base.pt").unlink()
    run(site, *arguments, code=1)


# ── --as ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_loader_chooses_the_files_that_it_reads(site: World) -> None:
    """A repo that has PyTorch's own format alone still works; onnx is left out."""
    files = {"config.json": b"{}", "pytorch_model.bin": bytes_of("bin"), "onnx/model.onnx": b"x"}
    site.origin.add_repo("models", "acme/old", files=files)
    ran = run(site, "warm", "acme/old", "acme/tiny", "--as", "transformers", "--json")
    came = {(one["target"], one["file"]) for one in ran.said("file")}
    assert ("acme/old", "pytorch_model.bin") in came
    assert ("acme/tiny", "model.safetensors") in came
    assert not any(file.startswith("onnx/") for _, file in came)
    ran = run(site, "warm", "acme/tiny", "--as", "keras", code=2)
    assert "is no loader" in ran.err
