"""Programs that know nothing of model hubs: curl, aria2c, git and git-lfs."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.clients.available import program
from tests.clients.client import Report, client_environment, run_command
from tests.clients.journey import PHASES, Journey, past_the_mirror, travel
from tests.clients.mirror_process import running_mirror
from tests.clients.scenarios.report import Report as Cases
from tests.clients.scenarios.report import digest, digests
from tests.clients.world import OTHER, READER, Download, World
from tests.origin import Origin

_RESUME_AT = 1_000_000


def _url(endpoint: str, one: Download) -> str:
    """Give the address that a person would copy from the Hub's page."""
    prefix = "" if one.kind == "model" else f"/{one.kind}s"
    revision = quote(one.revision or "main", safe="")
    return f"{endpoint}{prefix}/{one.repo_id}/resolve/{revision}/{quote(one.path)}"


def _succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Give a finished program back, or raise with what it said."""
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stdout[-500:]} {done.stderr[-1500:]}")
    return done


def _authorization(token: str | None) -> list[str]:
    """Give the option by which curl and aria2c alike take a header, if there is a token."""
    return [f"--header=Authorization: Bearer {token}"] if token else []


def _curl(cases: Cases, curl: str, endpoint: str, home: Path, world: World) -> None:
    """Download each file, resume one in the middle and ask for one's head."""
    variables = client_environment(home, endpoint)

    def fetched(one: Download) -> str:
        target = home / "file"
        target.unlink(missing_ok=True)
        # A file without bytes is not created unless curl is told so by an empty one.
        target.touch()
        quiet: list[str | Path] = [curl, "-q", "-fsSL", "-o", target]
        token = ["-H", f"Authorization: Bearer {one.token}"] if one.token else []
        _succeeded(run_command([*quiet, *token, _url(endpoint, one)], variables))
        return digest(target)

    def resumed(one: Download, data: bytes) -> str:
        target = home / "resumed"
        target.write_bytes(data[:_RESUME_AT])
        quiet: list[str | Path] = [
            curl,
            "-q",
            "-fsSL",
            "-C",
            "-",
            "-o",
            target,
            _url(endpoint, one),
        ]
        _succeeded(run_command(quiet, variables))
        return digest(target)

    def head(one: Download) -> dict[str, str]:
        done = _succeeded(run_command([curl, "-q", "-fsSI", _url(endpoint, one)], variables))
        lines = [line.partition(":") for line in done.stdout.splitlines()]
        return {name.lower(): value.strip() for name, colon, value in lines if colon}

    # What the word of the caller cannot change, first: a cold resume must not find a warm file.
    model = world.download("lfs")
    cases.case("resumed", lambda: resumed(model, world.tiny.contents[model.path]))
    cases.case("head", lambda: head(model))
    for one in world.downloads:
        cases.case(f"download {one.name}", lambda one=one: fetched(one))  # type: ignore[misc]


def _aria2c(cases: Cases, aria2c: str, endpoint: str, home: Path, _world: World) -> None:
    """Download a large file over four connections, and a guarded one."""
    variables = client_environment(home, endpoint)

    def fetched(path: str, token: str | None) -> str:
        target = home / "file"
        target.unlink(missing_ok=True)
        options: list[str | Path] = [
            "--no-conf",
            "-q",
            "-x4",
            "-s4",
            "-k1M",
            "-d",
            home,
            "-o",
            target.name,
        ]
        url = f"{endpoint}/{path}"
        done = run_command([aria2c, *options, *_authorization(token), url], variables)
        _succeeded(done)
        return digest(target)

    cases.case("large", lambda: fetched("acme/large/resolve/main/model.safetensors", None))
    private = "acme/private/resolve/main/model.safetensors"
    cases.case("private reader", lambda: fetched(private, READER))
    cases.case("private other", lambda: fetched(private, OTHER))


_PROGRAMS: Mapping[str, tuple[str, Callable[[Cases, str, str, Path, World], None]]] = {
    "curl": ("curl", _curl),
    "aria2c": ("aria2", _aria2c),
}


def _journey(
    name: str,
    origin: Origin,
    world: World,
    folder: Path,
    *,
    direct: bool,
) -> Journey:
    """Let one program make its four visits."""
    package, run = _PROGRAMS[name]
    path = program(name, package)

    def visit(_phase: str, home: Path, endpoint: str) -> Report:
        home.mkdir(exist_ok=True)
        cases = Cases()
        run(cases, path, endpoint, home, world)
        return Report.parse(cases.line(), "")

    return travel(origin, folder, visit, direct=direct)


@pytest.fixture(scope="module")
def curl(
    origin: Origin,
    world: World,
    direct: bool,  # noqa: FBT001
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    """Let curl make its four visits."""
    return _journey("curl", origin, world, tmp_path_factory.mktemp("curl"), direct=direct)


@pytest.fixture(scope="module")
def aria2c(
    origin: Origin,
    world: World,
    direct: bool,  # noqa: FBT001
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    """Let aria2c make its four visits."""
    return _journey("aria2c", origin, world, tmp_path_factory.mktemp("aria2c"), direct=direct)


def _phase(journey: Journey, name: str) -> str:
    """Give a phase that was run."""
    if name not in journey.reports:
        pytest.skip("the scenario was run without a mirror")
    return name


@pytest.mark.parametrize("visit", PHASES)
def test_curl_gets_what_was_published(curl: Journey, visit: str, world: World) -> None:
    """`curl -L` of every file gives its bytes, and fails on what is missing or not for it."""
    phase = _phase(curl, visit)
    for one in world.downloads:
        outcome = curl.outcome(phase, f"download {one.name}")
        if one.digest:
            assert outcome.got() == one.digest, one.name
        else:
            assert outcome.errors, f"{one.name} was served: {outcome.value}"


@pytest.mark.parametrize("visit", PHASES)
def test_curl_resumes(curl: Journey, visit: str, world: World) -> None:
    """`curl -C -` goes on in the middle of a file, also of one that is not here yet."""
    phase = _phase(curl, visit)
    assert curl.outcome(phase, "resumed").got() == world.download("lfs").digest


@pytest.mark.parametrize("visit", PHASES)
def test_curl_head_tells_size_and_digest(curl: Journey, visit: str, world: World) -> None:
    """`curl -I` shows the size, the digest and the commit, and no way past the mirror."""
    phase = _phase(curl, visit)
    if curl.direct:
        pytest.skip("upstream answers with a redirect")
    head = curl.outcome(phase, "head").got()
    model = world.download("lfs")
    assert head["content-length"] == str(len(world.tiny.contents[model.path]))
    assert head["etag"] == f'"{model.digest}"'
    assert head["x-repo-commit"] == world.tiny.commit
    assert head["accept-ranges"] == "bytes"
    assert "location" not in head
    assert "x-xet-hash" not in head


def test_curl_never_leaves_the_mirror(curl: Journey) -> None:
    """Nothing that curl is told makes it ask upstream."""
    if curl.direct:
        pytest.skip("the scenario was run without a mirror")
    assert past_the_mirror(curl.met_upstream()) == []


@pytest.mark.parametrize("visit", PHASES)
def test_aria2c_gets_what_was_published(aria2c: Journey, visit: str, world: World) -> None:
    """`aria2c -x4` of a large file gives its bytes, and fails on what is not for it."""
    phase = _phase(aria2c, visit)
    large = world.large.digests()["model.safetensors"]
    assert aria2c.outcome(phase, "large").got() == large
    private = world.private.digests()["model.safetensors"]
    assert aria2c.outcome(phase, "private reader").got() == private
    assert aria2c.outcome(phase, "private other").errors


def test_aria2c_never_leaves_the_mirror(aria2c: Journey) -> None:
    """Nothing that aria2c is told makes it ask upstream."""
    if aria2c.direct:
        pytest.skip("the scenario was run without a mirror")
    assert past_the_mirror(aria2c.met_upstream()) == []


def test_aria2c_costs_upstream_the_file_once(aria2c: Journey, world: World) -> None:
    """Four connections make the mirror fetch no byte of a file twice."""
    if aria2c.direct:
        pytest.skip("the scenario was run without a mirror")
    size = len(world.large.contents["model.safetensors"])
    size += len(world.private.contents["model.safetensors"])
    sent = sum(one.bytes_sent for one in aria2c.seen["cold"] if one.server != "hub")
    assert sent == size
    assert [one.path for one in aria2c.seen["warm"] if one.server != "hub"] == []


def _clone(url: str, home: Path, variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Clone with `git`, then fetch the large files with `git lfs pull`; give commit and digests."""
    git = program("git", "git")
    program("git-lfs", "git-lfs")
    _succeeded(run_command([git, "lfs", "install", "--skip-repo"], variables))
    skip = {**variables, "GIT_LFS_SKIP_SMUDGE": "1"}
    folder = home / "clone"
    _succeeded(run_command([git, "clone", url, folder], skip))
    _succeeded(run_command([git, "lfs", "pull"], variables, folder))
    head = _succeeded(run_command([git, "rev-parse", "HEAD"], variables, folder))
    return head.stdout.strip(), digests(folder)


def test_git_clone_and_lfs_pull_give_what_was_published(
    origin: Origin,
    world: World,
    direct: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """A clone has upstream's commit and files; its second time fetches no large file again."""
    expected = (world.tiny.commit, world.tiny.digests())
    if direct:
        variables = client_environment(tmp_path / "home", origin.url)
        url = f"{origin.url}/{world.tiny.repo_id}"
        assert _clone(url, tmp_path / "home", variables) == expected
        return
    with running_mirror(origin, tmp_path / "mirror") as mirror:
        url = f"{mirror.url}/{world.tiny.repo_id}"
        for visit in ("cold", "warm"):
            origin.clear_log()
            home = tmp_path / visit
            variables = client_environment(home, mirror.url)
            assert _clone(url, home, variables) == expected, visit
            assert past_the_mirror(tuple(origin.log)) == [], visit
        assert [one.path for one in origin.log if one.server != "hub"] == []


def test_git_clone_of_a_private_repo_is_for_its_readers(
    origin: Origin,
    world: World,
    direct: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """A token in the address opens a private repo; without one, and with another's, it is shut."""
    if direct:
        pytest.skip("the scenario needs a mirror")
    git = program("git", "git")
    with running_mirror(origin, tmp_path / "mirror") as mirror:
        variables = client_environment(tmp_path / "home", mirror.url)
        host = mirror.url.removeprefix("http://")
        mine = f"http://alice:{READER}@{host}/acme/private"
        assert _clone(mine, tmp_path / "home", variables) == (
            world.private.commit,
            world.private.digests(),
        )
        for number, credential in enumerate(("", f"bob:{OTHER}@")):
            url = f"http://{credential}{host}/acme/private"
            done = run_command([git, "clone", url, tmp_path / f"refused-{number}"], variables)
            assert done.returncode != 0, credential
