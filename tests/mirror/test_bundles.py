"""Bundles from an online mirror to one without a network, with huggingface_hub as the client."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mirror.store.layout import Layout
from mirror.upkeep.reach import order
from tests.hosts import Hosts
from tests.mirror import test_spacy, test_tfhub
from tests.mirror.adopting import client, contents, environment
from tests.mirror.bundling import OFFLINE, Key, flip, make_key, modelmirror, stored
from tests.mirror.running import Running
from tests.origin import Origin

OPEN = {"config.json": b"{}", "model.safetensors": os.urandom(3_000_000)}
OTHER = {"config.json": b'{"a": 1}', "sub/weights.bin": os.urandom(1_500_000), "empty.txt": b""}
GATED = {"config.json": b'{"gated": true}', "model.safetensors": os.urandom(2_000_000)}
TABLE = {"3.8": {"en_core_web_sm": ["3.8.0"]}}
LEAVE = ("--offline",)


@pytest.fixture
def key(tmp_path: Path) -> Key:
    """The sender's key."""
    return make_key(tmp_path / "keys")


@pytest.fixture
def filled(origin: Origin, tmp_path: Path) -> Path:
    """The data folder of a mirror that has two public repos and a gated one."""
    origin.add_repo("models", "acme/open", OPEN)
    origin.add_repo("models", "acme/other", OTHER)
    origin.add_repo("models", "acme/gated", GATED, gated="auto", readers=("tokenA",))
    with Running(tmp_path / "online", origin) as mirror:
        for name, token in (("open", None), ("other", None), ("gated", "tokenA")):
            said = f"snapshot_download('acme/{name}', token={token!r})"
            client(mirror.url, tmp_path / "client", said)
        mirror.settle()
    return tmp_path / "online"


TARGETS = ("acme/open", "acme/other", "acme/gated")


def _loads(url: str, tmp_path: Path, name: str, files: dict[str, bytes], token: str = "") -> None:
    cache = tmp_path / f"empty-{name}-{len(list(tmp_path.iterdir()))}"
    client(url, cache, f"snapshot_download('acme/{name}', token={token or None!r})")
    (snapshot,) = cache.glob(f"models--acme--{name}/snapshots/*")
    assert contents(snapshot) == files


def _refused(token: str) -> str:
    """Code that asks for the gated repo, and prints how it is refused."""
    return f"""
try:
    hf_hub_download("acme/gated", "config.json", token={token!r})
except Exception as error:
    while not hasattr(error, "response") and error.__cause__:
        error = error.__cause__
    print(type(error).__name__, error.response.status_code)
"""


def _users(folder: Path, *names: str) -> tuple[Path, dict[str, str]]:
    """A file of local users, who may read all that they are granted, and the token of each."""
    users, tokens = folder / "users.toml", {}
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", "mirror", "user", name],
            capture_output=True,
            text=True,
            check=True,
            env=environment(),
        )
        with users.open("a") as file:
            file.write(done.stdout)
        tokens[name] = done.stderr.split()[-1]
    return users, tokens


def test_three_repos_in_three_parts_survive_a_flipped_bit(
    origin: Origin, tmp_path: Path, filled: Path, key: Key
) -> None:
    """Exported since what the receiver has; refused whole with the part named; then loaded offline."""
    receiver = tmp_path / "offline"
    bundle = tmp_path / "bundle.tar"
    # The receiver has one of the three already.
    first = tmp_path / "first.tar"
    done = modelmirror("export", first, "acme/open", "--data", filled, "--sign", key.private)
    assert done.code == 0, done.err
    done = modelmirror("import", first, "--data", receiver, "--signers", key.signers)
    assert done.code == 0, done.err
    has = tmp_path / "has.json"
    has.write_bytes(modelmirror("manifest", "--data", receiver).out)

    words = ("--data", filled, "--sign", key.private, "--since", has, "--split", "1300KiB")
    done = modelmirror("export", bundle, *TARGETS, *words, "--json")
    assert done.code == 0, done.err
    parts = [Path(name) for name in done.report["files"]]
    assert [part.name for part in parts] == [f"bundle.tar.00{n}" for n in (1, 2, 3)]
    assert sum(part.stat().st_size for part in parts) < 4_000_000
    assert done.report["held"] == 3  # with the empty file that every mirror has

    before = stored(receiver)
    flip(parts[1], 500_000)
    taking = ("--data", receiver, "--signers", key.signers, "--grant", "acme/gated=carol")
    done = modelmirror("import", *reversed(parts), *taking)
    assert done.code == 1
    assert f"Damaged is part 2 of 3 ({parts[1]})" in done.err
    assert stored(receiver) == before
    users, tokens = _users(tmp_path, "carol", "dave")
    token = tokens["carol"]
    flags = (*LEAVE, "--users", str(users))
    with Running(receiver, origin, flags=flags) as mirror:
        assert mirror.ask("/acme/other/resolve/main/config.json", token=token).status == 501

    flip(parts[1], 500_000)
    done = modelmirror("import", *parts, *taking, "--json")
    assert done.code == 0, done.err
    assert done.report["undecided"] == []
    with Running(receiver, origin, flags=flags) as mirror:
        _loads(mirror.url, tmp_path, "open", OPEN, token)
        _loads(mirror.url, tmp_path, "other", OTHER, token)
        _loads(mirror.url, tmp_path, "gated", GATED, token)
        # Who was not granted it has what is public, and of the rest a refusal.
        _loads(mirror.url, tmp_path, "other", OTHER, tokens["dave"])
        said = client(mirror.url, tmp_path / "empty", _refused(tokens["dave"]))
        assert said.split() == ["GatedRepoError", "403"]
    with Running(receiver, origin, flags=LEAVE) as mirror:
        _loads(mirror.url, tmp_path, "open", OPEN)
        refused = mirror.ask("/acme/gated/resolve/main/config.json")
        assert refused.status in {401, 403}
        assert refused.headers["x-error-code"] == "GatedRepo"
        assert mirror.ask("/acme/gated/resolve/main/config.json", token=token).status >= 400


def test_what_is_not_public_is_listed_with_the_line_that_opens_it(
    origin: Origin, tmp_path: Path, filled: Path, key: Key
) -> None:
    """Without a grant a gated repo is stored and shown to nobody."""
    receiver, bundle = tmp_path / "offline", tmp_path / "bundle.tar"
    assert modelmirror("export", bundle, "--all", "--data", filled, "--sign", key.private).code == 0
    taking = ("--data", receiver, "--signers", key.signers)
    done = modelmirror("import", bundle, *taking)
    line = "modelmirror grant acme/gated everyone"
    assert f"not open to all: acme/gated: it is gated. To open it: {line}" in done.out.decode()
    with Running(receiver, origin, flags=LEAVE) as mirror:
        _loads(mirror.url, tmp_path, "open", OPEN)
        file = "/acme/gated/resolve/main/model.safetensors"
        assert mirror.ask(file).status in {401, 403}
        assert modelmirror(*line.split()[1:], "--data", receiver).code == 0
        assert mirror.ask(file).body == GATED["model.safetensors"]


def test_upstream_has_the_last_word_on_who_may_read(
    origin: Origin, tmp_path: Path, filled: Path, key: Key
) -> None:
    """A repo that was public when it was exported and is private now is not shown on the bundle's word."""
    receiver, bundle = tmp_path / "other", tmp_path / "bundle.tar"
    words = ("acme/open", "acme/other", "--data", filled, "--sign", key.private)
    assert modelmirror("export", bundle, *words).code == 0
    origin.set_access(origin.repo("models", "acme/open"), private=True)
    taking = ("--data", receiver, "--signers", key.signers)
    settings = {
        "MODELMIRROR_HUGGINGFACE_UPSTREAMS": origin.url,
        "MODELMIRROR_REDIRECT_HOSTS": ",".join(origin.redirect_hosts),
    }
    done = modelmirror("import", bundle, *taking, "--json", settings=settings)
    assert [item["repo"] for item in done.report["undecided"]] == ["acme/open"], done.err
    with Running(receiver, origin, flags=LEAVE) as mirror:
        assert mirror.ask("/acme/open/resolve/main/config.json").status == 501
        assert mirror.ask("/acme/other/resolve/main/config.json").status == 200


def test_a_bundle_goes_through_pipes_from_one_live_mirror_to_another(
    origin: Origin, tmp_path: Path, filled: Path, key: Key
) -> None:
    """Standard output to standard input, both servers running; then only what is new is sent."""
    receiver = tmp_path / "offline"
    flags = ("--data", filled, "--sign", key.private, "--since-last", "site")
    taking = ("--data", receiver, "--signers", key.signers)
    with Running(filled, origin) as sender, Running(receiver, origin, flags=LEAVE) as mirror:
        sent = modelmirror("export", "-", "acme/open", *flags)
        assert sent.code == 0, sent.err
        done = modelmirror("import", "-", *taking, stdin=sent.out)
        assert done.code == 0, done.err
        _loads(mirror.url, tmp_path, "open", OPEN)
        assert sender.ask("/acme/other/resolve/main/config.json").status == 200
        more = modelmirror("export", "-", "acme/open", "acme/other", *flags)
        assert more.code == 0, more.err
        assert len(more.out) < 2_000_000 < len(sent.out)
        assert modelmirror("import", "-", *taking, stdin=more.out).code == 0
        _loads(mirror.url, tmp_path, "other", OTHER)
        # The first one again would be a step back.
        old = modelmirror("import", "-", *taking, stdin=sent.out)
        assert (old.code, "number 1 of its series, and number 2 is here" in old.err) == (1, True)
        allowed = modelmirror("import", "-", *taking, "--allow-rollback", stdin=sent.out)
        assert allowed.code == 0, allowed.err


def test_who_signed_is_asked_before_anything_is_read(
    tmp_path: Path, filled: Path, key: Key
) -> None:
    """Unsigned, signed by somebody else, signed and changed: refused, each with what to do."""
    receiver = tmp_path / "offline"
    unsigned, signed = tmp_path / "unsigned.tar", tmp_path / "signed.tar"
    assert modelmirror("export", unsigned, "acme/open", "--data", filled).code == 0
    words = ("export", signed, "acme/open", "--data", filled, "--sign", key.private)
    assert modelmirror(*words).code == 0
    other = make_key(tmp_path / "keys", "stranger")
    cases = (
        (unsigned, ("--signers", key.signers), "It is not signed"),
        (signed, (), "whose signatures to believe is not set here"),
        (signed, ("--signers", other.signers), "which is none of those in"),
    )
    for bundle, flags, sentence in cases:
        done = modelmirror("import", bundle, "--data", receiver, *flags)
        assert (done.code, sentence in done.err) == (1, True), done.err
    flip(signed, 700)
    done = modelmirror("import", signed, "--data", receiver, "--signers", key.signers)
    assert (done.code, "either was changed on the way" in done.err) == (1, True), done.err
    assert not list((receiver / "v1" / "incoming").iterdir())
    assert modelmirror("import", unsigned, "--data", receiver, "--allow-unsigned").code == 0


def test_models_of_other_hosts_are_served_where_there_is_no_network(
    origin: Origin, tmp_path: Path
) -> None:
    """A checkpoint of PyTorch and a module of TF Hub, by the addresses that their clients ask for."""
    body = os.urandom(1_200_000)
    with Hosts() as hosts:
        hosts.put("download.pytorch.org", "/models/toy.pth", body)
        settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting("download.pytorch.org")}
        with Running(tmp_path / "online", origin, settings=settings) as mirror:
            assert mirror.ask("/-/torch/models/toy.pth").body == body
            mirror.settle()
    for number, what in enumerate((("torch:toy.pth",), ("--all",))):
        bundle, receiver = tmp_path / f"{number}.tar", tmp_path / f"offline-{number}"
        done = modelmirror("export", bundle, *what, "--data", tmp_path / "online")
        assert done.code == 0, done.err
        assert modelmirror("import", bundle, "--data", receiver, "--allow-unsigned").code == 0
        with Running(receiver, origin, flags=LEAVE) as mirror:
            assert mirror.ask("/-/torch/models/toy.pth").body == body
            got = mirror.ask("/-/host/download.pytorch.org/models/toy.pth")
            assert (got.status, got.body) == (200, body)
    missing = modelmirror(
        "export", tmp_path / "none.tar", "acme/never", "--data", tmp_path / "online"
    )
    assert missing.code == 1
    assert "has never been here" in missing.err
    assert not (tmp_path / "none.tar").exists()


def test_what_is_made_and_what_is_listed_is_served_there_too(
    origin: Origin, tmp_path: Path
) -> None:
    """An archive of TF Hub that the mirror makes anew, and a package of spaCy with its page for pip."""
    handle = f"/-/host/{test_tfhub.TFHUB}{test_tfhub.HANDLE}?{test_tfhub.FORMAT}"
    online, bundle = tmp_path / "online", tmp_path / "bundle.tar"
    with Hosts() as hosts:
        test_tfhub.publish(hosts, test_tfhub.archive())
        test_spacy.publish(hosts)
        hosts.put(test_spacy.RAW, test_spacy.TABLE, json.dumps({"spacy": TABLE}).encode())
        places = hosts.setting(
            *(test_tfhub.TFHUB, test_tfhub.KAGGLE, test_tfhub.STORAGE),
            *(test_spacy.RAW, test_spacy.SITE, test_spacy.ASSETS),
        )
        settings = {"MODELMIRROR_UPSTREAM_HOSTS": places}
        with Running(online, origin, settings=settings) as mirror:
            made = mirror.ask(handle).body
            assert mirror.ask(test_spacy.file_of()).body == test_spacy.WHEEL
            mirror.settle()
            # While the hosts are there: a target may need documents that nobody asked for yet.
            targets = ("tfhub:google/yamnet/1", "spacy:en_core_web_sm==3.8.0")
            done = modelmirror("export", bundle, *targets, "--data", online)
            assert done.code == 0, done.err
    receiver = tmp_path / "offline"
    assert modelmirror("import", bundle, "--data", receiver, "--allow-unsigned").code == 0
    with Running(receiver, origin, flags=LEAVE) as mirror:
        assert mirror.ask(handle).body == made
        assert mirror.ask(test_spacy.file_of()).body == test_spacy.WHEEL


def test_what_is_being_exported_is_not_evicted(origin: Origin, tmp_path: Path) -> None:
    """Room is made of other blobs, or not at all, until the bundle is written."""
    origin.add_repo("models", "acme/old", {"model.safetensors": os.urandom(3_000_000)})
    origin.add_repo("models", "acme/new", {"model.safetensors": os.urandom(3_000_000)})
    data = tmp_path / "online"
    with Running(data, origin, flags=("--quota", "4MB")) as mirror:
        control = Layout(data).control
        file = "/acme/old/resolve/main/model.safetensors"
        assert mirror.ask(file).status == 200
        mirror.settle()
        before = set(data.glob("v1/blobs/sha256/*/*"))
        job = order(control, "bundle-plan", {"everything": True})
        assert job is not None
        mirror.wait_for(lambda: (order(control, "bundle-look", job) or {})["over"])
        assert mirror.ask("/acme/new/resolve/main/model.safetensors").status == 200
        mirror.settle()
        assert before <= set(data.glob("v1/blobs/sha256/*/*"))
        order(control, "bundle-end", job)
        assert mirror.ask("/acme/new/resolve/main/model.safetensors").status == 200
        mirror.settle()
        assert not before <= set(data.glob("v1/blobs/sha256/*/*"))


def test_a_damaged_blob_is_not_exported_as_if_it_were_whole(tmp_path: Path, filled: Path) -> None:
    """The export ends with its name, and leaves no file."""
    (blob,) = (
        path for path in filled.glob("v1/blobs/sha256/*/*") if path.stat().st_size == 3_000_000
    )
    blob.chmod(0o644)
    flip(blob, 2_500_000)
    out = tmp_path / "out"
    out.mkdir()
    settings = {**OFFLINE, "MODELMIRROR_SCRUB_PERIOD": "off"}
    for more in ((), ("--split", "1MB")):
        words = ("export", out / "x.tar", "--all", "--data", filled, *more)
        done = modelmirror(*words, settings=settings)
        assert (done.code, f"{blob.name} is damaged" in done.err) == (1, True), done.err
        assert not list(out.iterdir())
