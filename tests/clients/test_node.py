"""@huggingface/hub in node, which asks with a one-byte range where others ask with HEAD."""

from pathlib import Path

import pytest

from tests.clients.available import client, program
from tests.clients.client import Report, client_environment, run_reporting
from tests.clients.journey import PHASES, Journey, past_the_mirror, travel
from tests.clients.world import World
from tests.origin import Origin

_SCENARIO = Path(__file__).parent / "scenarios" / "hub.mjs"

#: The library itself fails on a file without bytes: its one-byte range cannot be satisfied.
_BEYOND_THE_CLIENT = {"empty"}


@pytest.fixture(scope="module")
def journey(
    origin: Origin,
    world: World,
    direct: bool,  # noqa: FBT001
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    """Let the library make its four visits."""
    node = program("node", "nodejs")
    environment = client("node")
    task = {
        "downloads": [one.asked() for one in world.downloads if one.name not in _BEYOND_THE_CLIENT],
        "tiny": world.tiny.repo_id,
        "forty": world.forty.repo_id,
    }

    def visit(_phase: str, home: Path, endpoint: str) -> Report:
        modules = {"CLIENT_MODULES": str(environment.path)}
        variables = client_environment(home, endpoint, environment.commands, modules)
        return run_reporting([node, str(_SCENARIO)], task, variables)

    return travel(origin, tmp_path_factory.mktemp("node"), visit, direct=direct)


@pytest.fixture(params=PHASES)
def phase(request: pytest.FixtureRequest, journey: Journey) -> str:
    """Name one of the visits."""
    name = str(request.param)
    if name not in journey.reports:
        pytest.skip("the scenario was run without a mirror")
    return name


def test_node_downloads_give_what_was_published(
    journey: Journey,
    phase: str,
    world: World,
) -> None:
    """downloadFile, its slices and the cache folder give the bytes of upstream."""
    expected = {
        one.name: one.digest
        for one in world.downloads
        if one.digest and one.name not in _BEYOND_THE_CLIENT
    }
    assert {name: journey.outcome(phase, f"download {name}").got() for name in expected} == expected
    model = world.tiny.contents["model.safetensors"]
    window = bytes.fromhex(journey.outcome(phase, "window").got())
    assert window == model[100_000:105_000]
    cached = journey.outcome(phase, "downloadFileToCacheDir").got()
    assert cached == world.tiny.digests()["model.safetensors"]
    assert journey.outcome(phase, "snapshotDownload").got() == world.forty.digests()


def test_node_refuses_what_is_not_there_or_not_for_the_caller(
    journey: Journey,
    phase: str,
    world: World,
) -> None:
    """A missing file is null; anything else that must not be served is an error."""
    for one in world.downloads:
        if one.digest or one.name in _BEYOND_THE_CLIENT:
            continue
        outcome = journey.outcome(phase, f"download {one.name}")
        assert outcome.value is None, one.name
        if one.name == "missing-file":
            assert not outcome.errors, outcome.message
        else:
            assert outcome.errors, one.name


def test_node_listings_tell_what_was_published(
    journey: Journey,
    phase: str,
    world: World,
) -> None:
    """listFiles, fileExists, pathsInfo and modelInfo answer as upstream would."""
    tiny = world.tiny

    def got(case: str) -> object:
        return journey.outcome(phase, case).got()

    listed = journey.outcome(phase, "listFiles").got()
    assert {path: size for path, size in listed.items() if path in tiny.contents} == {
        path: len(data) for path, data in tiny.contents.items()
    }
    assert sorted(journey.outcome(phase, "listFiles of pages").got()) == sorted(
        world.forty.contents,
    )
    assert got("fileExists") is True
    assert got("fileExists not") is False
    assert got("pathsInfo") == [["config.json", len(tiny.contents["config.json"]), True]]
    assert got("modelInfo") == [tiny.repo_id, tiny.commit]


def test_node_never_leaves_the_mirror(journey: Journey) -> None:
    """The library asks upstream for nothing itself."""
    if journey.direct:
        pytest.skip("the scenario was run without a mirror")
    assert past_the_mirror(journey.met_upstream()) == []


def test_node_warm_visit_fetches_no_byte(journey: Journey) -> None:
    """The second visit fetches nothing from the CDN or the content store again."""
    if journey.direct:
        pytest.skip("the scenario was run without a mirror")
    assert [one.path for one in journey.seen["warm"] if one.server != "hub"] == []
