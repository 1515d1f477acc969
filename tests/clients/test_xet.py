"""Clients that come with Xet hashes of their own, and files that only Xet can carry."""

from pathlib import Path

import pytest

from tests.clients.available import client
from tests.clients.client import client_environment, run_scenario
from tests.clients.journey import past_the_mirror
from tests.clients.mirror_process import running_mirror
from tests.clients.world import READER, Published, World
from tests.origin import Origin, Sparse

#: Releases that keep the tree of a commit and go by its Xet hashes.
KEEPERS_OF_TREES = ("hub24", "hub133")

_BEYOND_HTTP = 60_000_000_000


def _stale(
    group: str,
    published: Published,
    home: Path,
    endpoint: str,
    *,
    patterns: list[str] | None,
    http_limit: int | None = None,
) -> dict[str, str]:
    """Run the stale-tree scenario once and give what the client has of the repo afterwards."""
    environment = client(group)
    task = {
        "repo_id": published.repo_id,
        "patterns": patterns,
        "http_limit": http_limit,
        "token": READER if published.repo_id in {"acme/gated", "acme/private"} else False,
    }
    variables = client_environment(home, endpoint, environment.commands)
    got: dict[str, str] = run_scenario(environment, "stale", task, variables)["snapshot"].got()
    return got


@pytest.mark.parametrize("group", KEEPERS_OF_TREES)
@pytest.mark.parametrize("repo", ["tiny", "private"])
def test_xet_hashes_from_before_lead_to_the_mirror(
    group: str,
    repo: str,
    origin: Origin,
    world: World,
    tmp_path: Path,
) -> None:
    """The rest of a repo begun at upstream comes from the mirror, though the client knows hashes."""
    published: Published = getattr(world, repo)
    home = tmp_path / "home"
    began = _stale(group, published, home, origin.url, patterns=["config.json"])
    assert began == {"config.json": published.digests()["config.json"]}
    with running_mirror(origin, tmp_path / "mirror") as mirror:
        origin.clear_log()
        assert _stale(group, published, home, mirror.url, patterns=None) == published.digests()
        seen = tuple(origin.log)
    assert past_the_mirror(seen) == []
    assert any(one.server != "hub" for one in seen), "the mirror was not asked for the large file"


@pytest.mark.parametrize("group", KEEPERS_OF_TREES)
def test_xet_carries_what_http_may_not(
    group: str,
    origin: Origin,
    world: World,
    tmp_path: Path,
) -> None:
    """A file above the client's bound for HTTP comes by Xet from the mirror, cold and offline.

    The bound is 50 GB; here the client's own constant is lowered so that 24 MB stand for them.
    """
    large = world.large
    for home in ("first", "second"):
        _stale(group, large, tmp_path / home, origin.url, patterns=["nothing-matches"])
    with running_mirror(origin, tmp_path / "mirror") as mirror:
        origin.clear_log()
        for home in ("first", "second"):
            if home == "second":
                origin.stop()
            try:
                got = _stale(
                    group,
                    large,
                    tmp_path / home,
                    mirror.url,
                    patterns=None,
                    http_limit=1_000_000,
                )
            finally:
                if home == "second":
                    origin.start()
            assert got == large.digests(), home
    assert past_the_mirror(tuple(origin.log)) == []


@pytest.mark.parametrize("group", ["hub24", "hub133", "hub036"])
def test_xet_is_offered_where_http_is_refused(group: str, origin: Origin, tmp_path: Path) -> None:
    """Of a file over 50 GB, which the library takes by Xet alone, the mirror tells the Xet hash."""
    name = f"acme/huge-{group}"
    repo = origin.add_repo("models", name, files={"model.gguf": Sparse(_BEYOND_HTTP)})
    entry = repo.entry("model.gguf")
    environment = client(group)
    with running_mirror(origin, tmp_path / "mirror") as mirror:
        variables = client_environment(tmp_path / "home", mirror.url, environment.commands)
        task = {"repo_id": name, "path": "model.gguf"}
        report = run_scenario(environment, "announced", task, variables)
    told = report["metadata"].got()
    assert told["size"] == _BEYOND_HTTP
    assert told["etag"] == entry.sha256
    assert told["xet"] == entry.xet_hash, "without Xet the library refuses to download it at all"
    if group in KEEPERS_OF_TREES:
        assert report["listed"].got() == {"model.gguf": entry.xet_hash}
