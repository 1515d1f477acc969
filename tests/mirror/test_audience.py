"""Who may read what, on every route, with upstream up and gone."""

import json
from typing import Final

import pytest

from tests.mirror.running import Got, Running
from tests.origin import Origin, Repo

WEIGHTS: Final = bytes(range(256)) * 8192  # 2 MiB
REFUSED: Final = {401, 403, 404, 501}
STRANGERS: Final = (("nobody", None), ("bob", "tokenB"), ("wrong", "not-a-token"))


@pytest.fixture
def closed(origin: Origin) -> dict[str, Repo]:
    """A gated and a private repo that only alice may read."""
    files = {"config.json": b'{"model_type": "bert"}', "model.safetensors": WEIGHTS}
    kinds: tuple[tuple[str, bool, bool | str], ...] = (
        ("acme/gated", False, "auto"),
        ("acme/private", True, False),
    )
    return {
        name: origin.add_repo(
            "models", name, files=dict(files), private=private, gated=gated, readers=("tokenA",)
        )
        for name, private, gated in kinds
    }


def _routes(
    name: str, commit: str, etag: str
) -> list[tuple[str, str, dict[str, str], bytes | None]]:
    """Every way to a repo's bytes, and for a private repo to its list: method, path, headers, body."""
    file = f"/{name}/resolve/main/model.safetensors"
    pinned = f"/{name}/resolve/{commit}/model.safetensors"
    return [
        ("GET", file, {}, None),
        ("HEAD", file, {}, None),
        ("GET", pinned, {}, None),
        ("HEAD", pinned, {}, None),
        ("GET", pinned, {"Range": "bytes=0-99"}, None),
        ("GET", pinned, {"Range": "bytes=99999999999-"}, None),
        ("GET", pinned, {"If-None-Match": f'"{etag}"'}, None),
        ("HEAD", pinned, {"If-None-Match": f'"{etag}"'}, None),
        ("GET", pinned, {"If-Match": '"something-else"'}, None),
        ("GET", f"/{name}/resolve/{commit}/config.json", {}, None),
        ("GET", f"/{name}/raw/{commit}/config.json", {}, None),
        ("GET", f"/{name}/raw/{commit}/model.safetensors", {}, None),
        ("GET", f"/api/resolve-cache/models/{name}/{commit}/config.json", {}, None),
        ("GET", f"/api/models/{name}/xet-read-token/{commit}", {}, None),
        ("GET", f"/{name}.git/info/lfs/objects/{etag}", {}, None),
        ("GET", f"/v2/{name}/blobs/sha256:{etag}", {}, None),
    ]


def _listings(name: str, commit: str) -> list[tuple[str, str, dict[str, str], bytes | None]]:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return [
        ("GET", f"/api/models/{name}", {}, None),
        ("GET", f"/api/models/{name}/revision/main", {}, None),
        ("GET", f"/api/models/{name}/revision/{commit}?blobs=true", {}, None),
        ("GET", f"/api/models/{name}/tree/{commit}?recursive=true", {}, None),
        ("GET", f"/api/models/{name}/refs", {}, None),
        ("GET", f"/api/models/{name}/commits/main", {}, None),
        (
            "POST",
            f"/api/models/{name}/paths-info/{commit}",
            form,
            b"paths=config.json&expand=false",
        ),
        ("HEAD", f"/{name}/resolve/{commit}/no-such-file", {}, None),
    ]


def _warm(mirror: Running, name: str, commit: str) -> None:
    for path in ("config.json", "model.safetensors"):
        got = mirror.ask(f"/{name}/resolve/main/{path}", token="tokenA")
        assert got.status == 200
    assert (
        mirror.ask(f"/api/models/{name}/tree/{commit}?recursive=true", token="tokenA").status == 200
    )
    assert mirror.ask(f"/api/models/{name}/revision/main", token="tokenA").status == 200


@pytest.mark.parametrize("up", [True, False], ids=["origin-up", "origin-stopped"])
@pytest.mark.parametrize("name", ["acme/gated", "acme/private"])
def test_strangers_are_refused_on_every_route_and_the_reader_served(
    mirror: Running, origin: Origin, closed: dict[str, Repo], name: str, *, up: bool
) -> None:
    """What alice cached is refused to everybody else on every route, and still served to her."""
    repo = closed[name]
    commit, etag = repo.commit, repo.entry("model.safetensors").sha256
    _warm(mirror, name, commit)
    if not up:
        origin.stop()

    routes = _routes(name, commit, etag)
    if name == "acme/private":
        routes += _listings(name, commit)
    for who, token in STRANGERS:
        for method, path, headers, body in routes:
            got = mirror.ask(path, method=method, headers=headers, body=body, token=token)
            assert got.status in REFUSED, (who, method, path, headers, got.status)
            assert WEIGHTS[:64] not in got.body
            for file in ("config.json", "model.safetensors"):
                told = file.encode() in got.body and file not in path
                assert not told or name == "acme/gated", (who, path)

    for path, expected in (
        ("config.json", b'{"model_type": "bert"}'),
        ("model.safetensors", WEIGHTS),
    ):
        got = mirror.ask(f"/{name}/resolve/main/{path}", token="tokenA")
        assert (got.status, got.body) == (200, expected)


def test_a_private_repo_looks_like_one_never_seen_in_an_outage(
    mirror: Running, origin: Origin, closed: dict[str, Repo]
) -> None:
    """Offline, a stranger cannot tell a cached private repo from one that was never here."""
    repo = closed["acme/private"]
    _warm(mirror, "acme/private", repo.commit)
    origin.stop()

    def shape(got: Got, name: str) -> tuple[int, bytes, list[str]]:
        return got.status, got.body.replace(name.encode(), b"NAME"), sorted(got.headers)

    for path in ("/{}/resolve/main/config.json", "/api/models/{}"):
        known = mirror.ask(path.format("acme/private"), token="tokenB")
        unknown = mirror.ask(path.format("acme/nothing"), token="tokenB")

        assert shape(known, "acme/private") == shape(unknown, "acme/nothing")
        assert known.status == 501


def test_a_cas_token_of_the_reader_opens_nothing_else(
    mirror: Running, origin: Origin, closed: dict[str, Repo]
) -> None:
    """Alice's CAS token reads her repo's file, a forged one or none reads nothing, up and stopped."""
    repo = closed["acme/gated"]
    _warm(mirror, "acme/gated", repo.commit)
    token = mirror.ask(
        f"/api/models/acme/gated/xet-read-token/{repo.commit}", token="tokenA"
    ).json()
    xet = repo.entry("model.safetensors").xet_hash
    path = token["casUrl"].removeprefix(mirror.url) + f"/v2/reconstructions/{xet}"

    for stop in (False, True):
        if stop:
            origin.stop()
        assert mirror.ask(path, token=token["accessToken"]).status == 200
        assert mirror.ask(path).status in REFUSED
        assert mirror.ask(path, token="tokenB").status in REFUSED
        forged = token["accessToken"][:-2] + ("AA" if token["accessToken"][-2:] != "AA" else "BB")
        assert mirror.ask(path, token=forged).status in REFUSED


def test_a_revoked_token_is_refused_within_the_lifetime(
    tmp_path: object, origin: Origin, mirror: Running
) -> None:
    """Once upstream refuses alice, and the mirror saw it, she is refused online and in an outage."""
    del tmp_path
    repo = origin.add_repo(
        "models", "acme/gated", files={"a.txt": b"secret"}, gated="auto", readers=("tokenA",)
    )
    mirror.stop()
    mirror.settings = {"MODELMIRROR_AUDIENCE_LIFETIME": "0s"}
    mirror.start()
    assert mirror.ask("/acme/gated/resolve/main/a.txt", token="tokenA").status == 200
    origin.revoke("tokenA", repo)

    assert mirror.ask("/acme/gated/resolve/main/a.txt", token="tokenA").status == 403
    origin.stop()
    assert mirror.ask("/acme/gated/resolve/main/a.txt", token="tokenA").status in {401, 403}


@pytest.mark.parametrize("name", ["acme/gated", "acme/private"])
def test_what_is_stored_is_not_told_on_an_old_word(
    mirror: Running, origin: Origin, closed: dict[str, Repo], name: str
) -> None:
    """only-if-cached makes nobody a reader for longer: the grace is for when upstream cannot be asked."""
    path, stored = f"/{name}/resolve/main/config.json", {"Cache-Control": "Only-If-Cached"}
    assert mirror.ask(path, token="tokenA").status == 200
    mirror.settle()
    assert mirror.ask(path, token="tokenA", headers=stored).status == 200
    mirror.stop()
    mirror.settings = {"MODELMIRROR_AUDIENCE_LIFETIME": "0s"}
    mirror.start()
    origin.revoke("tokenA", closed[name])
    origin.clear_log()

    refused = mirror.ask(path, token="tokenA", headers=stored)
    assert refused.status == 501
    assert "only-if-cached" in refused.headers["x-error-message"]
    assert not origin.log


def test_a_repo_gone_private_is_refused_to_strangers(mirror: Running, origin: Origin) -> None:
    """A public repo that turned private upstream is withdrawn as soon as the mirror asks again."""
    repo = origin.add_repo("models", "acme/open", files={"a.txt": b"was open"}, readers=("tokenA",))
    mirror.stop()
    mirror.settings = {"MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s"}
    mirror.start()
    assert mirror.ask("/acme/open/resolve/main/a.txt").body == b"was open"
    origin.set_access(repo, private=True, readers=("tokenA",))

    assert mirror.ask("/acme/open/resolve/main/a.txt").status in REFUSED
    assert mirror.ask(f"/acme/open/resolve/{repo.commit}/a.txt").status in REFUSED
    assert mirror.ask("/acme/open/resolve/main/a.txt", token="tokenA").body == b"was open"
    origin.stop()
    assert mirror.ask("/acme/open/resolve/main/a.txt").status in REFUSED


def test_no_token_is_found_in_the_data_folder_or_the_log(
    mirror: Running, closed: dict[str, Repo]
) -> None:
    """After alice used her token on every route it stands nowhere on disk and nowhere in the log."""
    repo = closed["acme/private"]
    _warm(mirror, "acme/private", repo.commit)
    for method, path, headers, body in _routes("acme/private", repo.commit, "0" * 64):
        mirror.ask(path, method=method, headers=headers, body=body, token="tokenA")
    status = mirror.ask("/-/status")
    metrics = mirror.ask("/-/metrics")
    home = mirror.ask("/")
    mirror.stop()

    for got in (status, metrics, home):
        assert b"tokenA" not in got.body
        assert b"acme/private" not in got.body
    assert json.loads(status.body)
    for file in [*mirror.data.rglob("*"), mirror.log]:
        if file.is_file():
            assert b"tokenA" not in file.read_bytes(), file
