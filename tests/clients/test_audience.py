"""Who may read what: a reader's cache serves nobody else, on no route, upstream there or not."""

import dataclasses
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.available import client
from tests.clients.client import client_environment, run_command
from tests.clients.mirror_process import MirrorProcess, running_mirror
from tests.clients.world import OTHER, READER, WRONG, Published, World, sha256
from tests.origin import Origin

STRANGERS: Mapping[str, str | None] = {"other": OTHER, "wrong": WRONG, "anonymous": None}

_REFUSED = {401, 403, 404}
_REFUSED_OFFLINE = {401, 403, 404, 501}
_SMALL, _LARGE = "config.json", "model.safetensors"


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request to the mirror, without a credential."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the mirror answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def _ask(mirror_url: str, asked: Asked, token: str | None) -> Answer:
    """Send one request on a connection of its own."""
    address = urlsplit(mirror_url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    headers = dict(asked.headers)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(asked.method, asked.path, asked.body, headers)
        response = connection.getresponse()
        body = response.read()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, body)
    finally:
        connection.close()


def _content_routes(published: Published) -> list[Asked]:
    """List the ways to bytes of a file, conditional and partial requests among them."""
    name, commit = published.repo_id, published.commit
    routes = []
    for path in (_SMALL, _LARGE):
        etag = f'"{sha256(published.contents[path])}"'
        beyond = len(published.contents[path]) + 10
        for revision in ("main", commit):
            where = f"/{name}/resolve/{revision}/{path}"
            routes += [
                Asked("GET", where),
                Asked("HEAD", where),
                Asked("GET", where, (("Range", "bytes=0-9"),)),
                Asked("GET", where, (("Range", "bytes=-5"),)),
                Asked("GET", where, (("Range", f"bytes={beyond}-"),)),
                Asked("GET", where, (("If-None-Match", etag),)),
                Asked("HEAD", where, (("If-None-Match", etag),)),
                Asked("GET", where, (("If-None-Match", "*"),)),
                Asked("GET", where, (("If-Range", etag), ("Range", "bytes=0-9"))),
                Asked("GET", where, (("Via", "1.1 modelmirror"),)),
            ]
        routes += [
            Asked("GET", f"/{name}/resolve/main/{path}?download=true"),
            Asked("GET", f"/{name}/raw/main/{path}"),
            Asked("GET", f"/api/resolve-cache/models/{name}/{commit}/{path}"),
        ]
    batch = {
        "operation": "download",
        "transfers": ["basic"],
        "objects": [
            {
                "oid": sha256(published.contents[_LARGE]),
                "size": len(published.contents[_LARGE]),
            },
        ],
    }
    lfs = (("Content-Type", "application/vnd.git-lfs+json"),)
    return [
        *routes,
        Asked("GET", f"/api/models/{name}/xet-read-token/{commit}"),
        Asked("POST", f"/{name}.git/info/lfs/objects/batch", lfs, json.dumps(batch).encode()),
    ]


def _listing_routes(published: Published) -> list[Asked]:
    """List the ways to names, which are public for a gated repo and not for a private one."""
    name, commit = published.repo_id, published.commit
    form = (("Content-Type", "application/x-www-form-urlencoded"),)
    paths = b"paths=config.json&expand=false"
    return [
        Asked("GET", f"/api/models/{name}"),
        Asked("GET", f"/api/models/{name}?blobs=true"),
        Asked("GET", f"/api/models/{name}/revision/main"),
        Asked("GET", f"/api/models/{name}/revision/{commit}"),
        Asked("GET", f"/api/models/{name}/tree/main?recursive=true&expand=false"),
        Asked("GET", f"/api/models/{name}/tree/{commit}?recursive=true&expand=false"),
        Asked("POST", f"/api/models/{name}/paths-info/main", form, paths),
        Asked("POST", f"/api/models/{name}/paths-info/{commit}", form, paths),
        Asked("GET", f"/api/models/{name}/refs"),
        Asked("GET", f"/api/models/{name}/commits/main"),
        Asked("GET", f"/{name}/resolve/main/nope.json"),
    ]


@pytest.fixture(scope="module")
def mirror(
    origin: Origin,
    world: World,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MirrorProcess]:
    """Run a mirror into which a real client has fetched both guarded repos as their reader."""
    folder = tmp_path_factory.mktemp("audience")
    with running_mirror(origin, folder / "mirror") as running:
        for published in (world.gated, world.private):
            done = _hf(running, folder / "reader", published, READER)
            assert done == 0, published.repo_id
        yield running


@pytest.fixture(params=["online", "offline"])
def upstream(
    request: pytest.FixtureRequest, origin: Origin, mirror: MirrorProcess
) -> Iterator[str]:
    """Let upstream be there, or not; afterwards it is there, and the mirror has seen that it is."""
    state = str(request.param)
    if state == "offline":
        origin.stop()
    yield state
    if state == "offline":
        origin.start()
        deadline = time.monotonic() + 40  # looks are half a minute apart where nobody asks
        while _state(mirror) != "online":
            assert time.monotonic() < deadline, "the mirror did not see that upstream is back"
            time.sleep(0.05)


def _state(mirror: MirrorProcess) -> object:
    """What the mirror says of itself, after a question that it cannot answer without upstream."""
    _ask(mirror.url, Asked("GET", "/api/models/acme/never-seen"), None)
    return json.loads(_ask(mirror.url, Asked("GET", "/-/status"), None).body)["state"]


def _hf(
    mirror: MirrorProcess,
    home: Path,
    published: Published,
    token: str | None,
    group: str = "hub24",
) -> int:
    """Download a repo with `hf download`; give the exit status."""
    environment = client(group)
    variables = client_environment(home, mirror.url, environment.commands)
    option = ["--token", token] if token else []
    return run_command(["hf", "download", published.repo_id, *option], variables).returncode


def _cas(mirror: MirrorProcess, published: Published, token: str | None) -> Answer:
    """Ask for a token of the mirror's content store."""
    path = f"/api/models/{published.repo_id}/xet-read-token/{published.commit}"
    return _ask(mirror.url, Asked("GET", path), token)


@pytest.mark.parametrize("repo", ["gated", "private"])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_audience_strangers_get_no_byte(
    repo: str,
    stranger: str,
    upstream: str,
    mirror: MirrorProcess,
    world: World,
) -> None:
    """Whole, partial, conditional and LFS requests of a stranger are refused before any of that."""
    published: Published = getattr(world, repo)
    allowed = _REFUSED if upstream == "online" else _REFUSED_OFFLINE
    secrets = [data[:64] for data in published.contents.values()]
    for asked in _content_routes(published):
        answer = _ask(mirror.url, asked, STRANGERS[stranger])
        assert answer.status in allowed, (asked, answer)
        assert not any(secret in answer.body for secret in secrets), asked
        for name in ("etag", "x-linked-etag", "x-linked-size", "content-range", "x-xet-hash"):
            assert name not in answer.headers, (asked, name)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_audience_strangers_learn_no_name(
    stranger: str,
    upstream: str,
    mirror: MirrorProcess,
    world: World,
) -> None:
    """Listings, details and refs of a private repo are refused like its files."""
    allowed = _REFUSED if upstream == "online" else _REFUSED_OFFLINE
    for asked in _listing_routes(world.private):
        answer = _ask(mirror.url, asked, STRANGERS[stranger])
        assert answer.status in allowed, (asked, answer)
        assert _LARGE.encode() not in answer.body, asked
        assert world.private.commit.encode() not in answer.body, asked
        assert "x-repo-commit" not in answer.headers, asked


@pytest.mark.parametrize("repo", ["gated", "private"])
def test_audience_reader_is_served(
    repo: str,
    upstream: str,
    mirror: MirrorProcess,
    world: World,
) -> None:
    """The reader gets bytes, ranges, 304 and 416 of what is here, upstream there or not."""
    published: Published = getattr(world, repo)
    data = published.contents[_LARGE]
    where = f"/{published.repo_id}/resolve/main/{_LARGE}"

    def status(*headers: tuple[str, str]) -> int:
        return _ask(mirror.url, Asked("GET", where, headers), READER).status

    whole = _ask(mirror.url, Asked("GET", where), READER)
    assert (whole.status, sha256(whole.body)) == (200, sha256(data)), upstream
    assert status(("Range", "bytes=0-9")) == 206
    assert status(("Range", f"bytes={len(data)}-")) == 416
    assert status(("If-None-Match", f'"{sha256(data)}"')) == 304
    listing = f"/api/models/{published.repo_id}/tree/main?recursive=true&expand=false"
    tree = _ask(mirror.url, Asked("GET", listing), READER)
    assert {entry["path"] for entry in json.loads(tree.body)} == set(published.contents)


@pytest.mark.parametrize("repo", ["gated", "private"])
def test_audience_content_store_is_for_its_token(
    repo: str,
    upstream: str,
    origin: Origin,
    mirror: MirrorProcess,
    world: World,
) -> None:
    """The content store serves a guarded file by the reader's token of that repo, and by no other."""
    published: Published = getattr(world, repo)
    del upstream
    granted = _cas(mirror, published, READER)
    assert granted.status == 200, granted
    token = json.loads(granted.body)
    assert token["casUrl"].startswith(mirror.url), "the token leads past the mirror"
    public = json.loads(_cas(mirror, world.tiny, None).body)["accessToken"]
    base = urlsplit(token["casUrl"]).path.rstrip("/")
    where = f"{base}/v1/reconstructions/{_xet_hash(origin, published)}"
    assert _ask(mirror.url, Asked("GET", where), token["accessToken"]).status == 200
    for bearer in (None, OTHER, READER, "x" * 64, token["accessToken"][:-2] + "zz", public):
        answer = _ask(mirror.url, Asked("GET", where), bearer)
        assert answer.status in {401, 403, 404, 501}, (bearer, answer)


@pytest.mark.parametrize("group", ["hub24", "hub036"])
@pytest.mark.parametrize("repo", ["gated", "private"])
def test_audience_holds_for_real_clients(
    group: str,
    repo: str,
    upstream: str,
    mirror: MirrorProcess,
    world: World,
    tmp_path: Path,
) -> None:
    """`hf download` works for the reader into an empty cache, and fails for everybody else."""
    published: Published = getattr(world, repo)
    assert _hf(mirror, tmp_path / "reader", published, READER, group) == 0, upstream
    for name, token in STRANGERS.items():
        assert _hf(mirror, tmp_path / name, published, token, group) != 0, name
        cached = [path.name for path in (tmp_path / name).rglob("*") if path.is_file()]
        assert _LARGE not in cached, name


def test_audience_revocation_is_believed(
    origin: Origin,
    tmp_path: Path,
) -> None:
    """A reader who was let go is refused once the lifetime is over, and stays so offline."""
    files = {"config.json": b'{"revoked": true}'}
    repo = origin.add_repo(
        "models",
        "acme/revoked",
        files=dict(files),
        private=True,
        readers=(READER,),
    )
    asked = Asked("GET", "/acme/revoked/resolve/main/config.json")
    settings = {"MODELMIRROR_AUDIENCE_LIFETIME": "1s"}
    with running_mirror(origin, tmp_path / "mirror", settings=settings) as running:
        assert _ask(running.url, asked, READER).body == files["config.json"]
        origin.revoke(READER, repo)
        time.sleep(1.1)
        assert _ask(running.url, asked, READER).status in _REFUSED
        origin.stop()
        try:
            assert _ask(running.url, asked, READER).status in _REFUSED_OFFLINE
        finally:
            origin.start()


def _xet_hash(origin: Origin, published: Published) -> str:
    """Look up the Xet hash under which upstream holds the large file of a guarded repo."""
    found = origin.repo("models", published.repo_id).entry(_LARGE).xet_hash
    assert found
    return found
