"""huggingface_hub from 0.25 to 2.4, with Xet and without: every call a user makes of it.

Each client makes four visits (see `tests.clients.journey`), once, and the tests look at what came
of them, one family of calls and one phase at a time.
"""

from pathlib import Path
from typing import Any, cast

import pytest

from tests.clients.available import client
from tests.clients.client import Report, client_environment, run_scenario
from tests.clients.journey import AWAY, PHASES, Journey, past_the_mirror, travel
from tests.clients.world import ODD_PATH, READER, World, sha256
from tests.origin import Origin

CLIENTS = ("hub24-xet", "hub24", "hub133-xet", "hub133", "hub036-xet", "hub036", "hub025")

#: A call that can be answered neither from here nor from upstream must not wait for retries.
_REFUSAL_SECONDS = 10.0


@pytest.fixture(scope="module", params=CLIENTS)
def journey(
    request: pytest.FixtureRequest,
    origin: Origin,
    world: World,
    direct: bool,  # noqa: FBT001
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    """Let one client make its four visits."""
    name = cast("str", request.param)
    group, _, xet = name.partition("-")
    environment = client(group)

    def visit(phase: str, home: Path, endpoint: str) -> Report:
        switches = {} if xet else {"HF_HUB_DISABLE_XET": "1"}
        variables = client_environment(home, endpoint, environment.commands, switches)
        return run_scenario(environment, "hub", _task(world, phase), variables)

    return travel(origin, tmp_path_factory.mktemp(name), visit, direct=direct)


@pytest.fixture(params=PHASES)
def phase(request: pytest.FixtureRequest, journey: Journey) -> str:
    """Name one of the visits."""
    name = cast("str", request.param)
    if name not in journey.reports:
        pytest.skip("the scenario was run without a mirror")
    return name


def _task(world: World, phase: str) -> dict[str, Any]:
    """Say what the scenario is to do."""
    tiny = world.tiny
    task: dict[str, Any] = {
        "downloads": [download.asked() for download in world.downloads],
        "snapshots": {
            "model": {"repo_id": tiny.repo_id, "token": False},
            "dataset": {"repo_id": "acme/csvset", "repo_type": "dataset", "token": False},
            "tag": {
                "repo_id": tiny.repo_id,
                "revision": "v1",
                "allow_patterns": ["*.json", "*.txt"],
                "token": False,
            },
            "commit": {
                "repo_id": world.forty.repo_id,
                "revision": world.forty.commit,
                "token": False,
            },
            "gated": {"repo_id": "acme/gated", "token": READER},
            "private": {"repo_id": "acme/private", "token": READER},
            "private refused": {"repo_id": "acme/private", "token": False},
        },
        "listings": {
            "tiny": tiny.repo_id,
            "forty": world.forty.repo_id,
            "private": "acme/private",
            "reader": READER,
            "commit": world.tiny_first_commit,
        },
        "filesystem": {"tiny": tiny.repo_id, "odd": ODD_PATH},
    }
    if phase in AWAY:
        task["untouched"] = "acme/untouched"
    return task


def test_hub_downloads_give_what_was_published(journey: Journey, phase: str, world: World) -> None:
    """hf_hub_download of each kind of file and revision gives the bytes of upstream."""
    got = {
        one.name: journey.outcome(phase, f"download {one.name}").got()
        for one in world.downloads
        if one.digest
    }
    assert got == {one.name: one.digest for one in world.downloads if one.digest}


def test_hub_refusals_are_those_of_the_hub(journey: Journey, phase: str, world: World) -> None:
    """What is missing or not for this caller raises what the Hub would make the library raise."""
    for one in world.downloads:
        if one.digest:
            continue
        outcome = journey.outcome(phase, f"download {one.name}")
        allowed = one.offline_errors if phase in AWAY else one.errors
        if journey.direct:
            # Over http the library reads upstream's bare 401 as no more than an HTTP error.
            allowed = (*allowed, "HfHubHTTPError", "LocalEntryNotFoundError")
        assert outcome.errors, f"{one.name} was served: {outcome.value}"
        assert set(outcome.errors) & set(allowed), f"{one.name}: {outcome.errors} {outcome.message}"
        if "LocalEntryNotFoundError" not in allowed:
            # In huggingface_hub this one is an EntryNotFoundError too, and means "cannot say".
            assert "LocalEntryNotFoundError" not in outcome.errors, f"{one.name}: {outcome.message}"


def test_hub_snapshots_are_complete(journey: Journey, phase: str, world: World) -> None:
    """snapshot_download of models, a dataset, a tag and a commit gives every file unchanged."""
    old = {path: sha256(data) for path, data in world.tiny_first.items()}
    expected = {
        "model": world.tiny.digests(),
        "dataset": world.table.digests(),
        "tag": {path: old[path] for path in old if path.endswith((".json", ".txt"))},
        "commit": world.forty.digests(),
        "gated": world.gated.digests(),
        "private": world.private.digests(),
    }
    for name, files in expected.items():
        assert journey.outcome(phase, f"snapshot {name}").got() == files, name
    assert journey.outcome(phase, "snapshot private refused").errors


def test_hub_listings_tell_what_was_published(journey: Journey, phase: str, world: World) -> None:
    """model_info, trees, paths and refs carry names, sizes and digests as upstream has them."""
    tiny = world.tiny
    sizes = {path: len(data) for path, data in tiny.contents.items()}
    folders = {path.rpartition("/")[0]: None for path in tiny.contents if "/" in path}
    kept_as_lfs = (".safetensors", ".onnx")

    def got(case: str) -> Any:
        return journey.outcome(phase, case).got()

    info = got("model_info")
    assert (info["id"], info["sha"]) == (tiny.repo_id, tiny.commit)
    assert info["files"] == {
        path: [size, sha256(tiny.contents[path]) if path.endswith(kept_as_lfs) else None]
        for path, size in sizes.items()
    }
    assert got("model_info of everything") == [tiny.repo_id, tiny.commit]
    assert got("model_info at commit") == world.tiny_first_commit
    assert got("model_info renamed") == tiny.repo_id
    assert got("model_info gated") == "acme/gated"
    assert got("model_info private") == "acme/private"
    assert got("dataset_info") == "acme/csvset"
    assert got("space_info") == "acme/demo"
    assert sorted(got("list_repo_files")) == sorted(tiny.contents)
    assert sorted(got("list_repo_files at commit")) == sorted(world.tiny_first)
    assert got("tree") == sizes | folders
    assert got("tree of a folder") == {"onnx/model.onnx": sizes["onnx/model.onnx"]}
    assert got("tree expanded") == {"onnx/model.onnx": True}
    forty = {path: len(data) for path, data in world.forty.contents.items()}
    assert got("tree of pages") == forty | {"part": None}
    assert got("paths_info") == {"config.json": "RepoFile", "onnx": "RepoFolder"}
    refs = got("refs")
    assert refs["branches"] == {"main": tiny.commit}
    assert refs["tags"] == {"v1": world.tiny_first_commit}
    assert refs["pull_requests"] == ["refs/pr/1"]
    commit, etag, size, xet = got("metadata")
    assert (commit, etag, size) == (
        tiny.commit,
        sha256(tiny.contents["model.safetensors"]),
        sizes["model.safetensors"],
    )
    if not journey.direct:
        assert not xet, "the client was told of Xet, which leads it past the mirror"
    assert got("safetensors") == {
        "bert.embeddings.weight": [1000, 768],
        "bert.pooler.weight": [64, 64],
    }


def test_hub_existence_is_known(journey: Journey, phase: str) -> None:
    """file_exists, repo_exists and revision_exists say yes and no; unknown is never a no."""
    for case in ("file_exists", "repo_exists", "revision_exists"):
        assert journey.outcome(phase, case).got() is True, case
    assert journey.outcome(phase, "file_exists not").got() is False
    missing = journey.outcome(phase, "repo_exists not")
    if phase not in AWAY and not journey.direct:
        assert missing.got() is False
    for case in ("model_info private refused", "tree private refused"):
        assert journey.outcome(phase, case).errors, case


def test_hub_filesystem_reads_what_was_published(
    journey: Journey,
    phase: str,
    world: World,
) -> None:
    """HfFileSystem lists, globs, seeks and fetches as it does on the Hub."""
    tiny = world.tiny
    name = tiny.repo_id
    listed = journey.outcome(phase, "fs ls").got()
    assert listed[f"{name}/model.safetensors"] == len(tiny.contents["model.safetensors"])
    assert f"{name}/onnx" in listed
    assert sorted(journey.outcome(phase, "fs glob").got()) == sorted(
        f"{name}/{path}" for path in tiny.contents if path.endswith(".json")
    )
    assert journey.outcome(phase, "fs dataset").got() == [
        "datasets/acme/csvset/data/test.csv",
        "datasets/acme/csvset/data/train.csv",
    ]
    window = bytes.fromhex(journey.outcome(phase, "fs window").got())
    assert window == tiny.contents["model.safetensors"][100_000:105_000]
    assert journey.outcome(phase, "fs text").got() == tiny.contents[ODD_PATH].decode()
    for case, path in (("fs get_file", "model.safetensors"), ("fs get_file small", "config.json")):
        assert journey.outcome(phase, case).got() == sha256(tiny.contents[path]), case


def test_hub_command_downloads_what_was_published(
    journey: Journey,
    phase: str,
    world: World,
) -> None:
    """`hf download` (0.25: `huggingface-cli download`) fills a cache and a folder."""
    files = world.tiny.digests()
    assert journey.outcome(phase, "command").got() == files
    assert journey.outcome(phase, "command --local-dir").got() == {
        path: files[path] for path in ("config.json", "model.safetensors")
    }
    assert journey.outcome(phase, "command missing file").errors
    for case in ("command --dry-run", "command verify"):
        if case in journey.reports[phase].outcomes:  # releases that have it
            journey.outcome(phase, case).got()


def test_hub_never_leaves_the_mirror(journey: Journey) -> None:
    """No byte and no token is asked upstream by the client itself."""
    if journey.direct:
        pytest.skip("the scenario was run without a mirror")
    assert past_the_mirror(journey.met_upstream()) == []


def test_hub_warm_visit_asks_upstream_nothing_public(journey: Journey, world: World) -> None:
    """Inside a ref's lifetime no file, tree or revision of a known public repo is asked again."""
    if journey.direct:
        pytest.skip("the scenario was run without a mirror")
    known = (world.tiny, world.forty, world.table, world.space, world.one_segment)
    asked = [
        f"{one.method} {one.server} {one.path}"
        for one in journey.seen["warm"]
        if one.server != "hub"
        or any(
            f"/{repo.repo_id}/{route}/" in one.path
            for repo in known
            for route in ("resolve", "tree", "revision", "paths-info", "xet-read-token")
            if "nowhere" not in one.path
        )
    ]
    assert asked == []


@pytest.mark.parametrize("away", AWAY)
def test_hub_unknown_repo_offline_is_refused_at_once(journey: Journey, away: str) -> None:
    """A repo never seen is refused without the client's retries, and not as if it were missing."""
    if journey.direct:
        pytest.skip("the scenario was run without a mirror")
    outcome = journey.outcome(away, "untouched")
    assert "LocalEntryNotFoundError" in outcome.errors, outcome
    assert outcome.seconds < _REFUSAL_SECONDS
