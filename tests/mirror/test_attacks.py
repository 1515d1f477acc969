"""Ways to what one may not have, each tried on a running mirror: none may lead there."""

import gzip
import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import pytest

from tests.mirror.running import Got, Running
from tests.origin import Fault, Origin, Repo

SECRET: Final = b"for alice alone "
WEIGHTS: Final = SECRET * (1 << 16)  # 1 MiB
CONFIG: Final = b'{"model_type": "bert", "owner": "for alice alone"}'
REFUSED: Final = {400, 401, 403, 404, 501}
STRANGERS: Final = (None, "tokenB", "not-a-token")
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
JSON: Final = {"Content-Type": "application/json"}
LFS: Final = {"Content-Type": "application/vnd.git-lfs+json"}
FILES: Final = {
    "config.json": CONFIG,
    "secret-name.safetensors": WEIGHTS,
    "secret-q4_k_m.gguf": SECRET * 512,
}

Ask = tuple[str, str, dict[str, str], bytes | None]


def _add(
    origin: Origin, name: str, *, gated: bool = False, kind: str = "models", **more: object
) -> Repo:
    """A repo that only alice may read: gated, else private."""
    return origin.add_repo(
        kind,
        name,
        files=dict(FILES),
        private=not gated,
        gated="auto" if gated else False,
        readers=("tokenA",),
        **more,  # type: ignore[arg-type]
    )


def _restart(mirror: Running, *flags: str, **settings: str) -> None:
    mirror.stop()
    mirror.flags = flags
    mirror.settings = {f"MODELMIRROR_{name.upper()}": text for name, text in settings.items()}
    mirror.start()


def _send(mirror: Running, ask: Ask, token: str | None) -> Got:
    method, path, headers, body = ask
    return mirror.ask(path, method=method, headers=headers, body=body, token=token)


def _file(name: str, path: str = "config.json", revision: str = "main") -> str:
    return f"/{name}/resolve/{revision}/{path}"


def _documents(name: str, repo: Repo) -> list[Ask]:
    """Every document about a repo that upstream's own answer is kept of, or that is composed."""
    commit, api = repo.commit, f"/api/models/{name}"
    expanded = b"paths=config.json&paths=secret-name.safetensors&expand=true"
    oid = repo.entry("secret-name.safetensors").sha256
    batch = {
        "operation": "download",
        "transfers": ["basic"],
        "objects": [{"oid": oid, "size": len(WEIGHTS)}],
    }
    return [
        ("GET", api, {}, None),
        ("GET", f"{api}?expand=siblings&expand=gated", {}, None),
        ("GET", f"{api}?blobs=true&securityStatus=true", {}, None),
        ("GET", f"{api}/revision/{commit}?blobs=true", {}, None),
        ("GET", f"{api}/tree/main?recursive=true", {}, None),
        ("GET", f"{api}/tree/{commit}?recursive=true&expand=true", {}, None),
        ("GET", f"{api}/tree/{commit}?expand=1&limit=1", {}, None),
        ("GET", f"{api}/refs", {}, None),
        ("GET", f"{api}/refs?include_prs=1", {}, None),
        ("GET", f"{api}/commits/main", {}, None),
        ("GET", f"{api}/commits/{commit}?limit=1", {}, None),
        ("GET", f"{api}/discussions", {}, None),
        ("GET", f"{api}/likers", {}, None),
        ("GET", f"{api}/auth-check", {}, None),
        ("POST", f"{api}/paths-info/{commit}", FORM, expanded),
        ("POST", f"{api}/paths-info/main", JSON, b'{"paths": ["config.json"], "expand": true}'),
        ("GET", f"/v2/{name}/manifests/latest", {}, None),
        ("GET", f"/v2/{name}/manifests/Q4_K_M", {"User-Agent": "llama-cpp/1"}, None),
        ("POST", f"/{name}.git/info/lfs/objects/batch", LFS, json.dumps(batch).encode()),
        ("GET", f"{api}/xet-read-token/main", {}, None),
        ("GET", _file(name), {}, None),
        ("GET", _file(name, "secret-name.safetensors"), {}, None),
        ("GET", _file(name, "secret-q4_k_m.gguf", commit), {}, None),
        ("GET", f"/{name}/raw/main/secret-name.safetensors", {}, None),
        ("GET", f"/v2/{name}/blobs/sha256:{oid}", {}, None),
        ("GET", f"/{name}.git/info/lfs/objects/{oid}", {}, None),
        ("HEAD", _file(name, "no-such-file"), {}, None),
        ("GET", _file(name), {"Via": "1.1 modelmirror"}, None),
    ]


def _layers(mirror: Running, name: str) -> list[Ask]:
    manifest = mirror.ask(f"/v2/{name}/manifests/latest", token="tokenA").json()
    listed = [manifest["config"], *manifest["layers"]]
    return [("GET", f"/v2/{name}/blobs/{layer['digest']}", {}, None) for layer in listed]


def _assert_shut(got: Got, *about: object) -> None:
    assert got.status in REFUSED, (got.status, about)
    for part in (SECRET, CONFIG, b"secret-name", b"secret-q4"):
        if part.decode() in str(about):
            continue  # A refusal may repeat what was asked for.
        assert part not in got.body, (part, about)
        assert part.decode() not in str(got.headers), (part, about)


# ── strangers at what is kept ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["up", "stopped", "offline"])
def test_a_private_repo_is_shut_on_every_route_that_keeps_a_reply(
    mirror: Running, origin: Origin, state: str
) -> None:
    """What alice caused to be kept of her private repo answers nobody else, whatever upstream does."""
    repo = _add(origin, "acme/private")
    asks = _documents("acme/private", repo)
    for ask in asks:
        assert _send(mirror, ask, "tokenA").status in {200, 404}, ask
    asks += _layers(mirror, "acme/private")
    for ask in asks:
        assert _send(mirror, ask, "tokenA").status in {200, 404}, ask
    mirror.settle()
    if state != "up":
        origin.stop()
    if state == "offline":
        _restart(mirror, "--offline")

    for token in STRANGERS:
        for ask in asks:
            _assert_shut(_send(mirror, ask, token), token, ask)
        for alias in ("acme/PRIVATE", "Acme/private"):
            _assert_shut(mirror.ask(_file(alias), token=token), token, alias)
    assert mirror.ask(_file("acme/private"), token="tokenA").body == CONFIG


@pytest.mark.parametrize("state", ["up", "stopped", "offline"])
def test_a_gated_repo_gives_its_content_to_readers_only(
    mirror: Running, origin: Origin, state: str
) -> None:
    """Of a gated repo strangers see names and sizes, never a byte, a pass, or a manifest's layers."""
    repo = _add(origin, "acme/gated", gated=True)
    closed = [ask for ask in _documents("acme/gated", repo) if "/api/" not in ask[1]]
    closed += [("GET", f"/api/models/acme/gated/{end}", {}, None) for end in
               ("auth-check", "xet-read-token/main")]  # fmt: skip
    for ask in closed:
        assert _send(mirror, ask, "tokenA").status in {200, 404}, ask
    closed += _layers(mirror, "acme/gated")
    for ask in closed:
        assert _send(mirror, ask, "tokenA").status in {200, 404}, ask
    mirror.settle()
    if state != "up":
        origin.stop()
    if state == "offline":
        _restart(mirror, "--offline")

    for token in STRANGERS:
        for ask in closed:
            got = _send(mirror, ask, token)
            assert got.status in REFUSED, (token, ask, got.status)
            assert SECRET not in got.body, (token, ask)
    assert mirror.ask(_file("acme/gated"), token="tokenA").body == CONFIG


def test_a_gated_dataset_tells_its_conversion_to_readers_only(
    mirror: Running, origin: Origin
) -> None:
    """The list of converted files is content: upstream gives it to readers, and so does the mirror."""
    parts = {"default/train/0000.parquet": WEIGHTS}
    _add(origin, "acme/rows", gated=True, kind="datasets", refs={"refs/convert/parquet": parts})
    page, file = (
        f"/api/datasets/acme/rows/parquet{end}" for end in ("", "/default/train/0.parquet")
    )

    assert mirror.ask(page, token="tokenA").status == 200
    assert mirror.ask(file, token="tokenA").body == WEIGHTS
    for stopped in (False, True):
        if stopped:
            origin.stop()
        for token in STRANGERS:
            for path in (page, file):
                assert mirror.ask(path, token=token).status in REFUSED, (path, token, stopped)
        assert mirror.ask(page, token="tokenA").status == 200


def test_searches_are_kept_for_each_caller_alone(mirror: Running, origin: Origin) -> None:
    """A search that shows alice her private repo is answered anew for everybody else."""
    _add(origin, "acme/private")
    for path in ("/api/models", "/api/models?search=priv&full=true"):
        assert b"acme/private" in mirror.ask(path, token="tokenA").body
        assert b"acme/private" in mirror.ask(path, token="tokenA").body
        for token in STRANGERS:
            assert b"acme/private" not in mirror.ask(path, token=token).body
    assert mirror.ask("/api/whoami-v2", token="tokenA").json()["name"] == "alice"
    assert mirror.ask("/api/whoami-v2", token="tokenB").json()["name"] == "bob"
    assert mirror.ask("/api/whoami-v2").status == 401


@pytest.mark.parametrize("name", ["acme/gated", "acme/private"])
def test_nobody_joins_a_fill_that_is_not_theirs(mirror: Running, origin: Origin, name: str) -> None:
    """While alice's download comes in, strangers who ask for the same bytes get none of them."""
    repo = _add(origin, name, gated=name == "acme/gated")
    path = _file(name, "secret-name.safetensors")
    oid = repo.entry("secret-name.safetensors").sha256
    assert mirror.ask(path, method="HEAD", token="tokenA").status == 200
    origin.fault(Fault("stall", server="cdn", seconds=4.0))
    with ThreadPoolExecutor(1) as pool:
        alice = pool.submit(mirror.ask, path, token="tokenA")
        while not mirror.ask("/-/status").json()["fills"]:
            assert not alice.done()
        for token in STRANGERS:
            for way in (path, _file(name, "secret-name.safetensors", repo.commit),
                        f"/v2/{name}/blobs/sha256:{oid}",
                        f"/{name}.git/info/lfs/objects/{oid}"):  # fmt: skip
                for headers in ({}, {"Range": "bytes=0-9"}, {"If-None-Match": f'"{oid}"'}):
                    got = mirror.ask(way, token=token, headers=headers)
                    _assert_shut(got, token, way)
        assert alice.result().body == WEIGHTS


@pytest.mark.parametrize("name", ["acme/gated", "acme/private"])
def test_nobody_joins_a_question_that_is_not_theirs(
    mirror: Running, origin: Origin, name: str
) -> None:
    """Callers who ask at the same moment for the first time each get upstream's word to themselves."""
    _add(origin, name, gated=name == "acme/gated")
    origin.fault(Fault("delay", server="hub", path="/api/models", times=None, seconds=0.3))
    callers = [*STRANGERS, "tokenA", *STRANGERS, "tokenA"]
    with ThreadPoolExecutor(len(callers)) as pool:
        asked = [(who, pool.submit(mirror.ask, _file(name), token=who)) for who in callers]
        for who, answer in asked:
            if who == "tokenA":
                assert answer.result().body == CONFIG
            else:
                _assert_shut(answer.result(), who)


def test_a_listing_never_tells_strangers_a_hidden_hash(mirror: Running, origin: Origin) -> None:
    """A stranger who poses as another mirror sees no Xet hash that upstream hides from strangers."""
    repo = _add(origin, "acme/gated", gated=True)
    known = repo.entry("secret-name.safetensors").xet_hash
    assert known is not None
    mirror.ask("/api/models/acme/gated/xet-read-token/main", token="tokenA")
    poser = {"Via": "1.1 modelmirror"}
    tree = "/api/models/acme/gated/tree/main?recursive=true"
    asks: list[Ask] = [
        ("GET", tree, poser, None),
        ("GET", f"{tree}&expand=true", poser, None),
        ("POST", "/api/models/acme/gated/paths-info/main", poser | FORM,
         b"paths=secret-name.safetensors"),
        ("GET", "/api/models/acme/gated?blobs=true", poser, None),
    ]  # fmt: skip
    assert known.encode() in _send(mirror, asks[0], "tokenA").body
    for token in (None, "tokenB"):
        for ask in asks:
            got = _send(mirror, ask, token)
            assert got.status == 200, ask
            assert known.encode() not in got.body, (token, ask)


# ── credentials that were good once ────────────────────────────────────────────────────────────


def test_a_refused_download_of_a_private_repo_counts_as_revocation(
    mirror: Running, origin: Origin
) -> None:
    """Upstream's 404 to a token is how it says no: seen once, nothing is shown in an outage."""
    repo = _add(origin, "acme/private")
    assert mirror.ask(_file("acme/private"), token="tokenA").body == CONFIG
    origin.revoke("tokenA", repo)
    assert (
        mirror.ask(_file("acme/private", "secret-name.safetensors"), token="tokenA").status
        in REFUSED
    )
    origin.stop()

    _assert_shut(mirror.ask(_file("acme/private"), token="tokenA"))
    _assert_shut(mirror.ask("/api/models/acme/private", token="tokenA"))
    _assert_shut(mirror.ask("/api/models/acme/private/tree/main", token="tokenA"))


@pytest.mark.parametrize(
    "ask",
    [
        ("GET", "/api/models/acme/private/commits/main", {}, None),
        (
            "POST",
            "/api/models/acme/private/paths-info/main",
            FORM,
            b"paths=config.json&expand=true",
        ),
        ("GET", "/v2/acme/private/manifests/latest", {}, None),
    ],
    ids=["commits", "expanded-paths", "manifest"],
)
def test_a_refused_document_of_a_private_repo_counts_as_revocation(
    mirror: Running, origin: Origin, ask: Ask
) -> None:
    """Whichever request upstream refuses, the credential is accepted no longer."""
    repo = _add(origin, "acme/private")
    assert mirror.ask(_file("acme/private"), token="tokenA").body == CONFIG
    origin.revoke("tokenA", repo)
    assert _send(mirror, ask, "tokenA").status in REFUSED
    origin.stop()

    _assert_shut(mirror.ask(_file("acme/private"), token="tokenA"))
    _assert_shut(mirror.ask("/api/models/acme/private", token="tokenA"))


def test_a_dead_token_opens_nothing_in_an_outage(mirror: Running, origin: Origin) -> None:
    """A token that upstream no longer knows is dead for every repo, not for the asked one alone."""
    _add(origin, "acme/private")
    _add(origin, "acme/other")
    for name in ("acme/private", "acme/other"):
        assert mirror.ask(_file(name), token="tokenA").body == CONFIG
    origin.tokens = {"tokenB": "bob"}
    assert mirror.ask("/api/whoami-v2", token="tokenA").status == 401
    origin.stop()

    for name in ("acme/private", "acme/other"):
        _assert_shut(mirror.ask(_file(name), token="tokenA"), name)


@pytest.mark.parametrize("closing", ["gated", "private"])
def test_having_read_a_repo_while_it_was_open_opens_it_no_longer(
    mirror: Running, origin: Origin, closing: str
) -> None:
    """Bob, who read a repo that was open to all, is a stranger to what came after it was closed."""
    repo = origin.add_repo("models", "acme/model", files={"old.txt": b"old"}, readers=("tokenA",))
    _restart(mirror, huggingface_ref_lifetime="0s")
    assert mirror.ask(_file("acme/model", "old.txt"), token="tokenB").body == b"old"
    if closing == "gated":
        origin.set_access(repo, gated="auto")
    else:
        origin.set_access(repo, private=True)
    repo.push({"config.json": CONFIG})
    assert mirror.ask(_file("acme/model"), token="tokenA").body == CONFIG

    pinned = _file("acme/model", revision=repo.commit)
    _assert_shut(mirror.ask(pinned, token="tokenB"))
    origin.stop()
    _assert_shut(mirror.ask(pinned, token="tokenB"))
    assert mirror.ask(pinned, token="tokenA").body == CONFIG


def test_an_acceptance_from_the_future_is_none(mirror: Running, origin: Origin) -> None:
    """After the clock was set back, what was accepted later than now is not believed."""
    _add(origin, "acme/private")
    assert mirror.ask(_file("acme/private"), token="tokenA").body == CONFIG
    mirror.stop()
    with closing(sqlite3.connect(next(mirror.data.rglob("index.sqlite3")))) as index, index:
        index.execute("UPDATE verdicts SET seen_at = seen_at + 864000")
    mirror.flags = ("--offline",)
    mirror.start()

    _assert_shut(mirror.ask(_file("acme/private"), token="tokenA"))


def test_another_callers_refusal_is_not_ones_own(mirror: Running, origin: Origin) -> None:
    """Carol joins the download of alice, whose token upstream refuses: carol is served, now and later."""
    origin.tokens = {"tokenA": "alice", "tokenC": "carol"}
    repo = origin.add_repo(
        "models", "acme/gated", files=dict(FILES), gated="auto", readers=("tokenA", "tokenC")
    )
    for token in ("tokenA", "tokenC"):
        assert mirror.ask(_file("acme/gated"), token=token).status == 200
    origin.revoke("tokenA", repo)
    path = _file("acme/gated", "secret-name.safetensors")
    origin.fault(Fault("delay", server="hub", path="/resolve/.*secret-name", seconds=1.5))
    with ThreadPoolExecutor(2) as pool:
        alice = pool.submit(mirror.ask, path, token="tokenA")
        while not mirror.ask("/-/status").json()["fills"]:
            assert not alice.done()
        carol = pool.submit(mirror.ask, path, token="tokenC")
        assert carol.result().body == WEIGHTS
        assert alice.result().status == 403
    origin.stop()
    assert mirror.ask(_file("acme/gated"), token="tokenC").body == CONFIG


def test_a_shared_download_tells_nothing_of_the_other_repo(mirror: Running, origin: Origin) -> None:
    """Bob's own file has the bytes of alice's, whose download fails: he hears nothing of hers."""
    origin.tokens = {"tokenA": "alice", "tokenB": "bob"}
    hers = _add(origin, "acme/gated", gated=True)
    origin.add_repo("models", "bob/own", files=dict(FILES), private=True, readers=("tokenB",))
    for name, token in (("acme/gated", "tokenA"), ("bob/own", "tokenB")):
        assert mirror.ask(_file(name), token=token).status == 200
    origin.revoke("tokenA", hers)
    origin.fault(Fault("delay", server="hub", path="/acme/gated/resolve/.*secret", seconds=1.5))
    with ThreadPoolExecutor(2) as pool:
        alice = pool.submit(
            mirror.ask, _file("acme/gated", "secret-name.safetensors"), token="tokenA"
        )
        while not mirror.ask("/-/status").json()["fills"]:
            assert not alice.done()
        bob = pool.submit(mirror.ask, _file("bob/own", "secret-name.safetensors"), token="tokenB")
        assert bob.result().body == WEIGHTS
        assert alice.result().status == 403


def test_a_repo_that_was_closed_serves_its_readers_at_once(mirror: Running, origin: Origin) -> None:
    """A cold file of a repo that has become gated: strangers are shut out, its reader is not."""
    repo = origin.add_repo("models", "acme/model", files=dict(FILES), readers=("tokenA",))
    assert mirror.ask(_file("acme/model"), token="tokenA").body == CONFIG
    origin.set_access(repo, gated="auto")
    cold = _file("acme/model", "secret-name.safetensors", repo.commit)

    assert mirror.ask(cold, token="tokenB").status == 403
    assert mirror.ask(_file("acme/model", revision=repo.commit)).status in REFUSED
    assert mirror.ask(cold, token="tokenA").body == WEIGHTS
    origin.stop()
    assert mirror.ask(cold).status in REFUSED
    assert mirror.ask(cold, token="tokenB").status in REFUSED
    assert mirror.ask(cold, token="tokenA").body == WEIGHTS


# ── names ──────────────────────────────────────────────────────────────────────────────────────


def test_an_old_name_does_not_keep_a_repo_open(mirror: Running, origin: Origin) -> None:
    """A public repo that is renamed and then closed is closed under its old name as well."""
    repo = origin.add_repo("models", "acme/old", files=dict(FILES), readers=("tokenA",))
    _restart(mirror, huggingface_ref_lifetime="1s")
    pinned = _file("acme/old", revision=repo.commit)
    assert mirror.ask(pinned).body == CONFIG
    time.sleep(1.1)
    origin.rename(repo, "acme/new")
    assert mirror.ask(_file("acme/old")).body == CONFIG
    origin.set_access(repo, private=True)
    time.sleep(1.1)
    assert mirror.ask(_file("acme/new"), token="tokenA").body == CONFIG

    time.sleep(1.1)
    for name in ("acme/old", "acme/new"):
        for token in STRANGERS:
            _assert_shut(mirror.ask(_file(name, revision=repo.commit), token=token), name, token)
    origin.stop()
    for name in ("acme/old", "acme/new"):
        for token in STRANGERS:
            _assert_shut(mirror.ask(_file(name, revision=repo.commit), token=token), name, token)


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_whoever_takes_over_a_name_gets_nothing_of_its_former_owner(
    mirror: Running, origin: Origin, *, private: bool
) -> None:
    """A deleted repo's name is free upstream; what was kept of the first repo is not the second's."""
    first = _add(origin, "acme/model")
    origin.tag(first, "v1")
    _restart(mirror, huggingface_ref_lifetime="0s")
    assert mirror.ask(_file("acme/model", revision="v1"), token="tokenA").body == CONFIG
    for ask in _documents("acme/model", first):
        _send(mirror, ask, "tokenA")
    mirror.settle()
    origin.delete_repo(first)
    origin.add_repo(
        "models", "acme/model", files={"mine.txt": b"mine"}, private=private, readers=("tokenB",)
    )
    assert mirror.ask(_file("acme/model", "mine.txt"), token="tokenB").body == b"mine"

    oid = first.entry("secret-name.safetensors").sha256
    asks: list[Ask] = [
        ("GET", _file("acme/model", revision=first.commit), {}, None),
        ("GET", _file("acme/model", "secret-name.safetensors", first.commit), {}, None),
        ("GET", _file("acme/model", revision="v1"), {}, None),
        ("GET", f"/api/models/acme/model/tree/{first.commit}", {}, None),
        ("GET", f"/api/models/acme/model/revision/{first.commit}", {}, None),
        ("GET", f"/api/models/acme/model/commits/{first.commit}", {}, None),
        ("GET", f"/api/models/acme/model/tree/{first.commit}?expand=true&recursive=true", {}, None),
        ("POST", f"/api/models/acme/model/paths-info/{first.commit}", FORM, b"paths=config.json"),
        ("GET", f"/v2/acme/model/blobs/sha256:{oid}", {}, None),
        ("GET", f"/acme/model.git/info/lfs/objects/{oid}", {}, None),
    ]
    for stopped in (False, True):
        if stopped:
            origin.stop()
        for ask in asks:
            _assert_shut(_send(mirror, ask, "tokenB"), ask, stopped)
        assert mirror.ask(_file("acme/model", "mine.txt"), token="tokenB").body == b"mine"


# ── passes ─────────────────────────────────────────────────────────────────────────────────────


def _passes(mirror: Running, name: str, repo: Repo, token: str) -> dict[str, str]:
    """The signed links a reader is given: to a git-lfs object, and to a xorb."""
    oid = repo.entry("secret-name.safetensors").sha256
    batch = json.dumps({"operation": "download", "objects": [{"oid": oid, "size": len(WEIGHTS)}]})
    said = mirror.ask(
        f"/{name}.git/info/lfs/objects/batch", method="POST", headers=LFS, body=batch.encode(),
        token=token,
    ).json()  # fmt: skip
    grant = mirror.ask(f"/api/models/{name}/xet-read-token/main", token=token).json()
    xet = repo.entry("secret-name.safetensors").xet_hash
    built = mirror.ask(f"/-/cas/v1/reconstructions/{xet}", token=grant["accessToken"]).json()
    links = {
        "object": said["objects"][0]["actions"]["download"]["href"],
        "xorb": next(iter(built["fetch_info"].values()))[0]["url"],
    }
    cut = {key: link.removeprefix(mirror.url) for key, link in links.items()}
    return {**cut, "token": grant["accessToken"]}


def test_a_pass_is_good_for_what_it_was_made_for(mirror: Running, origin: Origin) -> None:
    """No pass opens another purpose, object, index or repo, whatever is changed in its link."""
    _add(origin, "acme/gated", gated=True)
    other = _add(origin, "acme/other")
    repo = origin.repo("models", "acme/gated")
    origin.add_repo("models", "bob/own", files={"a.safetensors": b"bob's"}, private=True,
                    readers=("tokenB",))  # fmt: skip
    links = _passes(mirror, "acme/gated", repo, "tokenA")
    assert mirror.ask(_file("acme/other", "secret-q4_k_m.gguf"), token="tokenA").status == 200
    own = mirror.ask("/api/models/bob/own/xet-read-token/main", token="tokenB").json()[
        "accessToken"
    ]
    assert mirror.ask(links["object"]).body == WEIGHTS
    assert SECRET in mirror.ask(links["xorb"]).body

    lfs, xorb, token = links["object"], links["xorb"], links["token"]
    oid = repo.entry("secret-name.safetensors").sha256
    theirs = other.entry("secret-q4_k_m.gguf").sha256
    lfs_pass, xorb_pass = lfs.partition("pass=")[2], xorb.partition("pass=")[2]
    hash_ = repo.entry("secret-name.safetensors").xet_hash
    wrong = [
        lfs.replace(lfs_pass, token),
        lfs.replace(lfs_pass, xorb_pass),
        lfs.replace(lfs_pass, own),
        lfs.replace(lfs_pass, ""),
        lfs.replace(lfs_pass, lfs_pass[:-3]),
        lfs.replace(lfs_pass, "A" + lfs_pass[1:]),
        lfs.replace(oid, theirs),
        lfs.replace("?pass=", "?Pass="),
        lfs.partition("?")[0],
        xorb.replace(xorb_pass, lfs_pass),
        xorb.replace(xorb_pass, token),
        xorb.replace(xorb_pass, own),
        xorb.replace("index=0", "index=1"),
        xorb.replace("index=0", "index=-1"),
        xorb.replace("index=0", f"index={'9' * 30}"),
        re.sub("xorbs/[0-9a-f]{64}", f"xorbs/{'0' * 64}", xorb),
    ]
    for path in wrong:
        _assert_shut(mirror.ask(path), path)
    for bad in (own, lfs_pass, xorb_pass, token[:-1], token + ".x", "a.b", ".", "tokenB"):
        for version in ("v1", "v2"):
            path = f"/-/cas/{version}/reconstructions/{hash_}"
            _assert_shut(mirror.ask(path, token=bad), bad)


@pytest.mark.parametrize("name", ["acme/gated", "acme/private"])
def test_a_pass_ends_with_the_right_it_stands_for(
    mirror: Running, origin: Origin, name: str
) -> None:
    """Once upstream refuses alice, the links and tokens made for her open nothing, offline neither."""
    repo = _add(origin, name, gated=name == "acme/gated")
    _restart(mirror, audience_lifetime="0s")
    links = _passes(mirror, name, repo, "tokenA")
    assert mirror.ask(links["object"]).body == WEIGHTS
    assert SECRET in mirror.ask(links["xorb"]).body
    origin.revoke("tokenA", repo)
    hash_ = repo.entry("secret-name.safetensors").xet_hash

    for stopped in (False, True):
        if stopped:
            origin.stop()
        _assert_shut(mirror.ask(links["object"]), stopped)
        _assert_shut(mirror.ask(links["xorb"]), stopped)
        _assert_shut(
            mirror.ask(f"/-/cas/v2/reconstructions/{hash_}", token=links["token"]), stopped
        )


def test_a_pass_whose_credential_is_gone_spoils_nothing(mirror: Running, origin: Origin) -> None:
    """After a restart nobody can ask in alice's name; that says nothing about alice."""
    repo = _add(origin, "acme/gated", gated=True)
    links = _passes(mirror, "acme/gated", repo, "tokenA")
    assert mirror.ask(links["object"]).body == WEIGHTS
    mirror.settle()
    _restart(mirror, audience_lifetime="0s")
    for link in (links["object"], links["xorb"]):
        _assert_shut(mirror.ask(link), link)
    origin.stop()

    assert (
        mirror.ask(_file("acme/gated", "secret-name.safetensors"), token="tokenA").body == WEIGHTS
    )


# ── upstream ───────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _listener() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A host that nobody named: its URL, and the headers of each request that reached it."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_HEAD = do_GET  # noqa: N815 -- the library's word
        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


def test_a_credential_is_shown_to_the_hub_alone(mirror: Running, origin: Origin) -> None:
    """On every route alice's token goes to the hub and never to where the hub sends for the bytes."""
    repo = _add(origin, "acme/private")
    for ask in _documents("acme/private", repo):
        _send(mirror, ask, "tokenA")
    mirror.settle()

    assert any("tokenA" in seen.headers.get("authorization", "") for seen in origin.seen("hub"))
    elsewhere = [*origin.seen("cdn"), *origin.seen("cas")]
    assert elsewhere
    for seen in elsewhere:
        assert "tokenA" not in str(seen.headers), seen.path
        assert "authorization" not in seen.headers


@pytest.mark.parametrize("named", [False, True], ids=["unknown-host", "named-host"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_takes_no_credential_along(
    mirror: Running, origin: Origin, status: int, *, named: bool
) -> None:
    """A redirect off the hub's origin is followed without the token, or not at all."""
    _add(origin, "acme/private")
    with _listener() as (url, seen):
        if named:
            hosts = [*origin.redirect_hosts, url.removeprefix("http://")]
            _restart(mirror, redirect_hosts=",".join(hosts))
        for path, asked in (
            ("/api/models/acme/private/revision", _file("acme/private")),
            ("/acme/private/resolve/", _file("acme/private", "secret-name.safetensors")),
            ("/api/whoami-v2", "/api/whoami-v2"),
            ("info/refs", "/acme/private.git/info/refs?service=git-upload-pack"),
        ):
            origin.clear_faults()
            headers = {"Location": f"{url}/stolen"}
            origin.fault(Fault("status", server="hub", path=path, status=status, headers=headers))
            mirror.ask(asked, token="tokenA", headers={"Cookie": "session=tokenA"})
        assert bool(seen) is named
        for one in seen:
            assert "authorization" not in one
            assert "tokenA" not in str(one)


def test_a_credential_does_not_come_back_after_a_detour(mirror: Running, origin: Origin) -> None:
    """Sent away by the hub and back to it by the CDN, a request goes on as nobody's."""
    _add(origin, "acme/private")
    assert mirror.ask(_file("acme/private"), token="tokenA").status == 200
    back = {"Location": f"{origin.url}/acme/private/resolve/main/config.json?back=1"}
    origin.fault(Fault("status", server="cdn", status=302, headers=back, times=None))
    mirror.ask(_file("acme/private", "secret-name.safetensors"), token="tokenA")

    returned = origin.seen("hub", path="back=1")
    assert returned
    for seen in returned:
        assert "authorization" not in seen.headers


def test_a_page_may_not_lead_to_another_listing(mirror: Running, origin: Origin) -> None:
    """The next page of a listing is one of the same listing, on the same hub, whatever Link says."""
    origin.add_repo("models", "acme/open", files={"a.txt": b"a"})
    _add(origin, "acme/private")
    with _listener() as (url, seen):
        for link in (
            f"{url}/api/models/acme/open/tree/main?cursor=x",
            f"{origin.url}/api/models/acme/private/tree/main?recursive=true",
            f"{origin.url}/api/whoami-v2",
            "//127.0.0.1/api/models/acme/open/tree/main",
        ):
            origin.clear_log()
            origin.clear_faults()
            headers = {"Link": f'<{link}>; rel="next"'}
            origin.fault(Fault("headers", server="hub", path="/tree/", headers=headers, times=None))
            got = mirror.ask("/api/models/acme/open/tree/main?recursive=true", token="tokenA")
            assert url not in str(got.headers)
            assert not origin.seen("hub", path="acme/private|whoami")
        assert not seen


@pytest.mark.parametrize(
    "header", ["X-Error-Message", "X-Error-Code", "Content-Type", "Link", "X-Request-Id"]
)
def test_upstream_cannot_write_a_header_of_the_mirrors(
    mirror: Running, origin: Origin, header: str
) -> None:
    """What upstream says in a header stays in it: no line end, no second header, no script."""
    del origin
    with _hostile(header) as url:
        mirror.stop()
        mirror.settings = {"MODELMIRROR_HUGGINGFACE_UPSTREAMS": url}
        mirror.start()
        for path in (_file("acme/open"), "/api/whoami-v2", "/api/models/acme/open/commits/main"):
            got = mirror.ask(path)
            assert "x-evil" not in got.headers
            assert "set-cookie" not in got.headers
            assert got.headers["x-content-type-options"] == "nosniff"
            assert "sandbox" in got.headers["content-security-policy"]


@contextmanager
def _hostile(header: str) -> Iterator[str]:
    """An upstream whose *header* holds what could end a line, in the ways parsers differ about."""
    values = (
        b"a\rX-Evil: 1",
        b"a\x0bX-Evil: 1",
        b"a\xc4\x8dX-Evil: 1",
        b"<x>; rel=next\r X-Evil: 1",
    )
    turn = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            value = values[next(turn) % len(values)]
            self.wfile.write(
                b"HTTP/1.1 401 No\r\n" + header.encode() + b": " + value
                + b"\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
            )  # fmt: skip
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_one_callers_odd_request_does_not_end_service_for_others(
    mirror: Running, origin: Origin
) -> None:
    """Whatever a stranger makes upstream fail at, what upstream still answers is still asked."""
    origin.add_repo("models", "acme/open", files={"a.txt": b"a" * 100, "b.txt": b"b" * 100})
    assert mirror.ask(_file("acme/open", "a.txt")).status == 200
    origin.fault(Fault("status", server="hub", path="/api/odd", status=500, times=None))
    assert mirror.ask("/api/odd").status in {501, 502}

    assert mirror.ask(_file("acme/open", "b.txt"), method="HEAD").status == 200
    assert mirror.ask("/-/status").json()["state"] == "online"


def test_nobody_keeps_what_is_not_here_from_others(mirror: Running, origin: Origin) -> None:
    """Questions about a repo that upstream always fails at: others still get what is not here yet."""
    files = {f"{number}.txt": b"%d" % number for number in range(20)}
    origin.add_repo("models", "acme/open", files=files)
    origin.fault(Fault("status", server="hub", path="/mallory/", status=503, times=None))
    for number in range(20):
        assert mirror.ask(f"/api/models/mallory/repo-{number}").status == 501
        got = mirror.ask(_file("acme/open", f"{number}.txt"))
        assert (got.status, got.body) == (200, b"%d" % number)


def test_whoever_asks_too_much_waits_alone(mirror: Running, origin: Origin) -> None:
    """A caller who is told 429 is told so from here meanwhile; all others are served."""
    origin.add_repo("models", "acme/open", files={"a.txt": b"a"})
    _add(origin, "acme/private")
    wait = {"Retry-After": "600"}
    origin.fault(Fault("status", server="hub", status=429, headers=wait, times=1))
    assert mirror.ask(_file("acme/private"), token="tokenB").status == 429
    origin.clear_log()

    again = mirror.ask(_file("acme/private"), token="tokenB")
    assert (again.status, 1 <= int(again.headers["retry-after"]) <= 300) == (429, True)
    assert origin.log == []
    assert mirror.ask(_file("acme/private"), token="tokenA").body == CONFIG
    assert mirror.ask(_file("acme/open", "a.txt")).body == b"a"


def test_nobody_brings_an_outage_about_to_be_believed_longer(
    mirror: Running, origin: Origin
) -> None:
    """A revoked reader makes upstream fail at something else: the refusal still reaches him."""
    repo = _add(origin, "acme/private")
    origin.add_repo("models", "bob/own", files={"a.txt": b"a"})
    _restart(mirror, audience_lifetime="0s")
    assert mirror.ask(_file("acme/private"), token="tokenA").body == CONFIG
    assert mirror.ask(_file("bob/own", "a.txt")).status == 200
    origin.revoke("tokenA", repo)
    origin.fault(Fault("status", server="hub", path="/discussions", status=500, times=None))
    assert mirror.ask("/api/models/bob/own/discussions/1").status in {501, 502}

    _assert_shut(mirror.ask(_file("acme/private"), token="tokenA"))


def test_a_compressed_negotiation_reaches_upstream_as_it_was_meant(
    mirror: Running, origin: Origin
) -> None:
    """Git compresses what is long; the door has undone that, so nothing calls it compressed upstream."""
    repo = origin.add_repo("models", "acme/open", files={"a.txt": b"a"})
    asked = b"0014command=ls-refs\n0000"
    headers = {
        "Content-Type": "application/x-git-upload-pack-request",
        "Content-Encoding": "gzip",
        "Git-Protocol": "version=2",
    }
    got = mirror.ask(
        "/acme/open.git/git-upload-pack", method="POST", headers=headers, body=gzip.compress(asked)
    )
    assert (got.status, repo.commit.encode() in got.body) == (200, True)
    (seen,) = origin.seen("hub", method="POST")
    assert "content-encoding" not in seen.headers
