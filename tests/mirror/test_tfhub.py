"""TensorFlow Hub through a running mirror: signed redirects, archives that clients can unpack."""

import base64
import gzip
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hosts import Hosts, Thing
from tests.mirror.operating import said, told
from tests.mirror.running import Running, files_below
from tests.origin import Origin

TFHUB = "tfhub.dev"
KAGGLE = "www.kaggle.com"
STORAGE = "storage.googleapis.com"
FORMAT = "tf-hub-format=compressed"
HANDLE = "/google/yamnet/1"
MODEL = "/models/google/yamnet/tensorFlow2/yamnet/1"
BUCKET = "/kagglesdsdata/models/1/2/archive.tar.gz"
SIGNED = f"{BUCKET}?X-Goog-Signature=5ecret&X-Goog-Expires=259200"
VARIABLES = os.urandom(2 << 20)


def archive(content: bytes = VARIABLES, *, folders: bool = False) -> bytes:
    """A SavedModel as the move to Kaggle left many of them: its folders are not named."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as opened:
        if folders:
            info = tarfile.TarInfo("variables")
            info.type = tarfile.DIRTYPE
            opened.addfile(info)
        for name, data in (("saved_model.pb", b"graph"), ("variables/variables.index", content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), 1, mtime=0)


def members(body: bytes) -> dict[str, bytes | None]:
    """What is in an archive, in its order; `None` for a folder."""
    found: dict[str, bytes | None] = {}
    with tarfile.open(fileobj=io.BytesIO(body), mode="r|*") as opened:
        for member in opened:
            content = opened.extractfile(member) if member.isreg() else None
            found[member.name] = content.read() if content is not None else None
    return found


def md5_of(body: bytes) -> dict[str, str]:
    """How Google's storage tells it."""
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return {"x-goog-hash": f"crc32c=AAAAAA==, md5={base64.b64encode(digest).decode()}"}


def publish(
    hosts: Hosts, body: bytes, *, handle: str = HANDLE, query: str = FORMAT, **more: str
) -> None:
    """Place an archive where both hosts lead to; it is signed for GET alone."""
    signed = f"{SIGNED}&{handle}"
    kaggle = f"{MODEL}?{query}&tfhub-redirect=true"
    hosts.put(TFHUB, f"{handle}?{query}", Thing(to=f"https://{KAGGLE}{kaggle}"))
    for target in (kaggle, f"{MODEL}?{query}"):
        hosts.put(KAGGLE, target, Thing(to=f"https://{STORAGE}{signed}"))
    headers = more or md5_of(body)
    hosts.put(STORAGE, signed, Thing(body, methods=("GET",), headers=headers))


def blob(mirror: Running, body: bytes) -> Path:
    """Where content is stored."""
    digest = hashlib.sha256(body).hexdigest()
    return mirror.data / "v1" / "blobs" / "sha256" / digest[:2] / digest


def started(hosts: Hosts, origin: Origin, folder: Path, **more: str) -> Running:
    """A mirror that asks them, and looks for what moves each time."""
    settings = {
        "MODELMIRROR_UPSTREAM_HOSTS": hosts.setting(TFHUB, KAGGLE, STORAGE),
        "MODELMIRROR_HUGGINGFACE_REF_LIFETIME": "0s",
        **more,
    }
    return Running(folder / "data", origin, settings=settings)


@pytest.fixture
def mirror(hosts: Hosts, origin: Origin, tmp_path: Path) -> Iterator[Running]:
    """A mirror as most have it."""
    with started(hosts, origin, tmp_path) as mirror:
        yield mirror


def test_a_handle_comes_once_with_its_folders(hosts: Hosts, mirror: Running) -> None:
    """By each form that a client or a person has for it, with the hosts gone, in parts."""
    publish(hosts, archive())
    got = mirror.ask(f"/-/host/{TFHUB}{HANDLE}?{FORMAT}")
    assert got.status == 200
    assert members(got.body) == {
        "saved_model.pb": b"graph",
        "variables": None,
        "variables/variables.index": VARIABLES,
    }
    assert got.headers["content-length"] == str(len(got.body))
    assert "x-goog-hash" not in got.headers
    assert hosts.bodies(STORAGE, BUCKET) == 1
    with hosts.away():
        for target in (f"/-/tfhub{HANDLE}", f"/-/tfhub{HANDLE}?x=1&{FORMAT}"):
            assert mirror.ask(target).body == got.body
        part = mirror.ask(f"/-/tfhub{HANDLE}", headers={"Range": "bytes=512-1023"})
        assert (part.status, part.body) == (206, got.body[512:1024])
        assert mirror.ask(f"/-/tfhub{HANDLE}", method="HEAD").headers == {
            **got.headers,
            "date": mirror.ask(f"/-/tfhub{HANDLE}", method="HEAD").headers["date"],
        }
    assert all(request.method == "GET" for request in hosts.seen)


def test_what_is_not_here_is_named_by_its_whole_address(hosts: Hosts, mirror: Running) -> None:
    """The last part of a handle is a number that nobody knows it by."""
    with hosts.away():
        got = mirror.ask("/-/tfhub/google/other/1")
    assert got.status == 501
    assert "does not have tfhub.dev/google/other/1," in got.headers["x-error-message"]


def test_nothing_of_a_signed_address_is_kept(hosts: Hosts, origin: Origin, tmp_path: Path) -> None:
    """Neither on the disk nor in the log; each download follows the redirects anew."""
    publish(hosts, archive())
    with started(hosts, origin, tmp_path, MODELMIRROR_LOG_LEVEL="debug") as mirror:
        assert mirror.ask(f"/-/tfhub{HANDLE}").status == 200
        mirror.settle()
    for name, size in files_below(tmp_path / "data"):
        if size < 8 << 20:
            assert b"5ecret" not in (tmp_path / "data" / name).read_bytes(), name
    assert "5ecret" not in mirror.log.read_text()


def test_an_archive_without_a_length_is_made_anew_too(hosts: Hosts, mirror: Running) -> None:
    """It is taken to its end first; once made, upstream is not asked again."""
    hosts.put(TFHUB, f"{HANDLE}?{FORMAT}", Thing(archive(), chunked=True))
    got = mirror.ask(f"/-/tfhub{HANDLE}?{FORMAT}")
    assert got.status == 200, got.body
    assert members(got.body)["variables"] is None
    assert members(got.body)["variables/variables.index"] == VARIABLES
    assert mirror.ask(f"/-/tfhub{HANDLE}?{FORMAT}").body == got.body
    asked = len(hosts.seen)
    mirror.settle()
    with hosts.away():
        assert mirror.ask(f"/-/tfhub{HANDLE}?{FORMAT}").body == got.body
    assert len(hosts.seen) == asked


def test_an_archive_with_its_folders_is_served_as_it_is(hosts: Hosts, mirror: Running) -> None:
    """And stored once, whichever host was named."""
    body = archive(folders=True)
    publish(hosts, body)
    assert mirror.ask(f"/-/tfhub{HANDLE}").body == body
    assert mirror.ask(f"/-/host/{KAGGLE}{MODEL}?{FORMAT}").body == body
    assert mirror.ask("/-/status").json()["store"]["bytes"] == len(body)


def test_eight_clients_cost_one_download_and_one_archive(hosts: Hosts, mirror: Running) -> None:
    """They wait for the same one."""
    publish(hosts, archive())
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(mirror.ask, [f"/-/tfhub{HANDLE}"] * 8))
    assert {answer.status for answer in got} == {200}
    assert len({answer.body for answer in got}) == 1
    assert hosts.bodies(STORAGE, BUCKET) == 1
    blobs = [name for name, _ in files_below(mirror.data / "v1" / "blobs")]
    assert len(blobs) == 3  # The archive, what was made of it, and the empty blob.


def test_handles_of_one_archive_may_be_asked_for_at_once(hosts: Hosts, mirror: Running) -> None:
    """What is made of it is one blob, whichever of them is there first."""
    handles = [f"/google/yamnet{number}/1" for number in range(8)]
    for handle in handles:
        publish(hosts, archive(), handle=handle)
        # Each comes by an address of its own.
        target = f"{MODEL}{handle}?{FORMAT}"
        hosts.put(TFHUB, f"{handle}?{FORMAT}", Thing(to=f"https://{KAGGLE}{target}"))
        hosts.put(KAGGLE, target, Thing(to=f"https://{STORAGE}{SIGNED}&{handle}"))
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(mirror.ask, [f"/-/tfhub{handle}" for handle in handles]))
    assert {answer.status for answer in got} == {200}
    assert len({answer.body for answer in got}) == 1
    blobs = [name for name, _ in files_below(mirror.data / "v1" / "blobs")]
    assert len(blobs) == 3  # The archive, what was made of it, and the empty blob.


def test_what_was_made_is_made_again_of_what_is_here(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """Lost from the store, without a word to upstream; nothing is left over."""
    publish(hosts, archive())
    with started(hosts, origin, tmp_path) as mirror:
        first = mirror.ask(f"/-/tfhub{HANDLE}").body
        mirror.stop()
        blob(mirror, first).unlink()
        mirror.start()
        with hosts.away():
            assert mirror.ask(f"/-/tfhub{HANDLE}").body == first
    assert not list((tmp_path / "data" / "v1" / "partial").glob("*/data"))


def test_a_new_archive_that_does_not_fit_is_refused(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """A few kilobytes that unpack to more than the quota end in 507, and hold no room."""
    publish(hosts, archive(bytes(64 << 20)))
    with started(hosts, origin, tmp_path, MODELMIRROR_QUOTA="24MiB") as mirror:
        for _ in range(2):
            got = mirror.ask(f"/-/tfhub{HANDLE}")
            assert got.status == 507
            assert got.json()["error"]
        publish(hosts, archive(), handle="/google/other/1")
        assert mirror.ask("/-/tfhub/google/other/1").status == 200
        sizes = [size for _, size in files_below(tmp_path / "data" / "v1" / "partial")]
        assert sum(sizes) < 1 << 20


def test_wrong_bytes_are_refused_where_storage_tells_their_md5(
    hosts: Hosts, mirror: Running
) -> None:
    """They are no archive at all, and another archive."""
    right = archive()
    for wrong in (right[:-1] + bytes([right[-1] ^ 1]), archive(bytes(10))):
        publish(hosts, wrong, **md5_of(right))
        assert mirror.ask(f"/-/tfhub{HANDLE}").status == 502
    assert "digest-mismatch" in mirror.log.read_text()
    publish(hosts, right)
    assert members(mirror.ask(f"/-/tfhub{HANDLE}").body)["variables"] is None


def test_other_bytes_than_the_first_raise_the_alarm(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """Where nothing is told of them: lost from the store, and fetched once more."""
    first = archive()
    publish(hosts, first, etag='"1"')
    with started(hosts, origin, tmp_path) as mirror:
        good = mirror.ask(f"/-/tfhub{HANDLE}").body
        mirror.stop()
        blob(mirror, first).unlink()
        blob(mirror, good).unlink()
        mirror.start()
        publish(hosts, bytes([first[0], *first[1:-1], first[-1] ^ 1]), etag='"1"')
        assert mirror.ask(f"/-/tfhub{HANDLE}").status == 502
        assert "digest-mismatch" in mirror.log.read_text()
        publish(hosts, first, etag='"1"')
        again = mirror.ask(f"/-/tfhub{HANDLE}")
        assert again.status == 200, again.body
        assert again.body == good


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_the_newest_version_is_shown_as_last_seen_when_upstream_breaks(
    hosts: Hosts, mirror: Running, status: int
) -> None:
    """As it did for days, with SignatureDoesNotMatch; a handle with its version asks nobody."""
    latest = HANDLE.removesuffix("/1")
    publish(hosts, archive(), handle=latest)
    publish(hosts, archive())
    first = mirror.ask(f"/-/tfhub{latest}")
    assert mirror.ask(f"/-/tfhub{HANDLE}").body == first.body
    newer = archive(VARIABLES[::-1])
    publish(hosts, newer, handle=latest)
    second = mirror.ask(f"/-/tfhub{latest}")
    assert members(second.body)["variables/variables.index"] == VARIABLES[::-1]
    hosts.put(STORAGE, f"{SIGNED}&{latest}", Thing(b"<Error>", status))
    got = mirror.ask(f"/-/tfhub{latest}")
    assert (got.status, got.body) == (200, second.body)
    assert "as it was" in got.headers["x-hf-warning"]
    asked = len(hosts.seen)
    assert mirror.ask(f"/-/tfhub{HANDLE}").body == first.body
    assert len(hosts.seen) == asked


def test_what_is_not_here_is_told_as_upstream_tells_it(hosts: Hosts, mirror: Running) -> None:
    """A 404 is one; without upstream it is 501."""
    assert mirror.ask(f"/-/tfhub{HANDLE}").status == 404
    with hosts.away():
        got = mirror.ask("/-/tfhub/google/other/1")
        assert (got.status, "upstream" in got.json()["error"]) == (501, True)


def test_a_hostile_archive_is_not_made_anew(hosts: Hosts, mirror: Running) -> None:
    """A link in it: refused, with a sentence, each time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as opened:
        info = tarfile.TarInfo("saved_model.pb")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(info)
    publish(hosts, packed.getvalue())
    for _ in range(2):
        got = mirror.ask(f"/-/tfhub{HANDLE}")
        assert (got.status, "archive" in got.json()["error"]) == (502, True)


def test_other_formats_are_files(hosts: Hosts, mirror: Running) -> None:
    """TensorFlow.js' model and its parts, TensorFlow Lite's, as they are."""
    parts = {
        "/google/tfjs-model/net/2/default/1/model.json?tfjs-format=file": b'{"parts": 1}',
        "/google/tfjs-model/net/2/default/1/group1-shard1of1?tfjs-format=file": os.urandom(50_000),
        "/google/lite-model/net/1?lite-format=tflite": os.urandom(60_000),
        "/google/tfjs-model/net/2/default/1?tfjs-format=compressed": archive(),
    }
    for target, content in parts.items():
        handle, _, query = target.partition("?")
        publish(hosts, content, handle=handle, query=query)
        got = mirror.ask(f"/-/host/{TFHUB}{target}")
        assert (got.status, got.body) == (200, content)
    with hosts.away():
        for target, content in parts.items():
            assert mirror.ask(f"/-/tfhub{target}").body == content


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        (f"/-/tfhub{HANDLE}?tf-hub-format=uncompressed", 501, "TFHUB_MODEL_LOAD_FORMAT"),
        (f"/-/host/{TFHUB}{HANDLE}", 400, "hub.load"),
        (f"/-/host/{KAGGLE}/models/google?{FORMAT}", 400, "hub.load"),
        (f"/-/host/{KAGGLE}/datasets/x/y", 400, ""),
        (f"/-/host/{STORAGE}{BUCKET}", 400, ""),
    ],
)
def test_what_is_no_model_is_refused_with_a_reason(
    hosts: Hosts, mirror: Running, target: str, status: int, said: str
) -> None:
    """Before anybody is asked."""
    got = mirror.ask(target)
    assert (got.status, said in got.json()["error"]) == (status, True)
    assert hosts.seen == []


def test_accept_takes_the_address_as_the_log_shows_it(
    hosts: Hosts, origin: Origin, tmp_path: Path
) -> None:
    """The log has no query; the command it names is taken all the same, and the archive is made anew."""
    first, second = archive(), archive(os.urandom(1 << 20))
    publish(hosts, first, etag='"1"')
    with started(hosts, origin, tmp_path) as mirror:
        assert mirror.ask(f"/-/tfhub{HANDLE}").status == 200
        mirror.settle()
        freed = told(mirror.data, "rm", "tfhub:google/yamnet/1")["freed"]
        assert freed > len(first), "the archive and what was made of it"
        publish(hosts, second, etag='"1"')
        assert mirror.ask(f"/-/tfhub{HANDLE}").status == 502
        commands = re.findall(r"modelmirror accept '([^']+)'", mirror.log.read_text())
        assert commands
        assert "=" not in commands[-1]
        said(mirror.data, "accept", commands[-1])
        got = mirror.ask(f"/-/tfhub{HANDLE}")
        assert members(got.body)["variables/variables.index"] != VARIABLES
        mirror.settle()
        assert told(mirror.data, "gc", "--older", "0s")["blobs"]["count"] == 0
