"""`modelmirror rm`, `gc` and `accept`: what goes for good, and what stays because something else needs it."""

import contextlib
import hashlib
import http.client
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mirror.errors import QuestionError
from mirror.upkeep.reach import order as reach
from tests.hosts import Hosts, Thing
from tests.mirror.operating import refused, said, told
from tests.mirror.running import Running
from tests.origin import Origin

SHARED = bytes(range(256)) * 8192  # 2 MiB
OWN = bytes(range(255, -1, -1)) * 4096  # 1 MiB
LFS = ("*.safetensors", "*.bin")
SHARED_FILE = "/acme/one/resolve/main/model.safetensors"
OWN_FILE = "/acme/one/resolve/main/own.bin"
PYTORCH = "download.pytorch.org"
MODEL = os.urandom(1 << 20)
PLAIN = "/models/unversioned.pt"


@pytest.fixture
def stored(origin: Origin, mirror: Running) -> Running:
    """A mirror with two repos that share their weights."""
    files = {"config.json": b"{}", "model.safetensors": SHARED}
    origin.add_repo("models", "acme/one", files={**files, "own.bin": OWN}, lfs=LFS)
    origin.add_repo("models", "acme/two", files=files, lfs=LFS)
    for path in (SHARED_FILE, OWN_FILE, "/acme/two/resolve/main/model.safetensors"):
        assert mirror.ask(path).status == 200
    mirror.settle()
    return mirror


@pytest.fixture
def other(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror that asks them."""
    settings = {"MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(PYTORCH)}
    with Running(tmp_path / "data", origin, settings=settings) as mirror:
        yield mirror


def _blobs(data: Path) -> set[str]:
    return {
        path.name for path in (data / "v1" / "blobs").glob("sha256/??/*") if path.stat().st_size
    }


def _sound(mirror: Running, *, busy: bool = False) -> None:
    """Stop it: the store must pass its own check, and an index made again must list the same.

    Of a *busy* one, nothing more: lists that were being read are written down once they are complete.
    """
    if mirror.process.poll() is None:
        assert mirror.stop() == 0
    before = told(mirror.data, "ls")
    for words in ((), ("--rebuild-index",)):
        checked = _verify(mirror.data, *words)
        assert checked[0] == 0, checked[1]
    after = told(mirror.data, "ls")
    for row in [*before["repos"], *after["repos"]]:
        row.pop("last_used")
    if busy:
        assert {row["name"] for row in after["repos"]} <= {row["name"] for row in before["repos"]}
    else:
        assert after["repos"] == before["repos"]


def _verify(data: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mirror", "verify", str(data), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_rm_of_a_repo_frees_what_only_it_needs(origin: Origin, stored: Running) -> None:
    """The shared weights stay for the other; what it says before is what it does."""
    before = _blobs(stored.data)
    dry = told(stored.data, "rm", "acme/one", "--dry-run")
    assert (dry["freed"], dry["kept_bytes"]) == (len(OWN), len(SHARED))
    assert dry["kept"][0]["needed_by"] == "acme/two"
    assert _blobs(stored.data) == before
    done = said(stored.data, "rm", "acme/one")
    assert "acme/one is removed: freed 1.0 MiB in 1 file." in done
    assert "needed by acme/two" in done
    assert _blobs(stored.data) == before - {hashlib.sha256(OWN).hexdigest()}
    assert [row["name"] for row in told(stored.data, "ls")["repos"]] == ["acme/two"]
    _sound(stored)
    stored.start()
    assert [row["name"] for row in told(stored.data, "ls")["repos"]] == ["acme/two"]
    origin.clear_log()
    assert stored.ask(SHARED_FILE).body == SHARED
    assert origin.seen(server="hub", path=".*acme/one.*"), "upstream is asked anew"
    assert stored.ask(OWN_FILE).body == OWN


def test_rm_of_a_repo_offline_shows_that_it_is_gone(origin: Origin, stored: Running) -> None:
    """Nothing of it is served from memory or from a record, also after a power cut."""
    said(stored.data, "rm", "acme/one")
    origin.stop()
    assert stored.ask(SHARED_FILE).status == 501
    assert stored.stop() == 0
    (stored.data / "v1" / "running").write_text("another start of the machine\n")
    stored.start()
    assert stored.ask(SHARED_FILE).status == 501
    assert stored.ask("/acme/two/resolve/main/model.safetensors").body == SHARED


def test_rm_of_a_revision_leaves_the_others(origin: Origin, stored: Running) -> None:
    """Its own files go; what the other revision has stays, and the branch is asked for anew."""
    old = origin.repo("models", "acme/one").commit
    origin.repo("models", "acme/one").push({"own.bin": OWN[::-1]}, "retrained")
    new = origin.repo("models", "acme/one").commit
    stored.settings = {"MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s"}
    assert stored.stop() == 0
    stored.start()
    assert stored.ask(OWN_FILE).body == OWN[::-1]
    stored.settle()
    rows = told(stored.data, "ls", "acme/one")["revisions"]
    assert {row["commit"] for row in rows} == {old, new}
    done = told(stored.data, "rm", f"acme/one@{old[:10]}")
    assert (done["revisions"], done["freed"]) == (1, len(OWN))
    (row,) = told(stored.data, "ls", "acme/one")["revisions"]
    assert row["commit"] == new
    assert "No revision" in refused(stored.data, "rm", f"acme/one@{old}")
    _sound(stored)


def test_rm_of_files_forces_a_fresh_download(origin: Origin, stored: Running) -> None:
    """By path, folder or glob; the file list stays known and the file is fetched again once."""
    assert told(stored.data, "rm", "acme/one", "*.bin", "--dry-run")["freed"] == len(OWN)
    done = told(stored.data, "rm", "acme/one", "own.bin")
    assert (done["blobs"], done["freed"]) == (1, len(OWN))
    kept = told(stored.data, "rm", "acme/one@main", "model.safetensors")
    assert (kept["blobs"], kept["kept"][0]["needed_by"]) == (0, "acme/two")
    origin.clear_log()
    assert stored.ask(OWN_FILE).body == OWN
    assert len(origin.seen(server="cdn", method="GET", path=".*")) == 1
    assert "has no file missing.bin" in refused(stored.data, "rm", "acme/one", "missing.bin")
    # By its own name a blob goes whatever needs it.
    digest = hashlib.sha256(SHARED).hexdigest()
    assert told(stored.data, "rm", f"sha256:{digest}")["freed"] == len(SHARED)
    assert digest not in _blobs(stored.data)
    assert stored.ask(SHARED_FILE).body == SHARED
    stored.settle()
    _sound(stored)


def test_rm_does_not_cut_who_reads(stored: Running) -> None:
    """A download that is under way when its repo goes ends whole."""
    connection = http.client.HTTPConnection(*stored.address, timeout=30)
    connection.request("GET", SHARED_FILE)
    answer = connection.getresponse()
    begun = answer.read(1000)
    said(stored.data, "rm", "acme/two")
    said(stored.data, "rm", "acme/one")
    assert _blobs(stored.data) == set()
    assert begun + answer.read() == SHARED
    connection.close()


def test_rm_of_what_is_pinned_is_refused(stored: Running) -> None:
    """With the command that lets it go; a pin of one repo keeps what another shares with it."""
    said(stored.data, "pin", "acme/two@main", "--for", "chat")
    text = refused(stored.data, "rm", "acme/two")
    assert "acme/two@main is pinned for chat" in text
    assert "modelmirror unpin acme/two@main" in text
    assert told(stored.data, "rm", "acme/one")["kept_bytes"] == len(SHARED)
    said(stored.data, "unpin", "acme/two@main")
    assert told(stored.data, "rm", "acme/two")["freed"] == len(SHARED)


def test_rm_of_an_address_forces_a_fresh_download_of_the_same(hosts: Hosts, other: Running) -> None:
    """What came first still holds: other bytes are refused until they are accepted."""
    url = f"https://{PYTORCH}{PLAIN}"
    hosts.put(PYTORCH, PLAIN, MODEL)
    assert other.ask(f"/-/torch{PLAIN}").body == MODEL
    other.settle()
    (row,) = told(other.data, "ls")["addresses"]
    assert (row["address"], row["bytes"]) == (url, len(MODEL))
    assert told(other.data, "rm", url)["freed"] == len(MODEL)
    assert _blobs(other.data) == set()
    assert told(other.data, "ls") == {"repos": [], "addresses": []}
    hosts.put(PYTORCH, PLAIN, MODEL[::-1])
    other.refuses_wrong(f"/-/torch{PLAIN}")
    assert f"modelmirror accept '{url}'" in other.log.read_text()
    hosts.put(PYTORCH, PLAIN, MODEL)
    assert other.ask(f"/-/torch{PLAIN}").body == MODEL
    other.settle()
    assert hosts.bodies(PYTORCH, PLAIN) == 3


@pytest.mark.parametrize("running", [True, False])
def test_accept_takes_the_new_content(hosts: Hosts, other: Running, *, running: bool) -> None:
    """It supersedes the first word for good: after a restart, a rebuild and a compaction too."""
    url = f"https://{PYTORCH}{PLAIN}"
    hosts.put(PYTORCH, PLAIN, MODEL)
    assert other.ask(f"/-/torch{PLAIN}").body == MODEL
    other.settle()
    said(other.data, "rm", url)
    changed = MODEL[: len(MODEL) // 2] + b"changed for good"
    hosts.put(PYTORCH, PLAIN, changed)
    other.refuses_wrong(f"/-/torch{PLAIN}")

    if not running:
        assert other.stop() == 0
    assert f"The next content of {url} is believed." in said(other.data, "accept", url)
    if not running:
        other.start()
    assert other.ask(f"/-/torch{PLAIN}").body == changed
    other.settle()
    _sound(other)
    said(other.data, "gc")  # compacts the journal
    _sound(other)
    other.start()
    with hosts.away():
        assert other.ask(f"/-/torch{PLAIN}").body == changed
    said(other.data, "rm", url)
    hosts.put(PYTORCH, PLAIN, MODEL)
    other.refuses_wrong(f"/-/torch{PLAIN}")


def test_accept_of_a_collected_body_takes_the_new_content(hosts: Hosts, other: Running) -> None:
    """A body without a length is made of its source: its first word is taken back, too."""
    url = f"https://{PYTORCH}{PLAIN}"
    hosts.put(PYTORCH, PLAIN, Thing(MODEL, chunked=True))
    assert other.ask(f"/-/torch{PLAIN}").body == MODEL
    said(other.data, "rm", url)
    hosts.put(PYTORCH, PLAIN, Thing(MODEL[::-1], chunked=True))
    assert other.ask(f"/-/torch{PLAIN}").status == 502
    assert f"modelmirror accept '{url}'" in other.log.read_text()
    said(other.data, "accept", url)
    assert other.ask(f"/-/torch{PLAIN}").body == MODEL[::-1]
    # What was accepted away is nobody's: gc finds it, and nothing else.
    hosts.put(PYTORCH, PLAIN, Thing(MODEL, chunked=True))
    said(other.data, "accept", url)
    assert other.ask(f"/-/torch{PLAIN}").body == MODEL
    assert told(other.data, "gc", "--older", "0s")["blobs"] == {"count": 1, "bytes": len(MODEL)}
    assert _blobs(other.data) == {hashlib.sha256(MODEL).hexdigest()}
    _sound(other)


def test_accept_of_what_is_proven_or_unknown_is_refused(other: Running) -> None:
    """Only what came first can be replaced by what comes next."""
    for target, sentence in (
        (f"https://{PYTORCH}/models/never.pt", "It was never fetched"),
        ("whisper:base", "It was never fetched, or its digest is published"),
        ("acme/one", "Only the content of an address"),
        ("https://example.org/x", "No hub of this mirror serves"),
    ):
        assert sentence in refused(other.data, "accept", target), target


def test_pins_and_shares_hold_for_addresses(hosts: Hosts, other: Running) -> None:
    """An address is pinned by what people type; two that have the same content share it."""
    for name in ("a.pt", "b.pt"):
        hosts.put(PYTORCH, f"/models/{name}", MODEL)
        assert other.ask(f"/-/torch/models/{name}").body == MODEL
    other.settle()
    first, second = (f"https://{PYTORCH}/models/{name}" for name in ("a.pt", "b.pt"))
    kept = told(other.data, "rm", first, "--dry-run")["kept"]
    assert kept[0]["needed_by"] == second
    # By the word that `warm` has for it, too.
    (row,) = told(other.data, "pin", "torch:b.pt", "--for", "vision")["pins"]
    assert (row["target"], row["blobs"]) == ("torch:b.pt", 1)
    assert "torch:b.pt is pinned for vision" in refused(other.data, "rm", second)
    said(other.data, "unpin", "torch:b.pt")
    said(other.data, "pin", second, "--for", "vision")
    assert "is pinned for vision" in refused(other.data, "rm", second)
    rows = {row["address"]: row["pinned_for"] for row in told(other.data, "ls")["addresses"]}
    assert rows[second] == ["vision"]
    assert told(other.data, "du")["rows"][0]["shared"] == len(MODEL)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("foo:bar", "No hub of this mirror serves foo:bar"),
        ("https://example.org/x", "No hub of this mirror serves"),
        (f"https://{PYTORCH}/whl/x", "only checkpoints are served"),
        ("https://huggingface.co/acme/one/resolve/main/x", "Name that: acme/one@main"),
        ("nltk:punkt_tab", "Name each by its address"),
    ],
)
def test_pin_of_what_is_never_kept_is_refused(other: Running, target: str, sentence: str) -> None:
    """It would be listed, and keep nothing."""
    assert sentence in refused(other.data, "pin", target)
    assert told(other.data, "pin") == {"pins": []}


def test_gc_collects_what_nothing_names(origin: Origin, stored: Running) -> None:
    """Blobs without a name, half downloads and what was set aside; a dry run says the same first."""
    assert stored.stop() == 0
    root = stored.data / "v1"
    stray = b"nobody's" * 1000
    name = hashlib.sha256(stray).hexdigest()
    (root / "blobs" / "sha256" / name[:2]).mkdir(exist_ok=True)
    (root / "blobs" / "sha256" / name[:2] / name).write_bytes(stray)
    (root / "quarantine" / ("0" * 64)).write_bytes(b"bad" * 100)
    half = root / "partial" / f"sha256-{'1' * 64}"
    half.mkdir()
    (half / "data").write_bytes(b"half" * 1000)
    before = _blobs(stored.data)
    young = told(stored.data, "gc", "--dry-run")
    assert (young["blobs"]["count"], young["partials"]["count"]) == (0, 0)
    dry = told(stored.data, "gc", "--dry-run", "--older", "0s")
    assert dry["blobs"] == {"count": 1, "bytes": len(stray)}
    assert dry["partials"]["count"] == 1
    assert dry["quarantine"] == {"bytes": 300}
    assert _blobs(stored.data) == before
    stored.start()
    done = told(stored.data, "gc", "--older", "0s")
    assert (done["blobs"], done["quarantine"]) == (dry["blobs"], dry["quarantine"])
    assert done["freed"] == dry["freed"]
    assert _blobs(stored.data) == before - {name}
    assert not half.exists()
    assert "0 B are free." in said(stored.data, "gc", "--older", "0s")
    assert "is not a span of time" in refused(stored.data, "gc", "--older", "soon")
    origin.stop()
    assert stored.ask(SHARED_FILE).body == SHARED
    assert stored.ask(OWN_FILE).body == OWN
    _sound(stored)


def test_gc_leaves_what_addresses_name(hosts: Hosts, other: Running) -> None:
    """Also those whose digest is in no link: it is published in the address."""
    digits = hashlib.sha256(MODEL).hexdigest()[:8]
    for path in (PLAIN, f"/models/resnet18-{digits}.pth"):
        hosts.put(PYTORCH, path, MODEL if path == PLAIN else MODEL[::1])
        assert other.ask(f"/-/torch{path}").body == MODEL
    other.settle()
    assert told(other.data, "gc", "--older", "0s")["blobs"]["count"] == 0
    with hosts.away():
        assert other.ask(f"/-/torch{PLAIN}").body == MODEL


def test_orders_under_load_cut_nobody(origin: Origin, stored: Running) -> None:
    """While clients download, repos and files are removed and collected again and again."""
    paths = {SHARED_FILE: SHARED, OWN_FILE: OWN, "/acme/two/resolve/main/model.safetensors": SHARED}
    socket, over = stored.data / "v1" / "control.sock", threading.Event()

    def load(number: int) -> int:
        done = 0
        while not over.is_set():
            path = list(paths)[(number + done) % 3]
            got = stored.ask(path)
            assert (got.status, got.body == paths[path]) == (200, True), got.body[:200]
            done += 1
        return done

    def remove() -> int:
        done = 0
        for turn in range(30):
            for name, arguments in (
                ("rm", {"target": ("acme/one", "acme/two")[turn % 2]}),
                ("rm", {"target": "acme/two", "path": "*.safetensors"}),
                ("gc", {"older": 3600}),
                ("du", {}),
                ("ls", {}),
                ("status", {}),
            ):
                with contextlib.suppress(QuestionError):  # it is gone already, or not yet here
                    assert reach(socket, name, arguments) is not None
                    done += 1
        return done

    with ThreadPoolExecutor(5) as pool:
        loads = [pool.submit(load, number) for number in range(4)]
        try:
            assert remove() > 90
        finally:
            over.set()
        assert all(each.result() > 3 for each in loads)
    stored.settle()
    assert "Traceback" not in stored.log.read_text()
    _sound(stored, busy=True)
    stored.start()
    told(stored.data, "gc", "--older", "0s")
    origin.stop()
    for path, body in paths.items():
        got = stored.ask(path)
        assert got.status == 501 or got.body == body
