"""The operator's own gate: local users, a token of the mirror's own, and what may pass at all."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from mirror.cache.users import is_password, new_token, password_hash, read, token_hash
from mirror.names import Repo
from tests.mirror.running import Got, Running, files_below
from tests.origin import Origin

WEIGHTS: Final = bytes(range(256)) * 8192  # 2 MiB
PICKLE: Final = b"\x80\x04canary-of-a-pickle." + bytes(range(256)) * 4096
OWN: Final = "hf_canaryOwnTokenOfTheMirror"
ALICE, BOB = new_token(), new_token()
PASSWORD: Final = "canary-password-of-carol"
FILE: Final = "/acme/tiny/resolve/main/model.safetensors"


def _basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def _users(file: Path, **reads: list[str]) -> None:
    """Write the file of users; those that *reads* names read that instead."""
    secrets = {
        "alice": f'tokens = ["{token_hash(ALICE)}"]',
        "bob": f'tokens = ["{token_hash(BOB)}"]',
        "carol": f'password = "{password_hash(PASSWORD)}"',
        "anonymous": "",
    }
    sections = [
        f"[{name}]\n{secrets[name]}\nread = {json.dumps(patterns)}\n"
        for name, patterns in reads.items()
    ]
    beside = file.with_suffix(".new")
    beside.write_text("\n".join(sections))
    beside.replace(file)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Alice reads everything, bob and carol what acme has."""
    file = tmp_path / "users.toml"
    _users(file, alice=["*"], bob=["acme/*"], carol=["acme/*"])
    return file


@pytest.fixture
def serve(tmp_path: Path, origin: Origin) -> Callable[..., Running]:
    """Start a mirror with settings, given by their variables without the prefix."""

    def start(**settings: str) -> Running:
        named = {f"MODELMIRROR_{name}": value for name, value in settings.items()}
        return Running(tmp_path / "data", origin, (), named)

    return start


@pytest.fixture
def repos(origin: Origin) -> None:
    """A public repo, one of others, and a gated and a private one that the mirror's own token reads."""
    files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": PICKLE}
    origin.tokens = {**origin.tokens, OWN: "the-mirror"}
    origin.add_repo("models", "acme/tiny", files=dict(files))
    origin.add_repo("models", "other/tiny", files=dict(files))
    origin.add_repo("models", "acme/gated", files=dict(files), gated="auto", readers=(OWN,))
    origin.add_repo("models", "lab/private", files=dict(files), private=True, readers=(OWN,))


def _sent(origin: Origin) -> set[str]:
    return {seen.headers.get("authorization", "") for seen in origin.log}


def _routes(repo: str, commit: str, oid: str) -> list[tuple[str, str]]:
    return [
        ("GET", f"/{repo}/resolve/main/config.json"),
        ("HEAD", f"/{repo}/resolve/main/config.json"),
        ("GET", f"/{repo}/raw/main/config.json"),
        ("GET", f"/api/models/{repo}"),
        ("GET", f"/api/models/{repo}/tree/main"),
        ("GET", f"/api/models/{repo}/refs"),
        ("GET", f"/api/models/{repo}/likers"),
        ("GET", f"/api/models/{repo}/xet-read-token/{commit}"),
        ("GET", f"/api/resolve-cache/models/{repo}/{commit}/config.json"),
        ("GET", f"/{repo}.git/info/refs?service=git-upload-pack"),
        ("GET", f"/{repo}.git/info/lfs/objects/{oid}"),
        ("GET", f"/v2/{repo}/blobs/sha256:{oid}"),
        ("GET", f"/v2/{repo}/manifests/latest"),
    ]


# ── local users ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("repos")
def test_strangers_are_asked_who_they_are_on_every_route(
    serve: Callable[..., Running], origin: Origin, users: Path
) -> None:
    """No credential, a hub's token and a made-up one: 401, a challenge that git heeds, nothing asked."""
    repo = origin.repo("models", "acme/tiny")
    oid = repo.entry("model.safetensors").sha256
    with serve(ACCESS_USERS=str(users)) as mirror:
        strangers: tuple[Mapping[str, str], ...] = (
            {},
            {"Authorization": "Bearer tokenA"},
            {"Authorization": f"Bearer {new_token()}"},
            {"Authorization": "Digest username=alice"},
            {"Authorization": "Basic not-base64"},
            _basic("carol", "wrong"),
            _basic("alice", PASSWORD),
            _basic("nobody", new_token()),
        )
        more = [("GET", "/api/models?search=tiny"), ("GET", "/api/whoami-v2"), ("GET", "/v2/")]
        for method, path in [*_routes("acme/tiny", repo.commit, oid), *more]:
            for headers in strangers[:3]:
                got = mirror.ask(path, method=method, headers=headers)
                assert got.status == 401, (path, headers, got)
                assert got.headers["www-authenticate"].startswith("Basic ")
                assert "HF_TOKEN" in got.headers["x-error-message"]
        for headers in strangers:
            assert mirror.ask(FILE, headers=headers).status == 401, headers
        for path in ("/", "/-/live", "/-/status", "/-/metrics"):
            assert mirror.ask(path).status == 200
    assert origin.log == []


@pytest.mark.usefixtures("repos")
def test_users_read_what_they_may_and_nothing_of_theirs_goes_upstream(
    serve: Callable[..., Running], origin: Origin, users: Path
) -> None:
    """By token, by password, by a token as git sends it; beyond their patterns they are told why."""
    repo = origin.repo("models", "other/tiny")
    oid = repo.entry("model.safetensors").sha256
    with serve(ACCESS_USERS=str(users), LOG_LEVEL="debug") as mirror:
        ways: tuple[Mapping[str, str], ...] = (
            {"Authorization": f"Bearer {ALICE}"},
            {"Authorization": f"Bearer {BOB}"},
            _basic("carol", PASSWORD),
            _basic("carol", PASSWORD),
            _basic("whoever", BOB),
        )
        for headers in ways:
            got = mirror.ask(FILE, headers=headers)
            assert (got.status, got.body) == (200, WEIGHTS), headers
        assert mirror.ask("/other/tiny/resolve/main/config.json", token=ALICE).status == 200
        origin.clear_log()
        for method, path in _routes("other/tiny", repo.commit, oid):
            got = mirror.ask(path, method=method, token=BOB)
            assert got.status == 403, (path, got)
            assert "bob may not read other/tiny" in got.headers["x-error-message"]
        unknown = mirror.ask("/other/no-such/resolve/main/config.json", token=BOB)
        assert unknown.status == 403
        assert origin.log == []
        refs = mirror.ask(
            "/acme/tiny.git/info/refs?service=git-upload-pack", headers=_basic("b", BOB)
        )
        assert refs.status == 200
        pages = [mirror.ask(path).body for path in ("/", "/-/status", "/-/metrics")]
    assert _sent(origin) == {""}
    kept = [(mirror.data / name).read_bytes() for name, _ in files_below(mirror.data)]
    for text in (*pages, *kept, mirror.log.read_bytes()):
        for canary in (ALICE, BOB, PASSWORD, _basic("carol", PASSWORD)["Authorization"][6:]):
            assert canary.encode() not in text


@pytest.mark.usefixtures("repos")
def test_passes_are_for_whom_they_were_made(
    serve: Callable[..., Running], origin: Origin, users: Path
) -> None:
    """Links of git-lfs and tokens of the Xet store need no credential, until their user is gone."""
    entry = origin.repo("models", "acme/tiny").entry("model.safetensors")
    commit = origin.repo("models", "acme/tiny").commit
    with serve(ACCESS_USERS=str(users)) as mirror:
        asked = {"operation": "download", "objects": [{"oid": entry.sha256, "size": len(WEIGHTS)}]}
        batch = mirror.ask(
            "/acme/tiny.git/info/lfs/objects/batch",
            method="POST",
            token=BOB,
            body=json.dumps(asked).encode(),
        )
        link = batch.json()["objects"][0]["actions"]["download"]["href"].removeprefix(mirror.url)
        token = mirror.ask(f"/api/models/acme/tiny/xet-read-token/{commit}", token=BOB).json()
        cas = f"/-/cas/v2/reconstructions/{entry.xet_hash}"

        assert mirror.ask(link).body == WEIGHTS
        found = mirror.ask(cas, token=token["accessToken"])
        assert found.status == 200
        xorb = _first_xorb(found).removeprefix(mirror.url)
        assert mirror.ask(xorb, headers={"Range": "bytes=0-99"}).status == 206

        _users(users, alice=["*"])
        mirror.wait_for(lambda: mirror.ask(link).status == 401)
        assert mirror.ask(cas, token=token["accessToken"]).status == 401
        assert mirror.ask(xorb, headers={"Range": "bytes=0-99"}).status == 401
        assert mirror.ask(FILE, token=BOB).status == 401

        users.write_text("[alice")  # half written: those who are known stay
        assert mirror.ask(FILE, token=ALICE).status == 200
        mirror.wait_for(lambda: bool(mirror.ask(FILE, token=ALICE).status == 200) and _stay(mirror))


def _first_xorb(found: Got) -> str:
    return json.dumps(found.json()).split('"url": "')[1].split('"')[0]


def _stay(mirror: Running) -> bool:
    return "The users stay as they were" in mirror.log.read_text()


@pytest.mark.usefixtures("repos")
def test_anonymous_readers_are_those_of_their_section(
    serve: Callable[..., Running], origin: Origin, users: Path
) -> None:
    """A section called anonymous opens some repos to whoever does not say who they are."""
    _users(users, anonymous=["other/*"], bob=["acme/*"])
    with serve(ACCESS_USERS=str(users)) as mirror:
        assert mirror.ask("/other/tiny/resolve/main/config.json").status == 200
        assert mirror.ask(FILE).status == 401
        assert mirror.ask("/other/tiny/resolve/main/config.json", token=BOB).status == 403
        wrong = mirror.ask("/other/tiny/resolve/main/config.json", token="tokenA")
        assert wrong.status == 401
    assert _sent(origin) == {""}


@pytest.mark.usefixtures("repos")
def test_a_local_token_goes_nowhere_without_local_users_either(
    mirror: Running, origin: Origin
) -> None:
    """A client set up for a mirror with users, at one without: its token is no hub's business."""
    for headers in ({"Authorization": f"Bearer {ALICE}"}, _basic("x", ALICE)):
        assert mirror.ask(FILE, headers=headers).status == 200
        assert mirror.ask("/api/whoami-v2", headers=headers).status == 401
        path = "/acme/tiny.git/info/refs?service=git-upload-pack"
        assert mirror.ask(path, headers=headers).status == 200
    assert _sent(origin) == {""}


# ── a token of the mirror's own ────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("repos")
def test_the_own_token_is_for_its_repos_and_readers_alone(
    serve: Callable[..., Running], origin: Origin, users: Path, tmp_path: Path
) -> None:
    """Alice reads the listed repos, bob, who is not named, is refused as a stranger is; outages too."""
    held = tmp_path / "token"
    held.write_text(OWN + "\n")
    gated, private = "/acme/gated/resolve/main/config.json", "/lab/private/resolve/main/config.json"
    _users(users, alice=["*"], bob=["*"])
    settings = {
        "ACCESS_USERS": str(users),
        "HUGGINGFACE_TOKEN_FILE": str(held),
        "HUGGINGFACE_TOKEN_REPOS": "acme/gated=alice,lab/*=alice+dora",
        "LOG_LEVEL": "debug",
    }
    with serve(**settings) as mirror:
        assert mirror.ask(gated, token=BOB).status == 401
        assert mirror.ask(private, token=BOB).status == 401
        assert _sent(origin) == {""}
        for path in (gated, private):
            assert mirror.ask(path, token=ALICE).status == 200
        assert mirror.ask(FILE, token=ALICE).status == 200
        for seen in origin.log:
            if seen.headers.get("authorization"):
                assert seen.headers["authorization"] == f"Bearer {OWN}"
                assert "acme/gated" in seen.path or "lab/private" in seen.path
        assert _sent(origin) == {"", f"Bearer {OWN}"}
        assert mirror.ask(gated, token=BOB).status in {401, 403}
        assert mirror.ask(private, token=BOB).status in {401, 404}
        mirror.settle()
        origin.stop()
        assert mirror.ask(gated, token=ALICE).status == 200
        assert mirror.ask(gated, token=BOB).status in {401, 403}
        assert mirror.ask(private, token=BOB).status == 501
        pages = [mirror.ask(path).body for path in ("/", "/-/status", "/-/metrics")]
    kept = [(mirror.data / name).read_bytes() for name, _ in files_below(mirror.data)]
    for text in (*pages, *kept, mirror.log.read_bytes()):
        assert OWN.encode() not in text


@pytest.mark.usefixtures("repos")
def test_everyone_may_be_named_where_there_are_no_users(
    serve: Callable[..., Running], origin: Origin
) -> None:
    """Whoever reaches the mirror reads a repo that is listed for everyone, whatever they send."""
    settings = {"HUGGINGFACE_TOKEN": OWN, "HUGGINGFACE_TOKEN_REPOS": "acme/gated=everyone"}
    with serve(**settings) as mirror:
        for token in (None, "tokenB", "not-a-token"):
            path = "/acme/gated/resolve/main/config.json"
            assert mirror.ask(path, token=token).status == 200
        assert mirror.ask("/lab/private/resolve/main/config.json").status == 401
        refs = "/acme/gated.git/info/refs?service=git-upload-pack"
        assert mirror.ask(refs).status == 200
    for seen in origin.log:
        if "lab/private" in seen.path:
            assert "authorization" not in seen.headers
    assert "Bearer tokenB" not in _sent(origin)


@pytest.mark.usefixtures("repos")
def test_a_name_that_leads_to_another_repo_by_now_is_not_what_was_listed(
    serve: Callable[..., Running], origin: Origin
) -> None:
    """The token is for the repos listed, not for what their old names lead to."""
    origin.rename(origin.repo("models", "acme/gated"), "lab/secret")
    settings = {"HUGGINGFACE_TOKEN": OWN, "HUGGINGFACE_TOKEN_REPOS": "acme/*=everyone"}
    with serve(**settings) as mirror:
        got = mirror.ask("/acme/gated/resolve/main/config.json")
        assert got.status == 403
        assert "lab/secret" in got.headers["x-error-message"]
        assert mirror.ask("/lab/secret/resolve/main/config.json").status == 401


# ── what may pass at all ───────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("repos")
def test_denied_repos_are_neither_asked_for_nor_served(
    serve: Callable[..., Running], origin: Origin
) -> None:
    """In any case, on every route, under an old name too, and what is here already as well."""
    repo = origin.repo("models", "other/tiny")
    oid = repo.entry("model.safetensors").sha256
    with serve() as mirror:
        assert mirror.ask("/other/tiny/resolve/main/config.json").status == 200
    origin.clear_log()
    with serve(ACCESS_DENY_REPOS="other/*,lab/*") as mirror:
        for name in ("other/tiny", "Other/TINY"):
            for method, path in _routes(name, repo.commit, oid):
                got = mirror.ask(path, method=method, token="tokenA")
                assert got.status == 403, (path, got)
                assert "its deny list has other/*" in got.headers["x-error-message"]
        assert origin.log == []
        assert mirror.ask(FILE).status == 200
        origin.rename(origin.repo("models", "acme/tiny"), "lab/moved")
    with serve(ACCESS_DENY_REPOS="lab/*", HUGGINGFACE_REF_LIFETIME="0s") as mirror:
        got = mirror.ask(FILE)
        assert got.status == 403
        assert "its deny list has lab/*" in got.headers["x-error-message"]
    with serve(ACCESS_ALLOW_REPOS="acme/*,dataset:*") as mirror:
        assert mirror.ask("/lab/moved/resolve/main/config.json").status == 403
        assert mirror.ask("/datasets/acme/none/resolve/main/config.json").status == 401


@pytest.mark.usefixtures("repos")
def test_safetensors_only_lets_no_pickle_pass_on_any_route(
    serve: Callable[..., Running], origin: Origin
) -> None:
    """Lists still name it; its bytes go out nowhere, by name or by digest, and are not even fetched."""
    repo = origin.repo("models", "acme/tiny")
    entry = repo.entry("pytorch_model.bin")
    path = f"/acme/tiny/resolve/{repo.commit}/pytorch_model.bin"
    plain: dict[str, str] = {}

    def refused(got: Got) -> None:
        assert got.status == 403, got
        assert b"canary-of-a-pickle" not in got.body
        assert "pytorch_model.bin" in got.headers["x-error-message"]
        assert "safetensors-only" in got.headers["x-error-message"]

    with serve() as mirror:
        assert mirror.ask(path).body == PICKLE
        asked = {"operation": "download", "objects": [{"oid": entry.sha256, "size": entry.size}]}
        body = json.dumps(asked).encode()
        lfs = mirror.ask("/acme/tiny.git/info/lfs/objects/batch", method="POST", body=body)
        link = lfs.json()["objects"][0]["actions"]["download"]["href"].removeprefix(mirror.url)
        token = mirror.ask(f"/api/models/acme/tiny/xet-read-token/{repo.commit}").json()
        cas = f"/-/cas/v2/reconstructions/{entry.xet_hash}"
        found = mirror.ask(cas, token=token["accessToken"])
        xorb = _first_xorb(found).removeprefix(mirror.url)
        mirror.settle()
    origin.clear_log()
    with serve(ACCESS_ALLOW_FILES="safetensors-only") as mirror:
        for method, target, headers in (
            ("GET", path, plain),
            ("HEAD", path, plain),
            ("GET", path, {"Range": "bytes=0-9"}),
            ("GET", path, {"If-None-Match": f'"{entry.sha256}"'}),
            ("GET", path, {"Range": "bytes=99999999-"}),
            ("GET", f"/acme/tiny/resolve/{repo.commit}/pytorch_model.bin?download=true", plain),
            ("GET", f"/acme/tiny.git/info/lfs/objects/{entry.sha256}", plain),
            ("GET", link, plain),
            ("GET", f"/v2/acme/tiny/blobs/sha256:{entry.sha256}", plain),
            ("GET", xorb, {"Range": "bytes=0-99"}),
        ):
            refused(mirror.ask(target, method=method, headers=headers))
        assert not origin.seen("cdn")
        assert mirror.ask(FILE).status == 200
        assert mirror.ask("/acme/tiny/resolve/main/config.json").status == 200
        tree = mirror.ask("/api/models/acme/tiny/tree/main").json()
        assert "pytorch_model.bin" in {item["path"] for item in tree}
        clone = mirror.ask("/acme/tiny.git/info/refs?service=git-upload-pack")
        assert clone.status == 403
        assert clone.headers["content-type"].startswith("text/plain")
        assert b"cannot be cloned" in clone.body
    with serve(ACCESS_DENY_FILES="*.BIN") as mirror:
        got = mirror.ask(path)
        assert got.status == 403
        assert "its deny list has *.BIN" in got.headers["x-error-message"]
        assert mirror.ask("/acme/tiny/resolve/main/config.json").status == 200


# ── at the terminal ────────────────────────────────────────────────────────────────────────────────


def _run(*command: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _mirror(
    *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return _run(sys.executable, "-m", "mirror", *arguments, stdin=stdin, **environment)


@pytest.mark.usefixtures("repos")
def test_the_reason_stands_in_the_clients_terminal(
    serve: Callable[..., Running], tmp_path: Path, users: Path
) -> None:
    """What hf and git print when the operator says no, and that both work when not."""
    hf = (sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()")

    def download(mirror: Running, *arguments: str, token: str = "") -> tuple[int, str]:
        done = _run(
            *hf, "download", *arguments, "--cache-dir", tempfile.mkdtemp(dir=tmp_path),
            HF_ENDPOINT=mirror.url, HF_HOME=str(tmp_path / "home"), HF_TOKEN=token,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def clone(mirror: Running, user: str) -> subprocess.CompletedProcess[str]:
        url = mirror.url.replace("http://", f"http://{user}")
        return _run(
            "git", "clone", "-q", f"{url}/acme/tiny", str(tmp_path / f"clone-{len(user)}"),
            GIT_TERMINAL_PROMPT="0", GIT_LFS_SKIP_SMUDGE="1",
        )  # fmt: skip

    with serve(ACCESS_USERS=str(users)) as mirror:
        code, said = download(mirror, "acme/tiny", "config.json")
        assert code != 0
        assert "wants to know who you are. Set HF_TOKEN" in said
        code, said = download(mirror, "other/tiny", "config.json", token=BOB)
        assert code != 0
        assert "bob may not read other/tiny through this mirror" in said
        code, said = download(mirror, "acme/tiny", token=BOB)
        assert code == 0, said
        assert clone(mirror, "").returncode != 0
        done = clone(mirror, f"bob:{BOB}@")
        assert done.returncode == 0, done.stderr
    with serve(ACCESS_ALLOW_FILES="safetensors-only") as mirror:
        code, said = download(mirror, "acme/tiny", "pytorch_model.bin")
        assert code != 0
        assert (
            "does not serve pytorch_model.bin of acme/tiny: its files are safetensors-only" in said
        )
        done = clone(mirror, "")
        assert done.returncode != 0
        assert "remote: This mirror does not pass every file" in done.stderr


def test_user_writes_entries_that_serve_reads(tmp_path: Path) -> None:
    """A token is shown once and apart, a password comes from standard input, neither is in the entry."""
    token = _mirror("user", "ci", "--read", "acme/*", "--read", "dataset:acme/*")
    assert token.returncode == 0
    shown = token.stderr.split()[-1]
    assert shown.startswith("mm_")
    password = _mirror("user", "carol", "--password", stdin=f"{PASSWORD}\n")
    anonymous = _mirror("user", "anonymous", "--read", "open/*")
    text = token.stdout + password.stdout + anonymous.stdout
    assert shown not in text
    assert PASSWORD not in text
    file = tmp_path / "users.toml"
    file.write_text(text)
    known = read(file)
    assert set(known.users) == {"ci", "carol", "anonymous"}
    assert known.tokens == {token_hash(shown): "ci"}
    assert is_password(PASSWORD, known.passwords["carol"])
    assert known.users["ci"].may_read(Repo("huggingface", "datasets/acme/x"))
    assert not known.users["ci"].may_read(Repo("huggingface", "models/other/x"))
    for wrong in (("user", "everyone"), ("user", "ci", "--read", "a b"), ("user", "a b")):
        done = _mirror(*wrong)
        assert done.returncode == 2
        assert "There can be no such user" in done.stderr
    assert _mirror("user", "carol", "--password", stdin="\n").returncode == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ACCESS_USERS": "/no/such/users.toml"}, "/no/such/users.toml"),
        ({"ACCESS_DENY_REPOS": "a b"}, "access.deny_repos"),
        ({"ACCESS_DENY_FILES": "/etc/*"}, "/etc/*"),
        ({"HUGGINGFACE_TOKEN": OWN}, "huggingface.token_repos"),
        ({"HUGGINGFACE_TOKEN": OWN, "HUGGINGFACE_TOKEN_REPOS": "acme/*"}, "who may read"),
        ({"HUGGINGFACE_TOKEN": OWN, "HUGGINGFACE_TOKEN_REPOS": "acme/*=bob"}, "no local users"),
        ({"HUGGINGFACE_TOKEN": f"{OWN} x"}, "huggingface.token"),
        ({"HUGGINGFACE_TOKEN_REPOS": "acme/*=everyone"}, "huggingface.token_file"),
        ({"LIMITS_CONNECTIONS": "0"}, "limits.connections"),
    ],
)
def test_a_wrong_setting_of_access_is_named(
    tmp_path: Path, settings: Mapping[str, str], words: str
) -> None:
    """Exit code 2, one sentence, and no token in it."""
    named = {f"MODELMIRROR_{name}": value for name, value in settings.items()}
    done = _mirror("serve", "--port", "0", "--data", str(tmp_path / "data"), **named)
    assert done.returncode == 2
    assert words in done.stderr
    assert OWN not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_is_taken_from_no_flag_and_shown_nowhere() -> None:
    """There is no flag for it, and `config show` tells only that one is set."""
    assert "--huggingface-token" not in _mirror("serve", "--help").stdout
    assert _mirror("serve", "--token", OWN).returncode == 2
    settings = {"MODELMIRROR_HUGGINGFACE_TOKEN": OWN}
    for more in ((), ("--json",)):
        done = _mirror("config", "show", *more, **settings)
        assert done.returncode == 0
        assert OWN not in done.stdout
        assert "MODELMIRROR_HUGGINGFACE_TOKEN" in done.stdout
