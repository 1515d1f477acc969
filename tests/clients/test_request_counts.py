"""What a download costs upstream: the numbers that the design promises."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.clients.available import client
from tests.clients.client import client_environment, run_command
from tests.clients.journey import past_the_mirror
from tests.clients.mirror_process import MirrorProcess, running_mirror
from tests.clients.scenarios.report import digests
from tests.clients.world import READER, Published, World
from tests.origin import Origin
from tests.origin.log import Seen

GROUPS = ("hub24", "hub133", "hub036", "hub025")

#: Seconds that a ref or a credential is believed where a test waits for their end.
_LIFETIME = 4

_METADATA = re.compile(r"^/api/models/[^/]+/[^/]+(/revision/[^/?]+|/tree/[^?]+)?(\?|$)")
_RESOLVE = re.compile(r"^/[^/]+/[^/]+/resolve/")


@pytest.fixture
def whole_listings(origin: Origin) -> Iterator[None]:
    """Let the origin list a repo of 40 files in one page, as the Hub does."""
    usual, origin.page_size = origin.page_size, 1000
    yield
    origin.page_size = usual


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> str:
    """Name one release of huggingface_hub."""
    return str(request.param)


def _download(
    group: str,
    mirror: MirrorProcess,
    home: Path,
    published: Published,
    *options: str,
) -> None:
    """Type `hf download` for a whole repo and see that it arrived."""
    environment = client(group)
    program = "huggingface-cli" if group == "hub025" else "hf"
    variables = client_environment(home, mirror.url, environment.commands)
    done = run_command([program, "download", published.repo_id, *options], variables)
    assert done.returncode == 0, done.stderr[-4000:]
    folder = f"models--{published.repo_id.replace('/', '--')}"
    (snapshot,) = (home / "hf" / "hub" / folder / "snapshots").iterdir()
    assert digests(snapshot) == published.digests()


def _kinds(seen: Sequence[Seen]) -> Counter[str]:
    """Count the requests that reached the hub itself by what they ask for."""
    kinds: Counter[str] = Counter()
    for one in seen:
        if one.server != "hub" or "/api/resolve-cache/" in one.path:
            continue
        if _METADATA.match(one.path):
            kinds["metadata"] += 1
        elif _RESOLVE.match(one.path):
            kinds[f"{one.method} resolve"] += 1
        else:
            kinds[f"{one.method} {one.path}"] += 1
    return kinds


@pytest.mark.usefixtures("whole_listings")
def test_request_counts_of_forty_files(
    group: str,
    origin: Origin,
    world: World,
    tmp_path: Path,
) -> None:
    """Forty files cost two metadata calls and forty GETs when cold, and nothing when warm."""
    with running_mirror(origin, tmp_path / "mirror") as mirror:
        origin.clear_log()
        _download(group, mirror, tmp_path / "cold", world.forty)
        cold = tuple(origin.log)
        origin.clear_log()
        _download(group, mirror, tmp_path / "warm", world.forty)
        warm = tuple(origin.log)
    assert past_the_mirror(cold) == []
    assert _kinds(cold) == {"metadata": 2, "GET resolve": 40}
    assert max(Counter(one.path for one in cold).values()) == 1, "something was asked twice"
    assert [f"{one.method} {one.path}" for one in warm] == []


@pytest.mark.usefixtures("whole_listings")
def test_request_counts_of_a_stale_branch(
    group: str,
    origin: Origin,
    world: World,
    tmp_path: Path,
) -> None:
    """A warm download past the ref's lifetime costs one revalidation, and not one per file."""
    with running_mirror(origin, tmp_path / "mirror", ref_lifetime=f"{_LIFETIME}s") as mirror:
        _download(group, mirror, tmp_path / "cold", world.forty)
        time.sleep(_LIFETIME + 0.1)
        origin.clear_log()
        lifetimes = _lifetimes_of(lambda: _download(group, mirror, tmp_path / "warm", world.forty))
        warm = tuple(origin.log)
    assert 1 <= len(warm) <= lifetimes, [f"{one.method} {one.path}" for one in warm]


@pytest.mark.usefixtures("whole_listings")
def test_request_counts_of_a_commit(
    group: str,
    origin: Origin,
    world: World,
    tmp_path: Path,
) -> None:
    """A warm download of a commit costs nothing, however long ago it was fetched."""
    pinned = ("--revision", world.forty.commit)
    with running_mirror(origin, tmp_path / "mirror", ref_lifetime="1s") as mirror:
        _download(group, mirror, tmp_path / "cold", world.forty, *pinned)
        time.sleep(1.1)
        origin.clear_log()
        _download(group, mirror, tmp_path / "warm", world.forty, *pinned)
        warm = tuple(origin.log)
    assert [f"{one.method} {one.path}" for one in warm] == []


@pytest.mark.parametrize("repo", ["gated", "private"])
def test_request_counts_of_a_guarded_commit(
    group: str,
    repo: str,
    origin: Origin,
    world: World,
    tmp_path: Path,
) -> None:
    """A warm commit of a guarded repo costs one probe per credential and lifetime."""
    published: Published = getattr(world, repo)
    pinned = ("--revision", published.commit, "--token", READER)
    settings = {"MODELMIRROR_AUDIENCE_LIFETIME": f"{_LIFETIME}s"}
    with running_mirror(origin, tmp_path / "mirror", settings=settings) as mirror:
        _download(group, mirror, tmp_path / "cold", published, *pinned)
        time.sleep(_LIFETIME + 0.1)
        origin.clear_log()
        lifetimes = _lifetimes_of(
            lambda: _download(group, mirror, tmp_path / "warm", published, *pinned),
        )
        warm = tuple(origin.log)
    assert 1 <= len(warm) <= lifetimes, [f"{one.method} {one.path}" for one in warm]
    assert {one.server for one in warm} == {"hub"}, "bytes that are here were fetched again"


def _lifetimes_of(call: Callable[[], None]) -> int:
    """Run something and give how many lifetimes it began, for a slow machine spans several."""
    began = time.monotonic()
    call()
    return 1 + int((time.monotonic() - began) // _LIFETIME)
